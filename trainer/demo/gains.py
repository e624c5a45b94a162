"""What each arm gained in true accuracy, as means over the seeds with their intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from trainer.demo.plans import COMPARISONS, ArmPlan
from trainer.demo.report import (
    PANELS,
    REWARD,
    TRUTH,
    SeedResult,
    colour_of,
    draw_curves,
    drawing,
    json_line,
    saved,
)

AT_8 = "eval_true_pass_at_8"
LEVEL = 0.95
# Calibrated arms whose share of the ceiling's gain is a figure of the benchmark.
_SHARES = {"gain_share_300": "calibrated-300", "gain_share_1000": "calibrated-1000"}


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over n seeds; low and high: its t interval, None for a single seed."""

    point: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.point:.3f}"
        return f"{self.point:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_over_seeds(values: Sequence[float]) -> Mean:
    """Student's t interval at 95 %: assumes seeds alike, and their mean about normal."""
    n, point = len(values), fmean(values)
    if n == 1:
        return Mean(point, None, None, n)
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * stdev(values) / math.sqrt(n)
    return Mean(point, point - half, point + half, n)


def gain_share(results: Sequence[SeedResult], plan: ArmPlan) -> Mean | None:
    """The arm's gain in true accuracy as a share of its ceiling's, seed by seed.

    None: the ceiling is not there, or gained nothing at some seed.
    """
    if any(plan.ceiling not in result.rows for result in results):
        return None
    gains = [(_gain(result, plan.name), _gain(result, plan.ceiling)) for result in results]
    if any(whole <= 0 for _, whole in gains):
        return None
    return mean_over_seeds([part / whole for part, whole in gains])


def pooled_share(results: Sequence[SeedResult], plan: ArmPlan) -> float | None:
    """The arm's mean gain over the ceiling's: a seed whose ceiling gains little weighs little.

    None: as for `gain_share`.
    """
    if gain_share(results, plan) is None:
        return None
    gains = [(_gain(result, plan.name), _gain(result, plan.ceiling)) for result in results]
    return sum(part for part, _ in gains) / sum(whole for _, whole in gains)


def _gain(result: SeedResult, arm: str) -> float:
    return result.final(arm, TRUTH) - result.start(arm, TRUTH)


def table(results: Sequence[SeedResult], plans: Sequence[ArmPlan]) -> str:
    """A line an arm: where it ended on the held-out problems."""
    seeds = ", ".join(str(result.seed) for result in results)
    start = mean_over_seeds([result.start(plans[0].name, TRUTH) for result in results])
    width = max(len(plan.label) for plan in plans)
    columns = ("pass@1", "pass@8", "verifier reward", "share of the ceiling's gain", "labels given")
    lines = [
        "",
        f"True accuracy after the last step on held-out problems; seeds {seeds}, which start at"
        f" {start}; 95 % intervals over seeds",
        f"{'':{width}}  " + "".join(f"{column:>28}" for column in columns),
    ]
    for plan in plans:
        finals = [_finals(results, plan.name, key) for key in (TRUTH, AT_8, REWARD)]
        share = None if plan.reward == "true" else gain_share(results, plan)
        labels = max((result.n_labels.get(plan.name, 0) for result in results), default=0)
        cells = [*finals, "-" if share is None else share, labels or "-"]
        lines.append(f"{plan.label:{width}}  " + "".join(f"{cell!s:>28}" for cell in cells))
    return "\n".join(lines) + "\n"


def _finals(results: Sequence[SeedResult], arm: str, key: str) -> Mean:
    return mean_over_seeds([result.final(arm, key) for result in results])


def figures(results: Sequence[SeedResult], plans: Sequence[ArmPlan]) -> dict[str, float | None]:
    """Shares with their bounds, null for arms that were not run, and each arm's final pass@1."""
    by_name = {plan.name: plan for plan in plans}
    found: dict[str, float | None] = {}
    for figure, arm in _SHARES.items():
        share = gain_share(results, by_name[arm]) if arm in by_name else None
        found[figure] = None if share is None else share.point
        found[f"{figure}_low"] = None if share is None else share.low
        found[f"{figure}_high"] = None if share is None else share.high
        found[f"pooled_{figure}"] = pooled_share(results, by_name[arm]) if share else None
    for name in dict.fromkeys([*COMPARISONS["hack"], *by_name]):
        final = _finals(results, name, TRUTH).point if name in by_name else None
        found[f"{name.replace('-', '_')}_final"] = final
    start = mean_over_seeds([result.start(plans[0].name, TRUTH) for result in results])
    return found | {"start": start.point, "seeds": len(results)}


def figures_line(results: Sequence[SeedResult], plans: Sequence[ArmPlan]) -> str:
    return json_line("hack", figures(results, plans))


def plot(results: Sequence[SeedResult], plans: Sequence[ArmPlan], folder: Path) -> list[Path]:
    """The main arms' curves, and where every arm ended: hack.png and hack.svg."""
    main = [plan for plan in plans if plan.name in COMPARISONS["hack"]] or list(plans)
    pyplot = drawing()
    height = max(4.0, 1.0 + 0.28 * len(plans))
    figure, panels = pyplot.subplots(1, 3, figsize=(15, height), layout="constrained")
    for axes, key in zip(panels, PANELS, strict=False):
        draw_curves(axes, results, main, key)
    panels[0].legend(frameon=False)
    for place, plan in enumerate(reversed(plans)):
        final = _finals(results, plan.name, TRUTH)
        panels[2].plot([final.point], [place], "o", color=colour_of(plan))
        if final.low is not None and final.high is not None:
            panels[2].plot([final.low, final.high], [place, place], color=colour_of(plan))
    panels[2].set_yticks(range(len(plans)), [plan.label for plan in reversed(plans)])
    panels[2].set(title="true accuracy after the last step", xlim=(0, 1))
    panels[2].grid(alpha=0.25)
    return saved(figure, folder / "hack")
