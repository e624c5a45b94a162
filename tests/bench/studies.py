"""The ways of auditing that `bench-coverage` compares."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np

from review.stats.design import COMPROMISE, RECALL_ONLY, Focus
from review.stats.estimands import Estimand
from review.stats.estimators import Estimate, estimate_all
from review.stats.intervals import Interval
from tests.bench.audits import Belief, conduct, fitted, oracle, useless_prior
from tests.bench.pooled import pooled_audit
from tests.bench.reviewers import Review, always_right, overlapping, single
from tests.stats.population import Population


@dataclass(frozen=True, slots=True)
class Outcome:
    """One audit: its interval for each estimand, and the reviews that it took."""

    intervals: Mapping[Estimand, Estimate | Interval]
    reviews: int


@dataclass(frozen=True, slots=True)
class Study:
    """A way to audit, with `n` labels."""

    name: str
    n: int
    audit: Callable[..., Outcome]

    def once(self, population: Population, rng: np.random.Generator) -> Outcome:
        return self.audit(population, n=self.n, rng=rng)


def wave_wise(
    population: Population,
    *,
    n: int,
    rng: np.random.Generator,
    focus: Focus = COMPROMISE,
    belief: Belief = fitted,
    review: Review = always_right,
    prior: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Outcome:
    """The product's audit."""
    with prior():
        audit = conduct(population, n=n, rng=rng, focus=focus, belief=belief, review=review)
        return Outcome(estimate_all([audit.window]), audit.reviews)


def pooled(population: Population, *, n: int, rng: np.random.Generator) -> Outcome:
    """The textbook's."""
    return Outcome(pooled_audit(population, n=n, rng=rng), n)


COMPROMISES = tuple(Study("compromise", n, wave_wise) for n in (100, 300, 1000, 3000))
COMPROMISE_1000 = COMPROMISES[2]
RECALL_FOCUS = Study("recall focus", 1000, partial(wave_wise, focus=RECALL_ONLY))
ORACLE = Study("recall focus, oracle", 1000, partial(wave_wise, focus=RECALL_ONLY, belief=oracle))
USELESS_PRIOR = Study("useless prior", 1000, partial(wave_wise, prior=useless_prior))
POOLED = tuple(Study("pooled Neyman (textbook)", n, pooled) for n in (300, 1000))
ONE_REVIEW = Study("4 % error, one review", 1000, partial(wave_wise, review=single))
OVERLAP = Study("4 % error, overlap", 1000, partial(wave_wise, review=overlapping))
STUDIES = (
    *COMPROMISES,
    RECALL_FOCUS,
    ORACLE,
    USELESS_PRIOR,
    *POOLED,
    ONE_REVIEW,
    OVERLAP,
)
