"""Small, seeded versions of `make bench-coverage`; the benchmark itself has the sharp numbers."""

import numpy as np
import pytest

from review.stats.design import RECALL_ONLY
from review.stats.estimands import Estimand
from review.stats.estimators import estimate_all
from review.stats.windows import Items
from review.stats.working_model import PRIOR_MEANS, fit_working_model
from tests.bench.audits import conduct, useless_prior
from tests.bench.figures import AIMED_AT
from tests.bench.pooled import pooled_audit
from tests.bench.population import reference_population
from tests.bench.reviewers import overlapping, single
from tests.bench.uniform import uniform

REPLICATES = 60


@pytest.fixture(scope="module")
def population():
    return reference_population(7)


def errors(population, found, estimand):
    return np.array([audit[estimand].point for audit in found]) - population.truth()[estimand]


def audits(population, *, seed, replicates=REPLICATES, **options):
    rng = np.random.default_rng(seed)
    windows = [conduct(population, n=1000, rng=rng, **options).window for _ in range(replicates)]
    return [estimate_all([window]) for window in windows]


@pytest.fixture(scope="module")
def compromise(population):
    return audits(population, seed=1)


def test_the_population_is_what_it_is_said_to_be(population):
    truth = population.truth()
    assert population.count_M.sum() == 200_000
    assert 540 < len(population.frame) < 600
    assert truth["recall"] == pytest.approx(0.865, abs=0.005)
    assert truth["fpr"] == pytest.approx(0.046, abs=0.003)
    assert truth["accuracy"] == pytest.approx(0.537, abs=0.008)
    assert truth["hack_rate"] == pytest.approx(0.0125, abs=0.001)


def test_another_seed_is_another_population(population):
    assert reference_population(8).truth() != population.truth()


@pytest.mark.parametrize("estimand", AIMED_AT)
def test_1000_labels_cover_without_bias_and_beat_as_many_uniform_ones(
    population, compromise, estimand
):
    truth = population.truth()[estimand]
    covers = np.mean([audit[estimand].low <= truth <= audit[estimand].high for audit in compromise])
    assert covers >= 0.85
    error = errors(population, compromise, estimand)
    assert abs(error.mean()) < 3 * error.std() / np.sqrt(REPLICATES)
    assert uniform([population], n=1000)[estimand].mse / np.mean(error**2) > 1.2


def test_recall_focus_saves_most_of_the_labels(population):
    focused = audits(population, seed=2, focus=RECALL_ONLY)
    error = errors(population, focused, Estimand.RECALL)
    reference = uniform([population], n=1000)[Estimand.RECALL]
    # Four times as efficient, but for the chance in so few replicates.
    assert reference.mse / np.mean(error**2) > 2.5


def test_one_stratified_mean_of_adaptive_waves_makes_the_verifier_look_good(population):
    rng = np.random.default_rng(3)
    pooled = [pooled_audit(population, n=1000, rng=rng) for _ in range(REPLICATES)]
    for estimand, sign in ((Estimand.RECALL, 1), (Estimand.FPR, -1), (Estimand.HACK_RATE, -1)):
        error = errors(population, pooled, estimand)
        assert sign * error.mean() > 2 * error.std() / np.sqrt(REPLICATES), estimand


def test_the_useless_prior_is_gone_afterwards(population):
    frame, none = population.frame, np.zeros(len(population.frame))
    with useless_prior():
        model = fit_working_model(frame, labelled_M=none, correct_M=none)
    assert model.f_M == pytest.approx(np.where(frame.accepted_M, 1 / (1 + np.exp(-1)), 0.5))
    model = fit_working_model(frame, labelled_M=none, correct_M=none)
    assert model.coefficients_F[: len(PRIOR_MEANS)] == pytest.approx(PRIOR_MEANS)


def test_a_second_look_at_contradictions_takes_most_of_the_reviewers_errors_away(population):
    once = audits(population, seed=4, replicates=30, review=single)
    twice = audits(population, seed=4, replicates=30, review=overlapping)
    for estimand in (Estimand.RECALL, Estimand.FPR):
        bias, rest = (abs(errors(population, a, estimand).mean()) for a in (once, twice))
        assert bias > 0.02
        assert rest < 0.006


def test_reviews_are_for_contradictions_a_random_tenth_and_ties():
    correct_I = np.repeat([1.0, 0.0], 5000)
    items = Items(np.zeros(10_000), correct_I, np.zeros(10_000))
    final, reviews_I = overlapping(items, np.array([True]), np.random.default_rng(5))
    # The first review is wrong for 4 %. What contradicts the verdict gets a second review, of the
    # rest a tenth; 4 % of the second reviews are wrong, and disagreement gets a third.
    second_of_correct, second_of_wrong = 0.04 + 0.96 * 0.1, 0.96 + 0.04 * 0.1
    third_of_correct = 0.04 * 0.96 + 0.96 * 0.1 * 0.04
    third_of_wrong = 0.96 * 0.04 + 0.04 * 0.1 * 0.96
    assert reviews_I[:5000].mean() == pytest.approx(
        1 + second_of_correct + third_of_correct, abs=0.02
    )
    assert reviews_I[5000:].mean() == pytest.approx(1 + second_of_wrong + third_of_wrong, abs=0.02)
    # A correct rollout is taken for wrong only if two of three reviews are; one that is wrong and
    # accepted also if the first, whom nobody checks, is.
    is_wrong_I = final.correct_I != correct_I
    assert is_wrong_I[:5000].mean() == pytest.approx(0.04 * (0.04 + 0.96 * 0.04), abs=0.004)
    assert is_wrong_I[5000:].mean() == pytest.approx(0.04 * 0.9, abs=0.01)
