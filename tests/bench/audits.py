"""Audits of a population, simulated through the product's own design and working model.

Shape suffixes: M = cells, O = outcomes (correct, wrong, hack), I = items.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from review.stats import working_model
from review.stats.cells import FloatArray, IntArray
from review.stats.design import COMPROMISE, Focus, draw_counts, plan_wave
from review.stats.windows import Counts, Wave, Window, no_items
from review.stats.working_model import fit_working_model, hack_model
from tests.bench.reviewers import Review, always_right
from tests.stats.population import CORRECT, HACK, WRONG, Population, label

# What is believed of each cell before a wave: P(correct), and P(accepted and a hack).
Belief = Callable[[Population, Counts], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True, slots=True)
class Audit:
    window: Window
    reviews: int


def fitted(population: Population, known: Counts) -> tuple[FloatArray, FloatArray]:
    """The product's belief: the working model, fitted to the labels so far."""
    frame = population.frame
    model = fit_working_model(frame, labelled_M=known.answered_M, correct_M=known.correct_M)
    wrong_M, hacks_M = known.wrong_or_hack_M, known.hacks_M
    return model.f_M, hack_model(frame, f_M=model.f_M, wrong_accepted_M=wrong_M, hacks_M=hacks_M)


def oracle(population: Population, known: Counts) -> tuple[FloatArray, FloatArray]:
    """The true probabilities of the cells, which no audit knows."""
    share_MO = population.outcomes_MO / population.count_M[:, None]
    return share_MO[:, CORRECT], share_MO[:, HACK] * population.frame.accepted_M


@contextmanager
def useless_prior() -> Iterator[None]:
    """Working models that expect nothing but that accepted rollouts are better than rejected."""
    expected = working_model.PRIOR_MEANS
    working_model.PRIOR_MEANS = (0.0, 1.0, *[0.0] * (len(expected) - 2))
    try:
        yield
    finally:
        working_model.PRIOR_MEANS = expected


def conduct(
    population: Population,
    *,
    n: int,
    rng: np.random.Generator,
    waves: int = 4,
    focus: Focus = COMPROMISE,
    belief: Belief = fitted,
    review: Review = always_right,
) -> Audit:
    """Plan, draw and review `n` rollouts in waves of equal size."""
    frame, count_M = population.frame, population.count_M
    left_MO = population.outcomes_MO
    known = no_items().counts(len(frame))
    closed: list[Wave] = []
    reviews = 0
    for number in range(1, waves + 1):
        f_M, q_M = belief(population, known)
        remaining_M = left_MO.sum(1)
        plan = plan_wave(
            frame,
            remaining_M=remaining_M,
            count_M=count_M,
            f_M=f_M,
            q_M=q_M,
            n=n * number // waves - n * (number - 1) // waves,
            focus=focus,
        )
        drawn_M = draw_counts(plan, remaining_M, seed=int(rng.integers(2**31)))
        drawn_MO = draw_outcomes(left_MO, drawn_M, rng)
        left_MO = left_MO - drawn_MO
        items, reviews_I = review(label(drawn_MO, rng=rng), frame.accepted_M, rng)
        reviews += int(reviews_I.sum())
        known = known + items.counts(len(frame))
        closed.append(
            Wave(
                number=number,
                planned=plan.n,
                remaining_M=remaining_M,
                stratum_M=plan.stratum_M,
                weight_H=plan.weight_H,
                f_M=f_M,
                q_M=q_M,
                items=items,
            )
        )
    return Audit(Window(frame, count_M, tuple(closed)), reviews)


def draw_outcomes(left_MO: IntArray, drawn_M: IntArray, rng: np.random.Generator) -> IntArray:
    """The outcomes of so many rollouts of each cell, drawn without replacement."""
    left_M = left_MO.T
    correct_M = rng.hypergeometric(left_M[CORRECT], left_M[WRONG] + left_M[HACK], drawn_M)
    hacks_M = rng.hypergeometric(left_M[HACK], left_M[WRONG], drawn_M - correct_M)
    return np.stack([correct_M, drawn_M - correct_M - hacks_M, hacks_M], 1)
