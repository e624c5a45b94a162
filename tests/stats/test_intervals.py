from math import exp, inf, log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from review.stats.intervals import effective_n, ess_wilson, monitor, monitor_difference, wilson

proportions = st.floats(0, 1)


def test_wilson_of_8_in_10_by_hand():
    z = 1.959964
    centre = (0.8 + z**2 / 20) / (1 + z**2 / 10)
    half = z / (1 + z**2 / 10) * sqrt(0.8 * 0.2 / 10 + z**2 / 400)
    interval = wilson(8, 10)
    assert interval.point == 0.8
    assert (interval.low, interval.high) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_wilson_of_nothing_has_no_point():
    interval = wilson(0, 0)
    assert (interval.point, interval.low, interval.high) == (None, 0.0, 1.0)


def test_no_event_in_a_sample_still_has_a_width():
    interval = wilson(0, 50)
    assert interval.low == 0
    assert 0.05 < interval.high < 0.08


def test_more_successes_than_trials_are_refused():
    with pytest.raises(ValueError, match="successes"):
        wilson(3, 2)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_level_outside_0_and_1_is_refused(level):
    with pytest.raises(ValueError, match="level"):
        wilson(1, 2, level=level)


@given(n=st.integers(1, 10_000), share=proportions, level=st.floats(0.5, 0.999))
def test_wilson_holds_its_point_and_stays_inside_0_and_1(n, share, level):
    interval = wilson(round(share * n), n, level=level)
    assert 0 <= interval.low <= interval.point <= interval.high <= 1


def test_ess_wilson_of_a_simple_random_sample_is_wilson():
    n, p = 400, 0.3
    complex_sample = ess_wilson(p, smoothed=p, variance=p * (1 - p) / n, df=1e9)
    simple = wilson(p * n, n)
    assert complex_sample.n == pytest.approx(n)
    assert (complex_sample.low, complex_sample.high) == pytest.approx((simple.low, simple.high))


def test_ess_wilson_of_a_census_is_the_point():
    interval = ess_wilson(0.3, smoothed=0.3, variance=0.0, df=10)
    assert (interval.low, interval.high, interval.n) == (0.3, 0.3, inf)


@given(
    point=proportions,
    smoothed=proportions,
    variance=st.floats(0, 0.25),
    df=st.floats(3, 1e4),
)
def test_ess_wilson_holds_its_point_and_stays_inside_0_and_1(point, smoothed, variance, df):
    interval = ess_wilson(point, smoothed=smoothed, variance=variance, df=df)
    assert 0 <= interval.low <= point <= interval.high <= 1


def test_effective_n_is_never_below_one():
    assert effective_n(0.5, 10.0) == 1.0


def test_monitor_at_its_target_is_about_3_standard_errors_wide():
    se = 0.02 / 1.959964
    interval = monitor(0.5, smoothed=0.5, se=se, target_half_width=0.02)
    information = 8.2102  # -W_{-1}(-.05^2 / e) - 1
    multiplier = sqrt((1 + 1 / information) * log((information + 1) / 0.05**2))
    assert multiplier == pytest.approx(3.04, abs=0.01)
    assert interval.high == pytest.approx(1 / (1 + exp(-multiplier * se / 0.25)), abs=1e-6)


def test_monitor_of_a_point_at_0_is_centred_on_the_smoothed_value():
    interval = monitor(0.0, smoothed=0.01, se=0.01, target_half_width=0.02)
    assert interval.low == 0.0
    assert interval.high > 0.01


def test_monitor_of_a_census_is_the_point():
    interval = monitor(0.3, smoothed=0.3, se=0.0, target_half_width=0.02)
    assert (interval.low, interval.high) == (0.3, 0.3)


def test_monitor_without_a_target_is_refused():
    with pytest.raises(ValueError, match="target"):
        monitor(0.3, smoothed=0.3, se=0.1, target_half_width=0)


@given(
    point=proportions,
    smoothed=proportions,
    se=st.floats(0, 0.5),
    target=st.floats(1e-3, 0.5),
)
def test_monitor_holds_its_point_and_stays_inside_0_and_1(point, smoothed, se, target):
    interval = monitor(point, smoothed=smoothed, se=se, target_half_width=target)
    assert 0 <= interval.low <= point <= interval.high <= 1


def test_nineteen_looks_at_the_monitor_rarely_miss_and_at_wilson_often():
    rng = np.random.default_rng(5)
    truth, looks, runs = 0.3, range(100, 1001, 50), 300
    ever_missed = {"monitor": 0, "wilson": 0}
    for _ in range(runs):
        sums = np.cumsum(rng.random(1000) < truth)
        missed = dict.fromkeys(ever_missed, False)
        for n in looks:
            p = sums[n - 1] / n
            se = sqrt(p * (1 - p) / n)
            for interval in (
                monitor(p, smoothed=p, se=se, target_half_width=0.03),
                wilson(sums[n - 1], n),
            ):
                missed[interval.method] |= not interval.low <= truth <= interval.high
        for method, was_missed in missed.items():
            ever_missed[method] += was_missed
    assert ever_missed["monitor"] / runs <= 0.05
    assert ever_missed["wilson"] / runs >= 0.15


def test_monitor_of_a_difference_at_its_target_is_about_3_standard_errors_wide():
    low, high = monitor_difference(0.1, se=0.02, target_half_width=1.96 * 0.02)
    assert (high - 0.1) / 0.02 == pytest.approx(3.04, abs=0.01)
    assert 0.1 - low == pytest.approx(high - 0.1)


def test_monitor_of_a_difference_stays_inside_minus_1_and_1():
    assert monitor_difference(0.9, se=0.5, target_half_width=0.1) == (-1, 1)
    assert monitor_difference(-0.3, se=0.0, target_half_width=0.1) == (-0.3, -0.3)


def test_monitor_of_a_difference_without_a_target_is_refused():
    with pytest.raises(ValueError, match="target"):
        monitor_difference(0.1, se=0.1, target_half_width=0)
