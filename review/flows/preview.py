"""What an audit rule would cost and how sure it would make one, before anything is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from review.calibration.services.estimates import Beliefs, current_beliefs
from review.labeling.queries import seconds_per_label
from review.rollouts.queries import counts_per_cell
from review.runs.models import Run
from review.sampling.queries import RunCells, Target, target_of
from review.sampling.services.rules import (
    MOST_LABELS,
    SMALLEST_WAVE,
    NewRule,
    RuleSettings,
    check_rule,
)
from review.stats.cells import FloatArray, IntArray
from review.stats.estimands import Estimand
from review.stats.preview import Expected, ExpectedInterval, expected

# Where nobody has labelled yet: an experienced reader of short chains of thought.
ASSUMED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one budget would give. Numbers of reviews are expectations."""

    labels: int
    second_reviews: float
    gold: int
    hours: float
    intervals: Mapping[Estimand, ExpectedInterval]
    # By the slice's name.
    slices: Mapping[str, Mapping[Estimand, ExpectedInterval]]


@dataclass(frozen=True, slots=True)
class Preview:
    """A rule's window, and what half, all and double of its budget would give.

    is_stand_in: the window's steps are not in yet, and the run's newest ones stand for them.
    """

    first_step: int
    last_step: int
    is_stand_in: bool
    frame_size: int
    cells: int
    strata: int
    seconds_per_label: float
    is_pace_measured: bool
    outlooks: Sequence[Outlook]


def preview_audit(*, run: Run, new: NewRule) -> Preview:
    """Refuses a rule that cannot be met, as creating it would. Reads counts per cell only."""
    check_rule(run=run, new=new)
    first, last, is_stand_in = _steps(run, new)
    beliefs = current_beliefs(run)
    cells = beliefs.cells
    count_M = cells.array(counts_per_cell(run, first, last))
    target = target_of(
        run,
        cells,
        verifiers=new.settings.verifiers,
        slices=new.settings.slices,
        first_step=first,
        last_step=last,
    )
    measured = seconds_per_label(run.project)
    pace = measured or ASSUMED_SECONDS
    budgets = [new.settings.budget // 2, new.settings.budget, 2 * new.settings.budget]
    expectations = [
        _expected(cells, count_M, beliefs, target, new.settings, min(max(n, 1), MOST_LABELS))
        for n in budgets
    ]
    return Preview(
        first_step=first,
        last_step=last,
        is_stand_in=is_stand_in,
        frame_size=int(count_M.sum()),
        cells=int(np.count_nonzero(count_M)),
        strata=expectations[1].strata,
        seconds_per_label=pace,
        is_pace_measured=measured is not None,
        outlooks=[_outlook(cells, beliefs.f_M, new.settings, each, pace) for each in expectations],
    )


def _steps(run: Run, new: NewRule) -> tuple[int, int, bool]:
    """The rule's first window; where it is not in yet, as many of the run's newest steps."""
    first, last = new.first_step, new.first_step + new.window_steps - 1
    if new.settings.last_step is not None:
        last = min(last, new.settings.last_step)
    if last <= run.completed_step or not run.is_running:
        return first, last, False
    steps = run.step_summaries.order_by("-step").values_list("step", flat=True)
    newest = list(steps[: new.window_steps])
    return (newest[-1], newest[0], True) if newest else (first, last, True)


def _expected(
    cells: RunCells,
    count_M: IntArray,
    beliefs: Beliefs,
    target: Target,
    settings: RuleSettings,
    n: int,
) -> Expected:
    return expected(
        cells.frame,
        count_M=count_M,
        f_M=beliefs.f_M,
        q_M=beliefs.q_M,
        n=n,
        waves=max(1, min(settings.waves, n // SMALLEST_WAVE)),
        focus=settings.focus,
        mix=settings.floor,
        accepted=target.accepted,
        slices=target.slices,
        is_ranking=settings.is_ranking,
    )


def _outlook(
    cells: RunCells, f_M: FloatArray, settings: RuleSettings, each: Expected, pace: float
) -> Outlook:
    labels = round(float(each.labels_M.sum()))
    second = _second_reviews(cells, f_M, settings, each.labels_M)
    gold = round(settings.gold_share * labels)
    return Outlook(
        labels=labels,
        second_reviews=second,
        gold=gold,
        hours=(labels + second + gold) * pace / 3600,
        intervals=each.intervals,
        slices=dict(zip([part.name for part in settings.slices], each.slices, strict=True)),
    )


def _second_reviews(
    cells: RunCells, f_M: FloatArray, settings: RuleSettings, labels_M: FloatArray
) -> float:
    """Reviews beyond the first: of contradictions, and of a random share of the rest."""
    contradicting_M = np.where(cells.frame.accepted_M, 1 - f_M, f_M)
    by_chance = settings.second_review_share
    if not settings.reviews_contradictions:
        return float(labels_M.sum()) * by_chance
    return float(labels_M @ (by_chance + (1 - by_chance) * contradicting_M))
