"""Estimates about one criterion of a rubric, from what reviewers say of that criterion.

Shape suffixes: I = items, C = categories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np

from review.stats.categorical import NO_CATEGORY, Channel, Score, channel, estimate_scores
from review.stats.cells import FloatArray, IntArray
from review.stats.estimators import MIN_LABELS, Estimate, answers, undefined
from review.stats.windows import Items, Window

# Of the answered items, so many must have an answer for the criterion.
LEAST_SAID = 0.8
TOO_SILENT = "the criterion is answered for too few of the labels"


class CriterionEstimand(StrEnum):
    """c = a reviewer says that the criterion is met, v = what the verifier says of it."""

    CRITERION_RECALL = "criterion_recall"  # P(v = pass | c)
    CRITERION_FPR = "criterion_fpr"  # P(v = pass | not c)
    CRITERION_UNDECIDED = "criterion_undecided"  # P(v = undecided)


class Said(IntEnum):
    """What a verifier says of a criterion. Unknown is what can no longer be told."""

    UNKNOWN = -1
    PASS = 0
    FAIL = 1
    UNDECIDED = 2


@dataclass(frozen=True, slots=True)
class CriterionItems:
    """Of items in their order: met_I as a reviewer says (1.0, 0.0, nan where nothing was said) and
    said_I as the verifier says (`Said`)."""

    met_I: FloatArray
    said_I: IntArray


@dataclass(frozen=True, slots=True)
class CriterionAnswers:
    """What is said of the items of a window: of those of each wave, and of the purposive ones."""

    drawn: Sequence[CriterionItems]
    purposive: CriterionItems


def criterion_channel(window: Window, said: CriterionAnswers) -> Channel:
    """The window with an answer only where reviewer and verifier both have one for the criterion.

    Raises ValueError where they speak of other items than the window's.
    """
    pairs = zip(window.waves, said.drawn, strict=True)
    return channel(
        window,
        [_category(wave.items, items) for wave, items in pairs],
        _category(window.purposive, said.purposive),
    )


def criterion_quality(
    windows: Sequence[Window], channels: Sequence[Channel], *, level: float = 0.95
) -> dict[CriterionEstimand, Estimate]:
    """How well a verifier's verdict on a criterion agrees with the reviewers' word on it.

    Estimand: of the windows' rollouts, the share that the verifier passes among those that meet
    the criterion (recall) and among those that do not (FPR), and the share that it leaves
    undecided. Undecided is not passed, in both. `channels`: each window's `criterion_channel`.
    An item without an answer of its own, without a word on the criterion or with "cannot tell" is
    nonresponse, as is one whose verdict can no longer be told. Point, interval and assumptions as
    `estimators.estimate`.
    Degenerate: fewer than 32 such labels, none that meets it (recall), none that does not (FPR),
    or a word on the criterion for fewer than four in five of the answered items (who names only
    what is missed makes it look common): no point, [0, 1] and the reason.
    """
    said, answered = answers([each.window for each in channels]), answers(windows)
    if said >= MIN_LABELS and said < LEAST_SAID * answered:
        return {key: undefined(key, said, TOO_SILENT, level) for key in CriterionEstimand}
    possible_YC = np.ones((2, _CATEGORIES), np.bool_)
    return estimate_scores(channels, SCORES, possible_YC=possible_YC, level=level)


# Categories: what the verifier says of what meets the criterion, then of what does not.
_CATEGORIES = 6
_MET, _UNMET = slice(0, 3), slice(3, 6)


def _category(items: Items, said: CriterionItems) -> IntArray:
    if np.shape(said.met_I) != items.correct_I.shape or len(said.said_I) != len(items):
        raise ValueError("reviewer and verifier say something, or nothing, of each item")
    is_said_I = items.is_answered & ~np.isnan(said.met_I) & (said.said_I != Said.UNKNOWN)
    category_I = said.said_I + np.where(said.met_I == 1, _MET.start, _UNMET.start)
    return np.where(is_said_I, category_I, NO_CATEGORY)


def _share(
    total_C: FloatArray, hits: Sequence[int], among: slice
) -> tuple[float, FloatArray] | None:
    """Share of some categories among more, with its gradient."""
    denominator = float(total_C[among].sum())
    if denominator <= 0:
        return None
    value = float(total_C[list(hits)].sum()) / denominator
    gradient_C = np.zeros(len(total_C))
    gradient_C[among] = -value / denominator
    gradient_C[list(hits)] += 1 / denominator
    return value, gradient_C


SCORES = {
    CriterionEstimand.CRITERION_RECALL: Score(
        lambda total_C: _share(total_C, [_MET.start + Said.PASS], _MET),
        [(_MET, "no labelled rollout meets the criterion")],
    ),
    CriterionEstimand.CRITERION_FPR: Score(
        lambda total_C: _share(total_C, [_UNMET.start + Said.PASS], _UNMET),
        [(_UNMET, "every labelled rollout meets the criterion")],
    ),
    CriterionEstimand.CRITERION_UNDECIDED: Score(
        lambda total_C: _share(
            total_C,
            [_MET.start + Said.UNDECIDED, _UNMET.start + Said.UNDECIDED],
            slice(0, _CATEGORIES),
        ),
        [],
    ),
}
