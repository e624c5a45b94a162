from dataclasses import replace
from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from review.stats.cells import concatenate
from review.stats.estimands import Estimand
from review.stats.estimators import estimate, estimate_all
from review.stats.windows import Window
from tests.stats.population import Population, audit, make_frame, make_population, make_wave


def one_wave(frame, count_M, wave):
    return [Window(frame, np.array(count_M), (wave,))]


def flat(accepted, outcomes) -> Population:
    return Population(
        make_frame(len(accepted), accepted_M=accepted, signature_M=np.arange(len(accepted))),
        np.array(outcomes),
    )


def test_point_and_variance_of_the_accuracy_by_hand():
    """One cell, one stratum: the smoothed binomial variance and both small-sample factors."""
    answers = [(0, 1.0)] * 30 + [(0, 0.0)] * 10
    windows = one_wave(make_frame(1), [1000], make_wave(1, remaining=[1000], answers=answers))
    result = estimate(windows, estimand=Estimand.ACCURACY)
    assert result.point == pytest.approx(0.75)
    # Model: (eta + 1.6) / 4 = 30 - 40 p has p = .7337; smoothed (30 + 2 * .7337) / 42.
    p = (30 + 2 * 0.7337) / 42
    variance = p * (1 - p) * (25 - 1) / 1000 * (42 / 41) * (40 / 32)
    assert result.smoothed == pytest.approx(p, abs=1e-4)
    assert result.se == pytest.approx(sqrt(variance), rel=1e-4)
    assert result.n_eff == pytest.approx(p * (1 - p) / variance, rel=1e-4)
    assert result.n == 40


def test_recall_and_fpr_by_hand():
    frame = make_frame(2, accepted_M=[1, 0], signature_M=[0, 1])
    answers = [(0, 1.0)] * 18 + [(0, 0.0)] * 2 + [(1, 1.0)] * 5 + [(1, 0.0)] * 15
    wave = make_wave(1, remaining=[600, 400], answers=answers)
    results = estimate_all(one_wave(frame, [600, 400], wave))
    points = {e.value: result.point for e, result in results.items()}
    assert points == pytest.approx(
        {
            "recall": 540 / 640,
            "fpr": 60 / 360,
            "precision": 0.9,
            "rejected_correct": 0.25,
            "accuracy": 0.64,
            "hack_rate": 0.0,
        }
    )


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_a_census_has_the_truth_as_its_interval(seed):
    population = make_population(np.random.default_rng(seed), rollouts=150)
    window = audit(population, n=150, rng=np.random.default_rng(seed), waves=1)
    truth = population.truth()
    for estimand, result in estimate_all([window]).items():
        assert result.point == pytest.approx(truth[estimand])
        assert (result.low, result.high) == pytest.approx((result.point, result.point))
        assert result.n_eff == inf


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    rollouts=st.sampled_from([60, 300, 3000]),
    n=st.sampled_from([8, 40, 90]),
    waves=st.integers(1, 4),
    silent=st.sampled_from([0.0, 0.3, 1.0]),
    level=st.sampled_from([0.5, 0.95, 0.999]),
)
def test_intervals_hold_their_point_and_stay_inside_0_and_1(
    seed, rollouts, n, waves, silent, level
):
    rng = np.random.default_rng(seed)
    window = audit(
        make_population(rng, rollouts=rollouts), n=n, rng=rng, waves=waves, silent=silent
    )
    for result in estimate_all([window], level=level).values():
        if result.point is None:
            assert (result.low, result.high) == (0, 1)
            assert result.reason
        else:
            assert 0 <= result.low <= result.point <= result.high <= 1
            assert result.reason is None


def test_below_32_labels_there_is_no_point():
    window = audit(
        make_population(np.random.default_rng(1)), n=31, rng=np.random.default_rng(1), waves=1
    )
    for result in estimate_all([window]).values():
        assert (result.point, result.low, result.high) == (None, 0.0, 1.0)
        assert (result.reason, result.n) == ("too few labels", 31)


def test_without_any_window_there_is_no_point():
    assert estimate([], estimand=Estimand.RECALL).reason == "too few labels"


def test_labels_of_several_windows_are_counted_together():
    rng = np.random.default_rng(4)
    windows = [audit(make_population(rng), n=20, rng=rng, waves=1) for _ in range(2)]
    assert estimate(windows[:1], estimand=Estimand.ACCURACY).point is None
    assert estimate(windows, estimand=Estimand.ACCURACY).point is not None


def test_without_a_correct_rollout_recall_is_undefined():
    population = flat([0, 1], [[0, 500, 0], [0, 400, 100]])
    results = estimate_all([audit(population, n=60, rng=np.random.default_rng(1))])
    assert results[Estimand.RECALL].reason == "no correct rollout among the labels"
    assert results[Estimand.PRECISION].point < 0.05
    assert results[Estimand.FPR].point == pytest.approx(0.5, abs=0.02)


def test_without_an_incorrect_rollout_the_fpr_is_undefined():
    population = flat([0, 1], [[300, 0, 0], [700, 0, 0]])
    results = estimate_all([audit(population, n=60, rng=np.random.default_rng(1))])
    assert results[Estimand.FPR].reason == "no incorrect rollout among the labels"
    assert results[Estimand.RECALL].point == pytest.approx(0.7, abs=0.02)


def test_a_verifier_that_accepts_everything_has_recall_and_fpr_1_for_certain():
    population = flat([1, 1], [[300, 50, 0], [100, 550, 0]])
    results = estimate_all([audit(population, n=60, rng=np.random.default_rng(1))])
    for estimand in (Estimand.RECALL, Estimand.FPR):
        assert (results[estimand].low, results[estimand].high) == (1, 1)
    assert results[Estimand.REJECTED_CORRECT].reason == "no rollout in the denominator"
    assert results[Estimand.ACCURACY].low < 0.4 < results[Estimand.ACCURACY].high


def test_equal_labels_never_give_an_interval_without_width():
    population = flat([1], [[5000, 0, 0]])
    result = estimate(
        [audit(population, n=60, rng=np.random.default_rng(1))], estimand=Estimand.ACCURACY
    )
    assert result.high == pytest.approx(1, abs=1e-3)
    assert result.low < 0.97


def test_a_single_cell_gives_its_share():
    population = flat([0], [[3000, 7000, 0]])
    window = audit(population, n=100, rng=np.random.default_rng(1))
    result = estimate([window], estimand=Estimand.REJECTED_CORRECT)
    assert result.low < 0.3 < result.high


def test_cells_without_rollouts_change_nothing():
    population = flat([0, 1], [[300, 700, 0], [900, 80, 20]])
    window = audit(population, n=80, rng=np.random.default_rng(1))
    empty = make_frame(1, accepted_M=[1], signature_M=[9])

    def padded(wave):
        return replace(
            wave,
            remaining_M=np.append(wave.remaining_M, 0),
            stratum_M=np.append(wave.stratum_M, -1),
            f_M=np.append(wave.f_M, 0.5),
            q_M=np.append(wave.q_M, 0.0),
        )

    wider = Window(
        concatenate([window.frame, empty]),
        np.append(window.count_M, 0),
        tuple(padded(wave) for wave in window.waves),
    )
    for estimand, result in estimate_all([window]).items():
        other = estimate([wider], estimand=estimand)
        assert (other.point, other.low) == pytest.approx((result.point, result.low))


def test_a_slice_is_the_estimate_of_its_cells():
    frame = make_frame(4, accepted_M=[1, 0, 1, 0], domain_M=[0, 0, 1, 1], signature_M=range(4))
    answers = [(cell, float(i < 12 - 3 * cell)) for cell in range(4) for i in range(12)]
    wave = make_wave(1, remaining=[120, 120, 120, 120], answers=answers)
    windows = one_wave(frame, [120] * 4, wave)
    result = estimate(windows, estimand=Estimand.ACCURACY, slices=[frame.domain_M == 1])
    assert result.point == pytest.approx((6 + 3) / 24)
    assert result.n == 24
    whole = estimate(windows, estimand=Estimand.ACCURACY)
    assert result.se > whole.se


def test_slices_of_everything_are_the_whole():
    window = audit(make_population(np.random.default_rng(1)), n=80, rng=np.random.default_rng(2))
    whole = estimate_all([window])
    assert estimate_all([window], slices=[np.ones(len(window.frame))]) == whole


def test_two_equal_windows_have_half_the_variance_of_one():
    window = audit(make_population(np.random.default_rng(1)), n=300, rng=np.random.default_rng(2))
    one = estimate([window], estimand=Estimand.ACCURACY)
    two = estimate([window, window], estimand=Estimand.ACCURACY)
    assert two.point == pytest.approx(one.point)
    assert two.se**2 == pytest.approx(one.se**2 / 2, rel=0.2)


def test_a_window_without_closed_waves_is_outside_the_estimate():
    window = audit(make_population(np.random.default_rng(1)), n=80, rng=np.random.default_rng(2))
    unaudited = Window(window.frame, window.count_M * 7, ())
    ones = np.ones(len(window.frame))
    assert estimate_all([window, unaudited]) == estimate_all([window])
    assert estimate_all([window, unaudited], slices=[ones, ones]) == estimate_all([window])


def test_too_few_labels_count_those_of_the_slice():
    frame = make_frame(2, domain_M=[0, 1])
    wave = make_wave(1, remaining=[50, 50], answers=[(0, 1.0)] * 4 + [(1, 0.0)] * 3)
    slices = [frame.domain_M == 1]
    result = estimate(one_wave(frame, [50, 50], wave), estimand=Estimand.ACCURACY, slices=slices)
    assert (result.reason, result.n) == ("too few labels", 3)


def test_another_verifier_is_estimated_from_the_same_labels_by_hand():
    """It accepts the second cell of the accepted ones, and the one that the first rejects."""
    frame = make_frame(3, accepted_M=[1, 1, 0], signature_M=range(3))
    answers = [(cell, float(i < 15 - 5 * cell)) for cell in range(3) for i in range(20)]
    wave = make_wave(1, remaining=[200, 400, 100], answers=answers)
    is_hack_I = np.array([cell == 2 and i >= 18 for cell in range(3) for i in range(20)])
    wave = replace(wave, items=replace(wave.items, hack_I=is_hack_I))
    results = estimate_all(one_wave(frame, [200, 400, 100], wave), accepted=[np.array([0, 1, 1])])
    # Correct: 150, 200 and 25; hacks: 10, all in the third cell.
    assert {e.value: result.point for e, result in results.items()} == pytest.approx(
        {
            "recall": 225 / 375,
            "fpr": 275 / 325,
            "precision": 225 / 500,
            "rejected_correct": 150 / 200,
            "accuracy": 375 / 700,
            "hack_rate": 10 / 700,
        }
    )


def test_hacks_among_what_the_first_verifier_rejects_are_uncertain_without_a_case():
    population = flat([0, 1], [[100, 400, 0], [450, 50, 0]])
    window = audit(population, n=60, rng=np.random.default_rng(1))
    result = estimate([window], estimand=Estimand.HACK_RATE, accepted=[np.array([True, False])])
    assert result.point == 0
    assert result.high > 0.005


def test_the_frames_own_verdicts_are_the_default():
    window = audit(make_population(np.random.default_rng(1)), n=80, rng=np.random.default_rng(2))
    assert estimate_all([window], accepted=[window.frame.accepted_M]) == estimate_all([window])


def test_a_census_of_another_verifier_has_the_truth_as_its_interval():
    rng = np.random.default_rng(5)
    population = make_population(rng, rollouts=150)
    window = audit(population, n=150, rng=rng, waves=1)
    accepted_M = rng.random(len(population.frame)) < 0.5
    truth = Population(replace(population.frame, accepted_M=accepted_M), population.outcomes_MO)
    for estimand, result in estimate_all([window], accepted=[accepted_M]).items():
        assert result.point == pytest.approx(truth.truth()[estimand])
        assert result.high - result.low == pytest.approx(0)


def test_verdicts_of_a_window_without_closed_waves_are_left_out():
    window = audit(make_population(np.random.default_rng(1)), n=80, rng=np.random.default_rng(2))
    unaudited = Window(window.frame, window.count_M * 7, ())
    accepted = ~window.frame.accepted_M
    both = estimate_all([window, unaudited], accepted=[accepted, accepted])
    assert both == estimate_all([window], accepted=[accepted])


def test_an_interval_holds_what_no_label_has_shown():
    """Accepted ones all right, rejected ones mixed: there may be no false positive, and no hack."""
    answers = [*[(0, 1)] * 30, *[(1, 1)] * 5, *[(1, 0)] * 15]
    wave = make_wave(1, remaining=(300, 200), answers=answers, f=(0.6, 0.3))
    window = Window(make_frame(2, accepted_M=[1, 0]), np.array([300, 200]), (wave,))
    found = estimate_all([window])
    assert found[Estimand.FPR].low == 0 < found[Estimand.FPR].high
    assert found[Estimand.HACK_RATE].low == 0
    assert found[Estimand.PRECISION].high == 1
    assert 0 < found[Estimand.RECALL].low < found[Estimand.RECALL].high < 1
