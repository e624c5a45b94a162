from dataclasses import replace

import numpy as np
import pytest

from review.stats.comparisons import compare_windows
from review.stats.drift import change_since_first, model_residual, slope
from review.stats.estimands import Estimand
from review.stats.estimators import Estimate, estimate
from review.stats.windows import Window
from tests.stats.population import Population, audit, make_frame, make_population, make_wave


def at(point, se=0.02, n=100):
    return Estimate(Estimand.RECALL, point, 0, 1, 0.95, "", n, se=se, df=40.0)


UNKNOWN = Estimate(Estimand.RECALL, None, 0, 1, 0.95, "", 3, reason="too few labels")


def test_a_slope_by_hand():
    found = slope([at(0.9), at(0.8), at(0.85)], [0, 10, 20])
    # Equal weights: sum of (x - 10) y over 200, each end with a twentieth of its error.
    assert found.point == pytest.approx(-0.05 / 20)
    assert found.se == pytest.approx(np.sqrt(2) * 0.02 / 20)
    # Two equal variances of 40 degrees of freedom each make 80.
    assert found.high - found.point == pytest.approx(1.990 * found.se, rel=1e-3)
    assert found.windows == 3


def test_windows_with_more_labels_weigh_more():
    estimates = [at(0.9, n=1), at(0.8, n=1000), at(0.7, n=1000), at(0.6, n=1000)]
    assert slope(estimates, [0, 10, 20, 30]).point == pytest.approx(-0.01, abs=1e-3)


def test_estimates_on_a_line_have_its_slope():
    estimates = [at(0.5 + 0.01 * step, n=n) for step, n in ((1, 50), (4, 10), (6, 300))]
    assert slope(estimates, [1, 4, 6]).point == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("estimates", "steps", "reason"),
    [
        ([], [], "fewer than three windows"),
        ([at(0.9), UNKNOWN, at(0.8)], [1, 2, 3], "fewer than three windows"),
        ([at(0.9)] * 3, [5, 5, 5], "all windows at one step"),
    ],
)
def test_too_little_for_a_slope_says_why(estimates, steps, reason):
    found = slope(estimates, steps)
    assert (found.point, found.low, found.high, found.reason) == (None, None, None, reason)


def test_windows_without_chance_have_a_certain_slope():
    found = slope([at(p, se=0.0) for p in (0.9, 0.8, 0.7)], [0, 1, 2])
    assert (found.low, found.high) == (found.point, found.point)


def test_slopes_of_audited_windows_cover():
    rng = np.random.default_rng(61)
    populations = [make_population(rng, rollouts=4000) for _ in range(4)]
    truth = np.polyfit(range(4), [p.truth()["accuracy"] for p in populations], 1)[0]
    covered = 0
    for _ in range(100):
        windows = [audit(population, n=100, rng=rng, waves=2) for population in populations]
        results = [estimate([window], estimand=Estimand.ACCURACY) for window in windows]
        found = slope(results, range(4))
        covered += found.low <= truth <= found.high
    assert covered >= 90


def test_the_change_since_the_first_window_may_be_looked_at_again():
    rng = np.random.default_rng(3)
    windows = [audit(make_population(rng), n=200, rng=rng) for _ in range(3)]
    unaudited = Window(windows[0].frame, windows[0].count_M, ())
    change = change_since_first(
        [*windows, unaudited], estimand=Estimand.ACCURACY, target_half_width=0.05
    )
    once = compare_windows(windows[2:], windows[:1], estimand=Estimand.ACCURACY)
    assert (change.point, change.se) == (once.point, once.se)
    assert 1.4 < (change.high - change.low) / (once.high - once.low) < 1.8


def test_the_change_inside_a_slice_takes_the_slices_of_its_windows():
    rng = np.random.default_rng(3)
    windows = [audit(make_population(rng), n=200, rng=rng) for _ in range(3)]
    slices = [np.zeros(len(window.frame)) for window in windows]
    slices[0], slices[2] = (windows[i].frame.domain_M == 0 for i in (0, 2))
    accepted = [~window.frame.accepted_M for window in windows]
    options = {"estimand": Estimand.RECALL, "slices": slices, "accepted": accepted}
    change = change_since_first(windows, target_half_width=0.05, **options)
    ends = [
        estimate([windows[i]], estimand=Estimand.RECALL, slices=[slices[i]], accepted=[accepted[i]])
        for i in (0, 2)
    ]
    assert change.point == pytest.approx(ends[1].point - ends[0].point)


def test_one_window_has_not_changed():
    window = audit(make_population(np.random.default_rng(3)), n=80, rng=np.random.default_rng(3))
    change = change_since_first([window], estimand=Estimand.RECALL, target_half_width=0.05)
    assert (change.point, change.low, change.high) == (None, -1, 1)
    assert change.reason == "fewer than two windows"


def test_the_residual_of_the_newest_wave_by_hand():
    first = make_wave(1, remaining=[100, 50], answers=[(0, 1.0)] * 30 + [(1, 0.0)] * 10)
    answers = [(0, 1.0)] * 3 + [(0, 0.0)] + [(1, 0.0), (1, 1.0)]
    second = make_wave(2, remaining=[70, 40], answers=answers, f=[0.9, 0.1])
    frame = make_frame(2, accepted_M=[1, 0])
    residual = model_residual([Window(frame, np.array([100, 50]), (first, second))])
    # 70 / 4 (3 - 4 * .9) + 40 / 2 (1 - 2 * .1)
    assert residual.total == pytest.approx(-10.5 + 16)
    assert residual.z == pytest.approx(residual.total / residual.se)
    assert not residual.is_alarm


def test_residuals_of_windows_add():
    rng = np.random.default_rng(3)
    windows = [audit(make_population(rng), n=200, rng=rng) for _ in range(2)]
    totals = [model_residual([window]).total for window in windows]
    both = model_residual(windows)
    assert both.total == pytest.approx(sum(totals))


def test_a_policy_that_learned_to_please_the_judge_sets_off_the_alarm():
    rng = np.random.default_rng(5)
    population = make_population(rng)
    frame, outcomes_MO = population.frame, population.outcomes_MO.copy()
    window = audit(population, n=400, rng=rng)
    assert not model_residual([window]).is_alarm
    # Half of the correct ones that the verifier accepts are wrong now, and nothing else shows it.
    moved_M = np.where(frame.accepted_M, outcomes_MO[:, 0] // 2, 0)
    outcomes_MO[:, 0] -= moved_M
    outcomes_MO[:, 1] += moved_M
    after = audit(Population(frame, outcomes_MO), n=400, rng=rng, waves=1)
    stale = replace(after.waves[0], f_M=window.waves[-1].f_M)
    residual = model_residual([replace(after, waves=(stale,))])
    assert residual.is_alarm
    assert residual.z < -4


def test_the_residual_of_a_sound_model_stays_near_zero():
    rng = np.random.default_rng(9)
    population = make_population(rng)
    z = [model_residual([audit(population, n=300, rng=rng)]).z for _ in range(100)]
    assert abs(np.mean(z)) < 0.4
    assert 0.8 < np.std(z) < 1.4


def test_without_labels_there_is_no_residual():
    assert model_residual([]).reason == "too few labels"
    first = make_wave(1, remaining=[100], answers=[(0, 1.0)] * 40)
    silent = make_wave(2, remaining=[60], answers=[(0, float("nan"))] * 5)
    window = Window(make_frame(1), np.array([100]), (first, silent))
    residual = model_residual([window])
    assert (residual.z, residual.reason) == (None, "no answer in the newest wave")
    assert not residual.is_alarm


def test_a_census_leaves_nothing_to_chance():
    answers = [(0, 1.0)] * 30 + [(0, 0.0)] * 10
    window = Window(make_frame(1), np.array([40]), (make_wave(1, remaining=[40], answers=answers),))
    residual = model_residual([window])
    assert (residual.total, residual.z) == (10, None)
    assert residual.reason == "nothing left to chance"
