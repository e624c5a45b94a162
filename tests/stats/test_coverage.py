"""Seeded simulations of whole audits: are the intervals as honest as they say?"""

import numpy as np
import pytest

from review.stats.design import RECALL_ONLY
from review.stats.estimands import Estimand
from review.stats.estimators import estimate_all
from review.stats.intervals import wilson
from tests.stats.population import audit, make_population

REPLICATES = 200
FEWER = 100


def windows_of(population, *, seed, replicates=REPLICATES, **options):
    rng = np.random.default_rng(seed)
    return [audit(population, n=300, rng=rng, **options) for _ in range(replicates)]


def estimates(windows):
    return [estimate_all([window]) for window in windows]


def coverage(results, estimand, truth):
    return np.mean([r[estimand].low <= truth <= r[estimand].high for r in results])


def rmse(results, estimand, truth):
    return np.sqrt(np.mean([(r[estimand].point - truth) ** 2 for r in results]))


@pytest.fixture(scope="module")
def population():
    return make_population(np.random.default_rng(11))


@pytest.fixture(scope="module")
def windows(population):
    return windows_of(population, seed=12)


@pytest.fixture(scope="module")
def compromise(windows):
    return estimates(windows)


@pytest.mark.parametrize("estimand", Estimand)
def test_intervals_of_300_labels_cover(population, compromise, estimand):
    assert coverage(compromise, estimand, population.truth()[estimand]) >= 0.92


@pytest.mark.parametrize("estimand", Estimand)
def test_estimates_are_unbiased(population, compromise, estimand):
    errors = [r[estimand].point - population.truth()[estimand] for r in compromise]
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(REPLICATES)


def test_300_labels_say_more_than_as_many_uniform_ones(population, compromise):
    truth = population.truth()
    of_all = {"recall": truth["accuracy"], "fpr": 1 - truth["accuracy"], "accuracy": 1.0}
    for estimand, share in of_all.items():
        p = truth[estimand]
        efficiency = p * (1 - p) / (300 * share) / rmse(compromise, estimand, p) ** 2
        assert efficiency > 1.5, estimand
        widths = [r[estimand].high - r[estimand].low for r in compromise]
        uniform = wilson(p * 300 * share, 300 * share)
        assert np.mean(widths) < uniform.high - uniform.low, estimand


def test_recall_focus_narrows_recall(population, compromise):
    focused = estimates(windows_of(population, seed=13, replicates=FEWER, focus=RECALL_ONLY))
    truth = population.truth()["recall"]
    assert coverage(focused, "recall", truth) >= 0.92
    assert rmse(focused, "recall", truth) < rmse(compromise, "recall", truth)


def test_intervals_of_a_slice_cover(population, windows):
    inside_M = population.frame.domain_M == 1
    count_MO = population.outcomes_MO[inside_M]
    accepted_M = population.frame.accepted_M[inside_M]
    truth = count_MO[accepted_M, 0].sum() / count_MO[:, 0].sum()
    results = [estimate_all([window], slices=[inside_M]) for window in windows]
    assert coverage(results, "recall", truth) >= 0.92


def test_answers_missing_at_random_cost_labels_not_coverage(population):
    results = estimates(windows_of(population, seed=15, replicates=FEWER, silent=0.15))
    for estimand in ("recall", "fpr", "accuracy"):
        assert coverage(results, estimand, population.truth()[estimand]) >= 0.92
