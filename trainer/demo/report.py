"""The demo's outcome for people: a table, a plot, and one line of figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.demo.plans import ArmPlan
from trainer.metrics import Row
from trainer.wire import EstimateAnswer

ESTIMANDS = ("recall", "fpr", "accuracy", "hack_rate")
REWARD, TRUTH = "eval_reward", "eval_true_accuracy"
PANELS = {REWARD: "verifier reward", TRUTH: "true accuracy"}
_CALIBRATED = "calibrated-300"
_COLOURS = {"raw": "#b3261e", _CALIBRATED: "#0b6e4f", "true": "#5f6368", "random": "#b08900"}
_OTHER_COLOUR = "#3b5b92"


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
    """One seed's runs, by arm: metrics rows, publications, and the labels given."""

    seed: int
    rows: dict[str, list[Row]]
    publications: dict[str, list[Publication]]
    n_labels: dict[str, int]

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


def table(results: Sequence[SeedResult], plans: Sequence[ArmPlan]) -> str:
    """Verifier reward / true accuracy on the held-out problems, by step and arm."""
    lines = []
    for result in results:
        labels = "".join(f", {n} labels" for n in result.n_labels.values())
        lines += ["", f"seed {result.seed}{labels}; reward / true accuracy"]
        lines.append("step  " + "".join(f"{plan.label:>32}" for plan in plans))
        for step in result.evaluations(plans[0].name, REWARD):
            cells = [_both(result, plan.name, step) for plan in plans]
            lines.append(f"{step:>4}  " + "".join(f"{cell:>32}" for cell in cells))
        for publications in result.publications.values():
            lines += map(publication_line, publications)
    return "\n".join(lines) + "\n"


def _both(result: SeedResult, arm: str, step: int) -> str:
    values = [result.evaluations(arm, key).get(step) for key in PANELS]
    return " / ".join("-" if value is None else f"{value:.2f}" for value in values)


def figures(results: Sequence[SeedResult]) -> dict[str, float]:
    """The worst case over the seeds, so that a figure is true of each of them."""

    def gain(result: SeedResult, arm: str, key: str) -> float:
        return result.final(arm, key) - result.start(arm, key)

    return {
        "labels": max(r.n_labels[_CALIBRATED] for r in results),
        "raw_reward_rise": min(gain(r, "raw", REWARD) for r in results),
        "raw_final": max(r.final("raw", TRUTH) for r in results),
        "calibrated_final": min(r.final(_CALIBRATED, TRUTH) for r in results),
        "calibrated_gain": min(gain(r, _CALIBRATED, TRUTH) for r in results),
        "calibrated_minus_raw": min(
            r.final(_CALIBRATED, TRUTH) - r.final("raw", TRUTH) for r in results
        ),
        "true_final": min(r.final("true", TRUTH) for r in results),
        "seeds": len(results),
    }


def figures_line(results: Sequence[SeedResult], plans: Sequence[ArmPlan]) -> str:
    return json_line("loop", figures(results))


def json_line(bench: str, numbers: Mapping[str, float | None]) -> str:
    rounded = {k: None if value is None else round(value, 4) for k, value in numbers.items()}
    return json.dumps({"bench": bench, "figures": rounded})


def plot(results: Sequence[SeedResult], plans: Sequence[ArmPlan], folder: Path) -> list[Path]:
    """The arms' curves: loop.png and loop.svg."""
    pyplot = drawing()
    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axes, key in zip(panels, PANELS, strict=True):
        draw_curves(axes, results, plans, key)
    panels[0].legend(frameon=False)
    return saved(figure, folder / "loop")


def drawing() -> Any:
    """Matplotlib's pyplot, without a screen."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot


def draw_curves(
    axes: Any, results: Sequence[SeedResult], plans: Sequence[ArmPlan], key: str
) -> None:
    """A curve for each arm: seeds thin, their mean thick."""
    for plan in plans:
        colour = colour_of(plan)
        curves = [result.evaluations(plan.name, key) for result in results]
        for curve in curves:
            axes.plot(curve.keys(), curve.values(), color=colour, lw=0.8, alpha=0.4)
        steps = [step for step in curves[0] if all(step in curve for curve in curves)]
        means = [sum(curve[step] for curve in curves) / len(curves) for step in steps]
        axes.plot(steps, means, color=colour, lw=2, label=plan.label)
    axes.set(title=f"{PANELS[key]}, held-out problems", xlabel="step", ylim=(0, 1))
    axes.grid(alpha=0.25)


def colour_of(plan: ArmPlan) -> str:
    return _COLOURS.get(plan.name, _OTHER_COLOUR)


def saved(figure: Any, stem: Path) -> list[Path]:
    """The figure as PNG and SVG."""
    paths = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    for path in paths:
        figure.savefig(path, dpi=150)
    drawing().close(figure)
    return paths
