"""The figures that `bench-coverage` prints last, and what they must be.

Shape suffixes: R = replicates, E = estimands, 2 = the interval for one look, the one for any number
of looks.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from review.stats.cells import BoolArray
from review.stats.estimands import Estimand
from tests.bench.studies import (
    COMPROMISE_1000,
    COMPROMISES,
    ONE_REVIEW,
    ORACLE,
    OVERLAP,
    POOLED,
    RECALL_FOCUS,
    USELESS_PRIOR,
    Study,
)
from tests.bench.summaries import Results, Summary

# What the focuses can aim at; the others are shown, and held to nothing.
AIMED_AT = (Estimand.RECALL, Estimand.FPR, Estimand.ACCURACY, Estimand.HACK_RATE)
EFFICIENCIES = ("recall_efficiency", "fpr_efficiency", "accuracy_efficiency", "hack_efficiency")

Summaries = Mapping[tuple[Study, Estimand], Summary]


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number and its Monte Carlo standard error, nan where that is not known."""

    value: float
    error: float = math.nan


@dataclass(frozen=True, slots=True)
class Target:
    """What the absolute value of a figure must be."""

    figure: str
    relation: str
    bound: float

    def is_met(self, figure: Figure) -> bool:
        compare = {"<": operator.lt, "<=": operator.le, ">=": operator.ge}[self.relation]
        return bool(compare(abs(figure.value), self.bound))


TARGETS = (
    Target("coverage_mean", ">=", 0.945),
    Target("coverage_min", ">=", 0.92),
    Target("bias_over_se_max", "<", 0.10),
    Target("recall_focus_efficiency", ">=", 4.0),
    Target("oracle_ratio", "<=", 1.4),
    Target("recall_efficiency", ">=", 2.2),
    Target("fpr_efficiency", ">=", 3.5),
    Target("accuracy_efficiency", ">=", 5.0),
    Target("hack_efficiency", ">=", 4.5),
    Target("compromise_efficiency_min", ">=", 1.0),
    Target("useless_prior_recall", ">=", 2.0),
    Target("useless_prior_fpr", ">=", 3.0),
    Target("peeking_miss", "<=", 0.05),
    Target("overlap_recall_bias", "<=", 0.006),
    Target("overlap_fpr_bias", "<=", 0.006),
    Target("reviews_per_item", "<=", 1.5),
)


def figures_of(
    summaries: Summaries, results: Mapping[Study, Results], missed_RE2: BoolArray
) -> dict[str, Figure]:
    return {
        **_of_compromise(summaries),
        **_of_recall_focus(summaries),
        **_of_useless_prior(summaries),
        **_of_textbook(summaries),
        **_of_looks(missed_RE2),
        **_of_reviews(summaries, results),
    }


def _of_compromise(summaries: Summaries) -> dict[str, Figure]:
    all_budgets = [summaries[study, e] for study in COMPROMISES for e in AIMED_AT]
    at_1000 = [summaries[COMPROMISE_1000, e] for e in AIMED_AT]
    most_biased = max(all_budgets, key=lambda s: abs(s.bias_over_se))
    return {
        "coverage_mean": Figure(float(np.mean([s.covers for s in all_budgets]))),
        "coverage_min": _least_covered(all_budgets),
        "bias_over_se_max": Figure(abs(most_biased.bias_over_se), most_biased.bias_over_se_error),
        **dict(zip(EFFICIENCIES, map(_efficiency, at_1000), strict=True)),
        "compromise_efficiency_min": _least_efficient(all_budgets),
    }


def _of_recall_focus(summaries: Summaries) -> dict[str, Figure]:
    focused, ideal = (summaries[study, Estimand.RECALL] for study in (RECALL_FOCUS, ORACLE))
    relative_errors = [s.efficiency_error / s.efficiency for s in (focused, ideal)]
    ratio = focused.mse / ideal.mse
    return {
        "recall_focus_efficiency": _efficiency(focused),
        "recall_focus_coverage": _coverage(focused),
        "oracle_ratio": Figure(ratio, ratio * math.hypot(*relative_errors)),
    }


def _of_useless_prior(summaries: Summaries) -> dict[str, Figure]:
    found = [summaries[USELESS_PRIOR, e] for e in AIMED_AT]
    recall, fpr, *_ = found
    return {
        "useless_prior_recall": _efficiency(recall),
        "useless_prior_fpr": _efficiency(fpr),
        "useless_prior_efficiency_min": _least_efficient(found),
        "useless_prior_coverage_min": _least_covered(found),
    }


def _of_textbook(summaries: Summaries) -> dict[str, Figure]:
    found = [summaries[study, e] for study in POOLED for e in AIMED_AT]
    most_biased = max(found, key=lambda s: abs(s.bias_over_se))
    return {
        "pooled_coverage_min": _least_covered(found),
        "pooled_bias_over_se_max": Figure(
            abs(most_biased.bias_over_se), most_biased.bias_over_se_error
        ),
    }


def _of_looks(missed_RE2: BoolArray) -> dict[str, Figure]:
    """With the interval for one look, the mean over the estimands; else the worst of them."""
    aimed_at = [list(Estimand).index(e) for e in AIMED_AT]
    fixed_E, watched_E = missed_RE2[:, aimed_at].mean(0).T
    worst = float(watched_E.max())
    return {
        "peeking_miss_fixed_n": Figure(float(fixed_E.mean())),
        "peeking_miss": Figure(worst, math.sqrt(worst * (1 - worst) / len(missed_RE2))),
    }


def _of_reviews(summaries: Summaries, results: Mapping[Study, Results]) -> dict[str, Figure]:
    figures = {"reviews_per_item": Figure(results[OVERLAP].reviews_per_item(OVERLAP.n))}
    for name, study in (("single", ONE_REVIEW), ("overlap", OVERLAP)):
        recall, fpr = (summaries[study, e] for e in (Estimand.RECALL, Estimand.FPR))
        figures[f"{name}_recall_bias"] = Figure(recall.bias, recall.bias_error)
        figures[f"{name}_fpr_bias"] = Figure(fpr.bias, fpr.bias_error)
    return figures


def _efficiency(summary: Summary) -> Figure:
    return Figure(summary.efficiency, summary.efficiency_error)


def _coverage(summary: Summary) -> Figure:
    return Figure(summary.covers, summary.covers_error)


def _least_efficient(summaries: Sequence[Summary]) -> Figure:
    return _efficiency(min(summaries, key=lambda s: s.efficiency))


def _least_covered(summaries: Sequence[Summary]) -> Figure:
    return _coverage(min(summaries, key=lambda s: s.covers))
