import numpy as np
import pytest

from review.stats.dawid_skene import Answers, combine, fit_dawid_skene, impute, propagate
from tests.stats.reviewers import (
    ACCEPTED_SHARE,
    CORRECT_SHARES,
    ERROR,
    make_items,
    recall_and_fpr,
    review,
)

NAN = np.nan


def answers(*rows, strata=None, gold=None):
    """Answers from (item, reviewer, correct)."""
    items = 1 + max((item for item, _, _ in rows), default=-1) if strata is None else len(strata)
    columns = np.array(rows, int).reshape(-1, 3).T
    return Answers(
        *columns,
        stratum_I=np.zeros(items, int) if strata is None else strata,
        gold_I=np.full(items, NAN) if gold is None else gold,
    )


def simulated(seed, n=1000, **options):
    rng = np.random.default_rng(seed)
    accepted_I, correct_I = make_items(n, rng)
    return accepted_I, correct_I, review(correct_I, accepted_I, rng, **options)


def recall_with_variance(accepted_I):
    """Recall of the rollouts that the items of each verdict stand for, and its variance."""

    def estimator(correct_I):
        recall, _ = recall_and_fpr(correct_I, accepted_I)
        rates = np.array([correct_I[accepted_I].mean(), correct_I[~accepted_I].mean()])
        shares = np.array([ACCEPTED_SHARE, 1 - ACCEPTED_SHARE])
        scale = np.array([1 - recall, recall]) * shares / (shares @ rates)
        return recall, float(scale**2 @ (rates * (1 - rates)) / (len(correct_I) / 2))

    return estimator


def true_recall():
    rejected, accepted = CORRECT_SHARES
    both = ACCEPTED_SHARE * accepted + (1 - ACCEPTED_SHARE) * rejected
    return ACCEPTED_SHARE * accepted / both


def test_error_rates_and_estimates_are_recovered():
    misses, passes, biases = [], [], []
    for seed in range(30):
        accepted_I, correct_I, reviewed = simulated(seed)
        fit = fit_dawid_skene(reviewed.answers(accepted_I))
        assert fit.reason is None
        misses.append(fit.misses_R)
        passes.append(fit.passes_R)
        truth = recall_and_fpr(correct_I, accepted_I)
        biases.append(np.subtract(recall_and_fpr(fit.posterior_I, accepted_I), truth))
    assert np.mean(misses, axis=0) == pytest.approx([ERROR] * 3, abs=0.01)
    assert np.mean(passes, axis=0) == pytest.approx([ERROR] * 3, abs=0.01)
    assert np.abs(misses).max() < 0.1
    assert np.abs(np.mean(biases, axis=0)).max() <= 0.004


def test_a_careless_reviewer_is_told_from_a_careful_one():
    accepted_I, _, reviewed = simulated(1, errors=(0.01, 0.04, 0.15))
    fit = fit_dawid_skene(reviewed.answers(accepted_I))
    assert fit.misses_R[2] == pytest.approx(0.15, abs=0.04)
    assert fit.passes_R[2] == pytest.approx(0.15, abs=0.05)
    assert fit.misses_R[0] < fit.misses_R[2] / 3


def test_intervals_with_propagated_errors_cover():
    """Few, random second reviews: the answers alone are off, and surer than they may be."""
    truth, covered, naive = true_recall(), [], []
    for seed in range(60):
        accepted_I, _, reviewed = simulated(seed, has_contradictions=False, by_chance=0.4)
        estimator = recall_with_variance(accepted_I)
        result = propagate(fit_dawid_skene(reviewed.answers(accepted_I)), estimator, seed=seed)
        covered.append(abs(result.point - truth) < 1.96 * np.sqrt(result.variance))
        point, variance = estimator(reviewed.final_I.astype(float))
        naive.append(abs(point - truth) < 1.96 * np.sqrt(variance))
        assert result.variance > result.within > 0
    assert np.mean(covered) >= 0.88
    assert np.mean(naive) < np.mean(covered)


def test_imputations_follow_the_posteriors():
    accepted_I, _, reviewed = simulated(2, n=200)
    fit = fit_dawid_skene(reviewed.answers(accepted_I))
    drawn = impute(fit, seed=1, imputations=2000)
    assert drawn.shape == (2000, 200)
    assert set(np.unique(drawn)) <= {0, 1}
    assert drawn.mean(0) == pytest.approx(fit.posterior_I, abs=0.12)
    assert np.array_equal(drawn, impute(fit, seed=1, imputations=2000))


def test_the_truth_of_gold_items_is_not_revised():
    given = answers((0, 0, 1), (0, 1, 1), (1, 0, 0), (1, 1, 0), gold=[0, NAN])
    fit = fit_dawid_skene(given)
    assert fit.posterior_I[0] == 0
    assert np.all(impute(fit, seed=1)[:, 0] == 0)
    assert fit.passes_R == pytest.approx([2 / 26, 2 / 26], abs=0.005)


def test_gold_items_show_what_all_reviewers_overlook():
    # Both pass every wrong item: without gold, they seem to be right.
    rows = [(item, reviewer, 1) for item in range(100) for reviewer in (0, 1)]
    trusted = fit_dawid_skene(answers(*rows))
    gold = np.where(np.arange(100) < 40, 0.0, NAN)
    checked = fit_dawid_skene(answers(*rows, gold=gold))
    assert np.all(trusted.passes_R < 0.1)
    assert np.all(checked.passes_R > 0.6)


def test_an_item_is_judged_by_what_is_usual_in_its_stratum():
    rows = [(item, reviewer, int(item < 50)) for item in range(100) for reviewer in (0, 1)]
    strata = np.repeat([0, 1], 50)
    strata = np.append(strata, [0, 1])
    split = [(100, 0, 1), (100, 1, 0), (101, 0, 1), (101, 1, 0)]
    fit = fit_dawid_skene(answers(*rows, *split, strata=strata))
    assert fit.posterior_I[100] > 0.9
    assert fit.posterior_I[101] < 0.1
    assert fit.share_S == pytest.approx([52 / 53, 1 / 53], abs=0.01)


def test_an_item_without_an_answer_is_as_its_stratum():
    rows = [(item, reviewer, int(item < 15)) for item in range(20) for reviewer in (0, 1)]
    fit = fit_dawid_skene(answers(*rows, strata=np.zeros(30, int)))
    assert fit.posterior_I[20:] == pytest.approx(fit.share_S[0])
    assert fit.share_S[0] == pytest.approx(16 / 22, abs=0.01)


def test_a_reviewer_without_answers_has_the_prior():
    fit = fit_dawid_skene(answers((0, 1, 1), (0, 2, 1)))
    assert fit.misses_R[0] == fit.passes_R[0] == 1 / 25


def test_the_numbering_of_reviewers_does_not_matter():
    accepted_I, _, reviewed = simulated(3, n=300)
    first = reviewed.answers(accepted_I)
    second = Answers(
        first.item_L, 2 - first.reviewer_L, first.correct_L, first.stratum_I, first.gold_I
    )
    fit, renamed = fit_dawid_skene(first), fit_dawid_skene(second)
    assert renamed.posterior_I == pytest.approx(fit.posterior_I)
    assert renamed.misses_R[::-1] == pytest.approx(fit.misses_R)


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 0, 1), (1, 0, 0)],
        [(0, 0, 1), (1, 1, 0)],
        [(0, 0, 1), (0, 0, 0)],
    ],
)
def test_without_two_reviewers_on_an_item_nothing_is_concluded(rows):
    fit = fit_dawid_skene(answers(*rows))
    assert fit.reason == "no item was judged by two reviewers, and none is gold"
    result = propagate(fit, lambda correct_I: (correct_I.mean(), 0.01), seed=1)
    assert (result.point, result.variance, result.reason) == (None, None, fit.reason)


def test_one_reviewer_checked_on_gold_is_enough():
    assert fit_dawid_skene(answers((0, 0, 1), (1, 0, 0), gold=[1, NAN])).reason is None


@pytest.mark.parametrize("items", [0, 3])
def test_without_answers_nothing_is_concluded(items):
    fit = fit_dawid_skene(answers(strata=np.zeros(items, int)))
    assert fit.reason == "no answers"
    assert fit.posterior_I.tolist() == [0.5] * items
    assert propagate(fit, lambda correct_I: (0.5, 0.1), seed=1).point is None


def test_an_imputation_without_an_estimate_leaves_none():
    accepted_I, _, reviewed = simulated(4, n=50)
    fit = fit_dawid_skene(reviewed.answers(accepted_I))
    assert (
        propagate(fit, lambda correct_I: None, seed=1).reason == "some imputations have no estimate"
    )


def test_rubins_rule_adds_what_lies_within_and_between():
    result = combine(np.array([0.4, 0.6]), np.array([0.01, 0.03]))
    assert result.point == pytest.approx(0.5)
    assert (result.within, result.between) == pytest.approx((0.02, 0.02))
    assert result.variance == pytest.approx(0.02 + 1.5 * 0.02)
    assert result.df == pytest.approx((1 + 0.02 / 0.03) ** 2)


def test_answers_beyond_doubt_add_no_variance():
    result = combine(np.array([0.4, 0.4]), np.array([0.01, 0.01]))
    assert (result.variance, result.between, result.df) == (0.01, 0, np.inf)


@pytest.mark.parametrize("variances", [[0.1], [0.1, 0.2, 0.3]])
def test_rubins_rule_needs_as_many_variances_as_points(variances):
    with pytest.raises(ValueError, match="imputations"):
        combine(np.full(min(len(variances), 2), 0.5), np.array(variances))


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        (([0, 0], [0], [1], [0], [NAN]), "equally long"),
        (([0], [0], [1], [0], [NAN, NAN]), "stratum"),
        (([1], [0], [1], [0], [NAN]), "items"),
        (([0], [-1], [1], [0], [NAN]), "numbered"),
        (([0], [0], [1], [-1], [NAN]), "numbered"),
        (([0], [0], [1], [0], [0.5]), "truth"),
    ],
)
def test_columns_that_do_not_fit_together_are_refused(columns, problem):
    with pytest.raises(ValueError, match=problem):
        Answers(*columns)
