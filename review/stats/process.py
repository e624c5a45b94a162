"""Estimates about the steps of a solution, from the earliest wrong step that reviewers name.

Shape suffixes: I = items, C = categories, Y = answers (incorrect, correct).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from review.stats.categorical import NO_CATEGORY, Channel, Score, channel, estimate_scores
from review.stats.cells import BoolArray, FloatArray, IntArray
from review.stats.estimators import MIN_LABELS, Estimate, undefined
from review.stats.windows import Items, Window

# Of the right answers, so many must have their steps judged.
LEAST_SAID = 0.8
TOO_SILENT = "the steps of too few right answers are judged"


class ProcessEstimand(StrEnum):
    """e = earliest wrong step (0: none), e' = what the process verifier says of it."""

    WRONG_PROCESS = "wrong_process"  # P(e >= 1 | correct): right answer, wrong process
    ERROR_FOUND = "error_found"  # P(e' = e | e >= 1)
    FAULTLESS_PASSED = "faultless_passed"  # P(e' = 0 | e = 0)
    PROCESS_F1 = "process_f1"  # harmonic mean of the two


@dataclass(frozen=True, slots=True)
class Claims:
    """What a process verifier says of the items of a window: of those of each wave, and of the
    purposive ones. The earliest wrong step, from 1; 0 for none, nan for no verdict."""

    drawn: Sequence[FloatArray]
    purposive_I: FloatArray | None = None


def wrong_process(
    windows: Sequence[Window],
    *,
    slices: Sequence[NDArray[np.generic]] | None = None,
    level: float = 0.95,
) -> Estimate:
    """How often a right answer comes from a wrong step: P(a step is wrong | correct).

    Estimand: a property of the rollouts in these windows' frames, or of a slice of them. Items
    with an answer but without a word on their steps are nonresponse, like those without an answer:
    assumed missing at random inside their stratum. Point, interval and other assumptions as
    `estimators.estimate`.
    Degenerate: fewer than 32 such labels, no correct one, or steps judged of fewer than four in
    five of the right answers (who names only what is wrong makes it look common): no point,
    [0, 1] and the reason.
    """
    drawn = _drawn_items(windows)
    right = sum(int((items.correct_I == 1).sum()) for items in drawn)
    said = sum(int((_is_said(items) & (items.correct_I == 1)).sum()) for items in drawn)
    n = sum(int(_is_said(items).sum()) for items in drawn)
    if n >= MIN_LABELS and said < LEAST_SAID * right:
        return undefined(ProcessEstimand.WRONG_PROCESS, n, TOO_SILENT, level)
    channels = [
        channel(
            window,
            [_process_category(wave.items) for wave in window.waves],
            _process_category(window.purposive),
        )
        for window in windows
    ]
    key = ProcessEstimand.WRONG_PROCESS
    score = Score(lambda total_C: _share(total_C, 0), [_CORRECT])
    possible_YC = np.array([[False, False, True], [True, True, False]])
    return estimate_scores(
        channels, {key: score}, possible_YC=possible_YC, slices=slices, level=level
    )[key]


def earliest_error(
    windows: Sequence[Window],
    claims: Sequence[Claims],
    *,
    tolerance: int = 0,
    slices: Sequence[NDArray[np.generic]] | None = None,
    level: float = 0.95,
) -> dict[ProcessEstimand, Estimate]:
    """How well a process verifier names the earliest wrong step.

    Estimand: the share of erroneous rollouts whose earliest wrong step it names, the share of
    faultless ones that it calls faultless, and their harmonic mean F1. With `tolerance` 1 a step
    before or after counts as named; a faultless rollout must be called that. No verdict is a
    miss; to leave those out, take a slice. `claims`: what it says of each window's items.
    Items without a word on their steps are nonresponse. Point, interval and assumptions as
    `estimators.estimate`; F1 is linearised: dF = 2 (b^2 da + a^2 db) / (a + b)^2.
    Degenerate: fewer than 32 such labels, none of them erroneous (faultless): no point, [0, 1]
    and the reason. Where both shares are 0, so is F1.
    Source: ProcessBench, arXiv 2412.06559.
    """
    channels = [
        _claimed(window, claimed, tolerance)
        for window, claimed in zip(windows, claims, strict=True)
    ]
    possible_YC = np.ones((2, 4), np.bool_)
    return estimate_scores(
        channels, MATCH_SCORES, possible_YC=possible_YC, slices=slices, level=level
    )


def _drawn_items(windows: Sequence[Window]) -> list[Items]:
    return [wave.items for window in windows for wave in window.waves]


def _process_category(items: Items) -> IntArray:
    """Correct by a wrong step, correct without one, incorrect."""
    category_I = np.where(items.correct_I == 0, 2, np.where(items.step_I >= 1, 0, 1))
    return np.where(_is_said(items), category_I, NO_CATEGORY)


def _claimed(window: Window, claims: Claims, tolerance: int) -> Channel:
    purposive_I = np.full(len(window.purposive), NO_CATEGORY)
    if claims.purposive_I is not None:
        purposive_I = _match_category(window.purposive, claims.purposive_I, tolerance)
    pairs = zip(window.waves, claims.drawn, strict=True)
    drawn = [_match_category(wave.items, claimed_I, tolerance) for wave, claimed_I in pairs]
    return channel(window, drawn, purposive_I)


def _match_category(items: Items, claimed_I: FloatArray, tolerance: int) -> IntArray:
    """An error named, an error missed; a faultless rollout passed, one refused."""
    if np.shape(claimed_I) != items.step_I.shape:
        raise ValueError("a process verifier says a step, 0 or nan of each item")
    is_error_I = items.step_I >= 1
    is_named_I = (claimed_I >= 1) & (np.abs(claimed_I - items.step_I) <= tolerance)
    is_hit_I = np.where(is_error_I, is_named_I, claimed_I == 0)
    category_I = np.where(is_error_I, 0, 2) + np.where(is_hit_I, 0, 1)
    return np.where(_is_said(items), category_I, NO_CATEGORY)


def _is_said(items: Items) -> BoolArray:
    return items.is_answered & ~np.isnan(items.step_I)


def _share(total_C: FloatArray, hit: int) -> tuple[float, FloatArray] | None:
    """Share of a category in itself and the next one."""
    denominator = float(total_C[hit] + total_C[hit + 1])
    if denominator <= 0:
        return None
    value = float(total_C[hit]) / denominator
    gradient_C = np.zeros(len(total_C))
    gradient_C[hit : hit + 2] = (1 - value) / denominator, -value / denominator
    return value, gradient_C


def _f1(total_C: FloatArray) -> tuple[float, FloatArray] | None:
    found, passed = _share(total_C, 0), _share(total_C, 2)
    if found is None or passed is None:
        return None
    (a, da_C), (b, db_C) = found, passed
    if a + b == 0:
        return 0.0, np.zeros(len(total_C))
    return 2 * a * b / (a + b), 2 * (b**2 * da_C + a**2 * db_C) / (a + b) ** 2


_CORRECT = (slice(0, 2), "no correct rollout among the labels")
_ERROR = (slice(0, 2), "no wrong step among the labels")
_FAULTLESS = (slice(2, 4), "no faultless rollout among the labels")

MATCH_SCORES = {
    ProcessEstimand.ERROR_FOUND: Score(lambda total_C: _share(total_C, 0), [_ERROR]),
    ProcessEstimand.FAULTLESS_PASSED: Score(lambda total_C: _share(total_C, 2), [_FAULTLESS]),
    ProcessEstimand.PROCESS_F1: Score(_f1, [_ERROR, _FAULTLESS]),
}
