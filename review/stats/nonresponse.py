"""What the unanswered items could change: their share, and worst-case bounds.

Shape suffixes: M = cells of a window, I = items, H = strata of a wave.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from review.stats.cells import BoolArray
from review.stats.estimands import Estimand
from review.stats.estimators import MIN_LABELS, TOO_FEW, Estimate, answers, estimate_all
from review.stats.pooling import wave_weights
from review.stats.windows import Items, Window

# Answers of the unanswered in accepted and in rejected cells.
COMPLETIONS = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Drawn items without an answer. share: of the drawn; weighted: of the rollouts that the
    drawn stand for. Both are None where nothing was drawn."""

    drawn: int
    unanswered: int
    share: float | None
    weighted: float | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """The estimand's lowest and highest point over the completions, and the outermost bounds of
    their intervals. `low` and `high` are None, the interval [0, 1] and `reason` says why, where
    nothing can be said."""

    estimand: Estimand
    low: float | None
    high: float | None
    interval_low: float
    interval_high: float
    level: float
    reason: str | None = None


def unanswered_share(windows: Sequence[Window]) -> Unanswered:
    """How many of the items that closed waves drew have no answer.

    Estimand of `weighted`: the share of the windows' rollouts that reviewers would leave
    unanswered; weights as in the estimates, those stored at the draw. Items outside the sample
    (purposive) do not count. Degenerate: nothing drawn gives None.
    """
    drawn = unanswered = 0
    drawn_weight = unanswered_weight = 0.0
    for window in windows:
        for wave, share in zip(
            window.waves, wave_weights(window) if window.waves else (), strict=True
        ):
            g_I = share * wave.weight_H[wave.stratum_M[wave.items.cell_I]]
            is_silent_I = ~wave.items.is_answered
            drawn += len(wave.items)
            unanswered += int(is_silent_I.sum())
            drawn_weight += float(g_I.sum())
            unanswered_weight += float(g_I[is_silent_I].sum())
    if not drawn:
        return Unanswered(0, 0, None, None)
    return Unanswered(drawn, unanswered, unanswered / drawn, unanswered_weight / drawn_weight)


def worst_case_bounds(
    windows: Sequence[Window],
    *,
    slices: Sequence[NDArray[np.generic]] | None = None,
    accepted: Sequence[BoolArray] | None = None,
    level: float = 0.95,
) -> dict[Estimand, Bounds]:
    """Each estimand under the most extreme answers that the unanswered items could have had.

    Estimand: as `estimate_all`, without its assumption that answers are missing at random. The
    unanswered are taken to be all correct, all wrong, and correct among what the verifier accepts
    but wrong among what it rejects, and the other way round: no other answers give a lower or a
    higher point. Where they are wrong, they are hacks too.
    Degenerate: with every item answered both bounds are the estimate. Fewer than 32 answers, or
    an estimand that one of the completions leaves undefined: None, [0, 1] and the reason.
    Source: Manski's bounds without assumptions; Horowitz and Manski 2000.
    """
    if answers(windows) < MIN_LABELS:
        return {e: Bounds(e, None, None, 0.0, 1.0, level, TOO_FEW) for e in Estimand}
    verdicts = accepted or [window.frame.accepted_M for window in windows]
    is_complete = not any(
        np.isnan(items.correct_I).any() for window in windows for items in _all_items(window)
    )
    completions = [
        estimate_all(
            [_completed(w, v, *answer) for w, v in zip(windows, verdicts, strict=True)],
            slices=slices,
            accepted=accepted,
            level=level,
        )
        for answer in COMPLETIONS[: 1 if is_complete else None]
    ]
    return {e: _outermost(e, [completion[e] for completion in completions]) for e in Estimand}


def _all_items(window: Window) -> list[Items]:
    return [window.purposive, *(wave.items for wave in window.waves)]


def _completed(
    window: Window, accepted_M: BoolArray, in_accepted: float, in_rejected: float
) -> Window:
    """Every unanswered item gets an answer: one for accepted cells, one for rejected ones."""

    def completed(items: Items) -> Items:
        answer_I = np.where(accepted_M[items.cell_I] > 0, in_accepted, in_rejected)
        is_silent_I = ~items.is_answered
        return replace(
            items,
            correct_I=np.where(is_silent_I, answer_I, items.correct_I),
            hack_I=np.where(is_silent_I, answer_I == 0, items.hack_I),
        )

    waves = tuple(replace(wave, items=completed(wave.items)) for wave in window.waves)
    return replace(window, waves=waves, purposive=completed(window.purposive))


def _outermost(estimand: Estimand, completions: Sequence[Estimate]) -> Bounds:
    level = completions[0].level
    points = [estimate.point for estimate in completions if estimate.point is not None]
    if len(points) < len(completions):
        reason = next(estimate.reason for estimate in completions if estimate.reason)
        return Bounds(estimand, None, None, 0.0, 1.0, level, reason)
    return Bounds(
        estimand,
        low=min(points),
        high=max(points),
        interval_low=min(estimate.low for estimate in completions),
        interval_high=max(estimate.high for estimate in completions),
        level=level,
    )
