"""Reviewers' error rates and the probable truth behind their answers (Dawid and Skene 1979).

Shape suffixes: L = answers, I = items, R = reviewers, S = strata (verdicts).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from review.stats.cells import BoolArray, FloatArray, IntArray

# Beta prior of each error rate: one error in 25 answers.
PRIOR_ERRORS = 1.0
PRIOR_RIGHT = 24.0
ITERATIONS = 60
IMPUTATIONS = 50

NO_ANSWERS = "no answers"
NOT_IDENTIFIED = "no item was judged by two reviewers, and none is gold"


@dataclass(frozen=True, slots=True)
class Answers:
    """Who said what of which item: three columns of equal length, one row for each answer.

    item_L, reviewer_L: positions; correct_L: the reviewer says that the item is correct.
    stratum_I: of each item, usually the verdict; gold_I: 1 or 0 where the truth is known, else nan.
    """

    item_L: IntArray
    reviewer_L: IntArray
    correct_L: BoolArray
    stratum_I: IntArray
    gold_I: FloatArray

    def __post_init__(self) -> None:
        """Convert each column to its type; refuse unequal lengths and unknown items."""
        kinds = {"item_L": np.int64, "reviewer_L": np.int64, "correct_L": np.bool_}
        for name, kind in (kinds | {"stratum_I": np.int64, "gold_I": np.float64}).items():
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=kind))
        if any(getattr(self, name).shape != self.item_L.shape for name in kinds):
            raise ValueError("the columns of answers are equally long")
        if self.gold_I.shape != self.stratum_I.shape:
            raise ValueError("each item has a stratum, and a truth or nan")
        if np.any((self.item_L < 0) | (self.item_L >= len(self.stratum_I))):
            raise ValueError("an answer is about one of the items")
        if np.any(self.reviewer_L < 0) or np.any(self.stratum_I < 0):
            raise ValueError("reviewers and strata are numbered from 0")
        if not np.isin(self.gold_I[~np.isnan(self.gold_I)], (0.0, 1.0)).all():
            raise ValueError("the truth is 1 (correct), 0 (incorrect) or nan (unknown)")


@dataclass(frozen=True, slots=True)
class DawidSkene:
    """Error rates and posteriors; `reason` says why they rest on the prior alone, if they do.

    misses_R, passes_R: P(says wrong | correct) and P(says correct | wrong) of each reviewer.
    share_S: P(correct) of each stratum. posterior_I: P(correct | answers); of items without an
    answer, that of their stratum.
    misses_RB, passes_RB: the two parameters of the error rates' Beta posteriors.
    """

    answers: Answers
    misses_R: FloatArray
    passes_R: FloatArray
    share_S: FloatArray
    posterior_I: FloatArray
    misses_RB: FloatArray
    passes_RB: FloatArray
    reason: str | None


def fit_dawid_skene(answers: Answers) -> DawidSkene:
    """Error rates of each reviewer and P(correct) of each item, by 60 steps of EM.

    Estimand: a_r = P(says wrong | correct), b_r = P(says correct | wrong), with Beta(1, 24)
    priors, and P(correct | answers), whose class prior is the stratum's own, (sum q + 1) / (n + 2).
    Assumes: reviewers err independently, equally often on all items of a truth: blind spots that
    they share are not seen, except on gold items, whose truth is given.
    Degenerate: where no item has two reviewers and none is gold, the answers cannot tell errors
    from prevalence: everything follows from the priors, and `reason` says so; so it does where
    there are no answers.
    Source: Dawid and Skene 1979, Applied Statistics 28.
    """
    posterior_I = _first_guess(answers)
    # Without an answer, an item says nothing of its stratum.
    is_judged_I = np.bincount(answers.item_L, minlength=len(posterior_I)) > 0
    is_judged_I |= ~np.isnan(answers.gold_I)
    for _ in range(ITERATIONS):
        share_S = _shares(answers.stratum_I, posterior_I, is_judged_I)
        misses_RB, passes_RB = _error_counts(answers, posterior_I)
        misses_R, passes_R = _mean(misses_RB), _mean(passes_RB)
        posterior_I = _posterior(answers, share_S, misses_R, passes_R)
    return DawidSkene(
        answers=answers,
        misses_R=misses_R,
        passes_R=passes_R,
        share_S=share_S,
        posterior_I=posterior_I,
        misses_RB=misses_RB,
        passes_RB=passes_RB,
        reason=_why_not_identified(answers),
    )


@dataclass(frozen=True, slots=True)
class Combined:
    """An estimate that carries the reviewers' errors; `point` is None, and `reason` says why,
    where there is none.

    variance = within + (1 + 1/m) between, of m imputations; df: Rubin's degrees of freedom of the
    between part (inf where the answers leave no doubt).
    """

    point: float | None
    variance: float | None
    within: float | None = None
    between: float | None = None
    df: float | None = None
    reason: str | None = None


Estimator = Callable[[FloatArray], tuple[float, float] | None]


def impute(fit: DawidSkene, *, seed: int, imputations: int = IMPUTATIONS) -> FloatArray:
    """Answers as they may truly be, one row for each imputation and a column for each item.

    Each draws the reviewers' error rates from their Beta posteriors, and every item's truth from
    what its answers then say; gold items keep theirs.
    """
    rng = np.random.default_rng(seed)
    drawn = np.empty((imputations, len(fit.posterior_I)))
    for row in drawn:
        misses_R, passes_R = _draw(fit.misses_RB, rng), _draw(fit.passes_RB, rng)
        posterior_I = _posterior(fit.answers, fit.share_S, misses_R, passes_R)
        row[:] = rng.random(len(row)) < posterior_I
    return drawn


def propagate(
    fit: DawidSkene, estimator: Estimator, *, seed: int, imputations: int = IMPUTATIONS
) -> Combined:
    """An estimate with the doubt about the answers in its variance.

    Estimand: that of `estimator`, which takes the true answer of each item (1 or 0) and gives a
    point and its sampling variance, or None where it has no estimate.
    Assumes: as `fit_dawid_skene`.
    Degenerate: a fit that rests on the priors alone, or an imputation without an estimate, gives
    no point and the reason.
    Source: Rubin 1987, Multiple Imputation for Nonresponse in Surveys.
    """
    if fit.reason:
        return Combined(None, None, reason=fit.reason)
    results = [estimator(row) for row in impute(fit, seed=seed, imputations=imputations)]
    known = [result for result in results if result is not None]
    if len(known) < len(results):
        return Combined(None, None, reason="some imputations have no estimate")
    return combine(np.array([p for p, _ in known]), np.array([v for _, v in known]))


def combine(point_N: FloatArray, variance_N: FloatArray) -> Combined:
    """Rubin's rule for the points and variances of at least two imputations."""
    m = len(point_N)
    if m < 2 or variance_N.shape != (m,):
        raise ValueError("Rubin's rule needs at least two imputations, each with its variance")
    within, between = float(variance_N.mean()), float(point_N.var(ddof=1))
    spread = (1 + 1 / m) * between
    df = (m - 1) * (1 + within / spread) ** 2 if spread > 0 else np.inf
    return Combined(float(point_N.mean()), within + spread, within, between, df)


def _why_not_identified(answers: Answers) -> str | None:
    if not len(answers.item_L):
        return NO_ANSWERS
    pairs = np.unique(np.column_stack([answers.item_L, answers.reviewer_L]), axis=0)
    is_shared = np.bincount(pairs[:, 0]).max() > 1
    is_checked = not np.isnan(answers.gold_I[answers.item_L]).all()
    return None if is_shared or is_checked else NOT_IDENTIFIED


def _first_guess(answers: Answers) -> FloatArray:
    """The share of each item's answers that say correct; gold items' truth."""
    items = len(answers.stratum_I)
    said_I = np.bincount(answers.item_L, minlength=items)
    correct_I = np.bincount(answers.item_L, weights=answers.correct_L, minlength=items)
    share_I = np.where(said_I > 0, correct_I / np.maximum(said_I, 1), 0.5)
    return np.where(np.isnan(answers.gold_I), share_I, answers.gold_I)


def _shares(stratum_I: IntArray, posterior_I: FloatArray, is_judged_I: BoolArray) -> FloatArray:
    strata = int(stratum_I.max(initial=-1)) + 1
    correct_S = np.bincount(stratum_I, weights=posterior_I * is_judged_I, minlength=strata)
    return np.asarray((correct_S + 1) / (np.bincount(stratum_I, is_judged_I, strata) + 2))


def _error_counts(answers: Answers, posterior_I: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Parameters of the Beta posteriors of both error rates, one row for each reviewer."""
    reviewers = int(answers.reviewer_L.max(initial=-1)) + 1
    truth_L, said_L = posterior_I[answers.item_L], answers.correct_L

    def posterior(weight_L: FloatArray, is_error_L: BoolArray) -> FloatArray:
        errors_R, right_R = (
            np.bincount(answers.reviewer_L, weights=weight_L * kept_L, minlength=reviewers)
            for kept_L in (is_error_L, ~is_error_L)
        )
        return np.column_stack([errors_R + PRIOR_ERRORS, right_R + PRIOR_RIGHT])

    return posterior(truth_L, ~said_L), posterior(1 - truth_L, said_L)


def _mean(beta_RB: FloatArray) -> FloatArray:
    return np.asarray(beta_RB[:, 0] / beta_RB.sum(1))


def _draw(beta_RB: FloatArray, rng: np.random.Generator) -> FloatArray:
    return np.asarray(rng.beta(beta_RB[:, 0], beta_RB[:, 1]))


def _posterior(
    answers: Answers, share_S: FloatArray, misses_R: FloatArray, passes_R: FloatArray
) -> FloatArray:
    """P(correct | answers) of each item, from the class prior and everyone's error rates."""
    misses_L, passes_L = misses_R[answers.reviewer_L], passes_R[answers.reviewer_L]
    evidence_L = np.where(
        answers.correct_L, np.log((1 - misses_L) / passes_L), np.log(misses_L / (1 - passes_L))
    )
    items = len(answers.stratum_I)
    evidence_I = np.bincount(answers.item_L, weights=evidence_L, minlength=items)
    posterior_I = expit(logit(share_S[answers.stratum_I]) + evidence_I)
    return np.where(np.isnan(answers.gold_I), posterior_I, answers.gold_I)
