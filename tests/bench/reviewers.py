"""Reviewers who err, and what becomes of their labels.

Shape suffixes: M = cells, I = items.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from review.stats.cells import BoolArray, IntArray
from review.stats.windows import Items

ERROR = 0.04
RANDOM_SECOND_REVIEWS = 0.10

# From the right answers and the cells' verdicts: the final answers, and the reviews of each item.
Review = Callable[[Items, BoolArray, np.random.Generator], tuple[Items, IntArray]]


def always_right(
    items: Items, accepted_M: BoolArray, rng: np.random.Generator
) -> tuple[Items, IntArray]:
    return items, np.ones(len(items.cell_I), np.int64)


def single(items: Items, accepted_M: BoolArray, rng: np.random.Generator) -> tuple[Items, IntArray]:
    """One review of each item."""
    return _answered(items, _review(items, rng)), np.ones(len(items.cell_I), np.int64)


def overlapping(
    items: Items, accepted_M: BoolArray, rng: np.random.Generator
) -> tuple[Items, IntArray]:
    """A second, blind review of what contradicts the verdict and of a random tenth; where the two
    disagree, a third decides."""
    first_I, second_I, third_I = (_review(items, rng) for _ in range(3))
    has_second_I = (first_I != accepted_M[items.cell_I]) | (
        rng.random(len(first_I)) < RANDOM_SECOND_REVIEWS
    )
    has_third_I = has_second_I & (first_I != second_I)
    final_I = np.where(has_third_I, third_I, first_I)
    return _answered(items, final_I), 1 + has_second_I.astype(int) + has_third_I


def _review(items: Items, rng: np.random.Generator) -> BoolArray:
    """One reviewer's answers, each wrong with the same probability, on its own."""
    return (items.correct_I == 1) ^ (rng.random(len(items.cell_I)) < ERROR)


def _answered(items: Items, correct_I: BoolArray) -> Items:
    """Who takes an answer for correct sees no hack in it."""
    return replace(items, correct_I=correct_I.astype(float), hack_I=items.hack_I & ~correct_I)
