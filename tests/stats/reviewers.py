"""Reviewers who err, and rollouts for them: as many accepted as rejected ones.

Shape suffixes: I = items, L = answers.
"""

from dataclasses import dataclass

import numpy as np

from review.stats.cells import BoolArray, FloatArray, IntArray
from review.stats.dawid_skene import Answers

ERROR = 0.04
# A verifier of recall .865 and false positive rate .046, on rollouts of which .537 are correct.
ACCEPTED_SHARE = 0.486
CORRECT_SHARES = (0.141, 0.956)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """The answers in the order they were given, and the decision on each item."""

    item_L: IntArray
    reviewer_L: IntArray
    correct_L: BoolArray
    final_I: BoolArray

    @property
    def per_item(self) -> float:
        return len(self.item_L) / len(self.final_I)

    def answers(self, stratum_I: BoolArray, gold_I: FloatArray | None = None) -> Answers:
        unknown_I = np.full(len(stratum_I), np.nan)
        return Answers(
            self.item_L,
            self.reviewer_L,
            self.correct_L,
            stratum_I,
            unknown_I if gold_I is None else gold_I,
        )


def make_items(n: int, rng: np.random.Generator) -> tuple[BoolArray, BoolArray]:
    """Verdicts, half of them accepting, and what is right."""
    accepted_I = np.arange(n) % 2 == 1
    return accepted_I, rng.random(n) < np.array(CORRECT_SHARES)[accepted_I.astype(int)]


def recall_and_fpr(correct_I: FloatArray, accepted_I: BoolArray) -> tuple[float, float]:
    """Of the rollouts that the items of each verdict stand for."""
    accepted, rejected = correct_I[accepted_I].mean(), correct_I[~accepted_I].mean()
    shares = np.array([ACCEPTED_SHARE, 1 - ACCEPTED_SHARE])
    correct, wrong = shares * [accepted, rejected], shares * [1 - accepted, 1 - rejected]
    return correct[0] / correct.sum(), wrong[0] / wrong.sum()


def review(
    correct_I: BoolArray,
    accepted_I: BoolArray,
    rng: np.random.Generator,
    *,
    has_contradictions: bool = True,
    by_chance: float = 0.1,
    errors: tuple[float, ...] = (ERROR,) * 3,
) -> Reviewed:
    """One review of each item by one of the reviewers, a second by another of what contradicts the
    verdict and of a random share, a third where the two disagree."""
    n = len(correct_I)
    reviewer_IR = rng.permuted(np.tile(np.arange(len(errors)), (n, 1)), axis=1)
    is_error_IR = rng.random((n, len(errors))) < np.array(errors)[reviewer_IR]
    says_IR = correct_I[:, None] ^ is_error_IR
    has_second_I = rng.random(n) < by_chance
    if has_contradictions:
        has_second_I |= says_IR[:, 0] != accepted_I
    has_third_I = has_second_I & (says_IR[:, 0] != says_IR[:, 1])
    given_IR = np.column_stack([np.ones(n, bool), has_second_I, has_third_I])
    item_L, column_L = np.nonzero(given_IR)
    return Reviewed(
        item_L=item_L,
        reviewer_L=reviewer_IR[item_L, column_L],
        correct_L=says_IR[item_L, column_L],
        final_I=np.where(has_third_I, says_IR[:, 2], says_IR[:, 0]),
    )
