"""The demo's outcome for people: a table, a plot, and one line of figures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.metrics import Row
from trainer.wire import EstimateAnswer

ARMS = ("raw", "calibrated", "true")
ESTIMANDS = ("recall", "fpr", "accuracy", "hack_rate")
_LABELS = {
    "raw": "raw verdict",
    "calibrated": "calibrated from labels",
    "true": "true reward (ceiling)",
}
_COLOURS = {"raw": "#b3261e", "calibrated": "#0b6e4f", "true": "#5f6368"}
_PANELS = {"eval_reward": "verifier reward", "eval_true_accuracy": "true accuracy"}


@dataclass(frozen=True, slots=True)
class Publication:
    """A published table, with what was known of its window. n_labels: all made so far."""

    version: int
    first_step: int
    last_step: int
    n_labels: int
    estimates: dict[str, EstimateAnswer]


@dataclass(frozen=True, slots=True)
class SeedResult:
    """One seed's runs: metrics rows by arm, publications, labels used."""

    seed: int
    rows: dict[str, list[Row]]
    publications: list[Publication]
    n_labels: int

    def evaluations(self, arm: str, key: str) -> dict[int, float]:
        """Step -> value on the held-out problems."""
        return {
            int(row["step"] or 0): value
            for row in self.rows[arm]
            if (value := row.get(key)) is not None
        }

    def start(self, arm: str, key: str) -> float:
        return next(iter(self.evaluations(arm, key).values()))

    def final(self, arm: str, key: str) -> float:
        return list(self.evaluations(arm, key).values())[-1]


def publication_line(publication: Publication) -> str:
    steps = f"steps {publication.first_step}-{publication.last_step}"
    parts = [f"table {publication.version} from {steps}, {publication.n_labels} labels so far:"]
    for estimand in ESTIMANDS:
        estimate = publication.estimates.get(estimand)
        if estimate is None:
            parts.append(f"{estimand} pending")
        elif estimate.point is None or estimate.low is None or estimate.high is None:
            parts.append(f"{estimand} none ({estimate.reason})")
        else:
            interval = f"[{estimate.low:.2f}, {estimate.high:.2f}]"
            parts.append(f"{estimand} {estimate.point:.2f} {interval}")
    return "  ".join(parts)


def table(results: Sequence[SeedResult]) -> str:
    """Verifier reward / true accuracy on the held-out problems, by step and arm."""
    lines = []
    for result in results:
        lines += ["", f"seed {result.seed}, {result.n_labels} labels; reward / true accuracy"]
        lines.append("step  " + "".join(f"{_LABELS[arm]:>26}" for arm in ARMS))
        for step in result.evaluations("raw", "eval_reward"):
            cells = [_both(result, arm, step) for arm in ARMS]
            lines.append(f"{step:>4}  " + "".join(f"{cell:>26}" for cell in cells))
        lines += map(publication_line, result.publications)
    return "\n".join(lines) + "\n"


def _both(result: SeedResult, arm: str, step: int) -> str:
    values = [result.evaluations(arm, key).get(step) for key in _PANELS]
    return " / ".join("-" if value is None else f"{value:.2f}" for value in values)


def figures(results: Sequence[SeedResult]) -> dict[str, float]:
    """The worst case over the seeds, so that a figure is true of each of them."""
    truth, reward = "eval_true_accuracy", "eval_reward"
    return {
        "labels": max(r.n_labels for r in results),
        "raw_reward_rise": min(r.final("raw", reward) - r.start("raw", reward) for r in results),
        "raw_final": max(r.final("raw", truth) for r in results),
        "calibrated_final": min(r.final("calibrated", truth) for r in results),
        "calibrated_gain": min(
            r.final("calibrated", truth) - r.start("calibrated", truth) for r in results
        ),
        "calibrated_minus_raw": min(
            r.final("calibrated", truth) - r.final("raw", truth) for r in results
        ),
        "true_final": min(r.final("true", truth) for r in results),
        "seeds": len(results),
    }


def figures_line(results: Sequence[SeedResult]) -> str:
    rounded = {name: round(value, 4) for name, value in figures(results).items()}
    return json.dumps({"bench": "loop", "figures": rounded})


def plot(results: Sequence[SeedResult], folder: Path) -> list[Path]:
    """Three curves in two panels, seeds thin and their mean thick: loop.png and loop.svg."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axes, (key, title) in zip(panels, _PANELS.items(), strict=True):
        for arm in ARMS:
            curves = [result.evaluations(arm, key) for result in results]
            for curve in curves:
                axes.plot(curve.keys(), curve.values(), color=_COLOURS[arm], lw=0.8, alpha=0.4)
            steps = [step for step in curves[0] if all(step in curve for curve in curves)]
            means = [sum(curve[step] for curve in curves) / len(curves) for step in steps]
            axes.plot(steps, means, color=_COLOURS[arm], lw=2, label=_LABELS[arm])
        axes.set(title=f"{title}, held-out problems", xlabel="step", ylim=(0, 1))
        axes.grid(alpha=0.25)
    panels[0].legend(frameon=False)
    paths = [folder / "loop.png", folder / "loop.svg"]
    for path in paths:
        figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return paths
