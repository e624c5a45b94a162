"""What the gap chart shows: verifier reward by step, beside audited accuracy by window."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.safestring import SafeString

from review.calibration.models import Estimate
from review.rollouts.models import StepSummary
from review.web.charts import AuditedSpan, GapPoint, TableMark, gap_chart
from review.web.figures import percent, percent_range, step_range

# More than an eye can tell apart: a longer run shows several steps as one point.
MOST_POINTS = 250


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring steps that are shown as one point."""

    first_step: int
    last_step: int
    reward: float
    table_version: int | None


def stretches(summaries: Sequence[StepSummary]) -> list[Stretch]:
    """One step each, or as many as it takes to stay within MOST_POINTS."""
    size = -(-len(summaries) // MOST_POINTS) or 1
    return [_stretch(summaries[at : at + size]) for at in range(0, len(summaries), size)]


def _stretch(summaries: Sequence[StepSummary]) -> Stretch:
    accepted = sum(summary.accepted for summary in summaries)
    return Stretch(
        first_step=summaries[0].step,
        last_step=summaries[-1].step,
        reward=accepted / sum(summary.rollouts for summary in summaries),
        table_version=summaries[-1].table_version,
    )


def chart(
    shown: Sequence[Stretch], audited: Sequence[Estimate], summaries: Sequence[StepSummary]
) -> SafeString | None:
    return gap_chart(
        [GapPoint((part.first_step + part.last_step) / 2, part.reward) for part in shown],
        [
            AuditedSpan(row.window.first_step, row.window.last_step, row.point, row.low, row.high)
            for row in audited
            if row.window and row.point is not None  # a band over everything says nothing
        ],
        _table_marks(summaries),
    )


def _table_marks(summaries: Sequence[StepSummary]) -> list[TableMark]:
    """The first step of each table version that came into use."""
    first_steps: dict[int, int] = {}
    for summary in summaries:
        if summary.table_version is not None:
            first_steps.setdefault(summary.table_version, summary.step)
    return [TableMark(step, version) for version, step in sorted(first_steps.items())]


def chart_rows(shown: Sequence[Stretch], audited: Sequence[Estimate]) -> list[dict[str, object]]:
    """The chart in numbers, the newest first."""
    return [_row(part, _estimate_at(part.last_step, audited)) for part in reversed(shown)]


def _estimate_at(step: int, audited: Sequence[Estimate]) -> Estimate | None:
    return next(
        (
            row
            for row in audited
            if row.window and row.window.first_step <= step <= row.window.last_step
        ),
        None,
    )


def _row(part: Stretch, estimate: Estimate | None) -> dict[str, object]:
    version = part.table_version
    return {
        "steps": step_range(part.first_step, part.last_step),
        "reward": percent(part.reward),
        "audited": percent(estimate.point) if estimate else None,
        "interval": percent_range(estimate.low, estimate.high) if estimate else None,
        "table": None if version is None else f"v{version}",
    }
