from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from review.stats.estimands import Estimand
from review.stats.estimators import estimate_all
from review.stats.refine import refine
from review.stats.windows import Items, Window
from tests.stats.population import make_frame, make_wave
from tests.stats.rows import audit_rows, make_rows

REPLICATES = 200


def two_waves():
    """One cell of 100, 40 of them inside; two drawn, one purposive label, two drawn."""
    first = make_wave(1, remaining=[100], answers=[(0, 1.0), (0, 0.0)])
    second = make_wave(2, remaining=[97], answers=[(0, 1.0), (0, 1.0)])
    pick = Items(np.array([0]), np.array([0.0]), np.array([False]))
    return Window(make_frame(1), np.array([100]), (first, second), pick, np.array([2]))


def test_the_parts_of_a_cell_by_hand():
    window, is_inside_M = refine(
        two_waves(),
        inside_count_M=[40],
        inside=[np.array([True, False]), np.array([True, True])],
        purposive_inside_I=np.array([True]),
    )
    assert is_inside_M.tolist() == [True, False]
    assert window.count_M.tolist() == [40, 60]
    # Before the second wave one item of each part was drawn, and one inside was picked.
    assert [wave.remaining_M.tolist() for wave in window.waves] == [[40, 60], [38, 59]]
    assert [wave.items.cell_I.tolist() for wave in window.waves] == [[0, 1], [0, 0]]
    assert window.purposive.cell_I.tolist() == [0]
    for before, wave in zip(two_waves().waves, window.waves, strict=True):
        assert wave.weight_H.tolist() == before.weight_H.tolist()
        assert (wave.stratum_M.tolist(), wave.f_M.tolist()) == ([0, 0], [0.5, 0.5])


def test_rollouts_lost_to_a_cancelled_wave_are_divided_in_proportion():
    window = two_waves()
    lost = (window.waves[0], replace(window.waves[1], remaining_M=np.array([49])))
    refined, _ = refine(
        replace(window, waves=lost),
        inside_count_M=[40],
        inside=[np.array([True, False]), np.array([True, True])],
    )
    # 39 inside and 58 or 59 outside could be left: half of each is.
    assert refined.waves[1].remaining_M.tolist() == [19, 30]


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), waves=st.integers(1, 4), share=st.sampled_from([0, 0.3, 1]))
def test_the_parts_add_up_to_the_whole(seed, waves, share):
    rng = np.random.default_rng(seed)
    rows = make_rows(rng, rollouts=400)
    audit = audit_rows(rows, n=120, rng=rng, waves=waves)
    inside_N = rng.random(400) < share
    refined, is_inside_M = audit.refined(rows, inside_N)
    assert refined.count_M[is_inside_M].tolist() == rows.count(inside_N).tolist()
    for before, wave in zip(audit.window.waves, refined.waves, strict=True):
        parts = wave.remaining_M.reshape(2, -1)
        assert np.all(parts >= 0)
        assert parts.sum(0).tolist() == before.remaining_M.tolist()
    exact = [rows.count(inside_N)]
    for drawn_I in audit.drawn:
        drawn_N = np.isin(np.arange(400), drawn_I)
        exact.append(exact[-1] - rows.count(inside_N & drawn_N))
    for wave, left_M in zip(refined.waves, exact, strict=False):
        assert wave.remaining_M[is_inside_M].tolist() == left_M.tolist()
    for estimand, result in estimate_all([audit.window]).items():
        whole = estimate_all([refined])[estimand]
        assert whole.point == pytest.approx(result.point)


def test_a_census_of_a_slice_has_the_truth_as_its_interval():
    rng = np.random.default_rng(3)
    rows = make_rows(rng, rollouts=200)
    window, is_inside_M = audit_rows(rows, n=200, rng=rng, waves=1).refined(rows, rows.policy_N)
    accepted_N = rows.frame.accepted_M[rows.cell_N]
    result = estimate_all([window], slices=[is_inside_M])[Estimand.RECALL]
    truth = accepted_N[rows.policy_N & rows.correct_N].mean()
    assert (result.low, result.point, result.high) == pytest.approx((truth, truth, truth))


@pytest.mark.parametrize(
    ("counts", "inside"),
    [
        ([101], [[True, False], [True, True]]),
        ([-1], [[True, False], [True, True]]),
        ([40, 2], [[True, False], [True, True]]),
        ([40], [[True, False]]),
        ([40], [[True], [True, True]]),
    ],
)
def test_a_slice_that_does_not_fit_the_window_is_refused(counts, inside):
    with pytest.raises(ValueError, match=r"slice"):
        refine(two_waves(), inside_count_M=counts, inside=[np.array(i) for i in inside])


@pytest.fixture(scope="module")
def rows():
    return make_rows(np.random.default_rng(21))


@pytest.fixture(scope="module")
def audits(rows):
    rng = np.random.default_rng(22)
    return [audit_rows(rows, n=300, rng=rng) for _ in range(REPLICATES)]


def share_covered(results, truth):
    return np.mean([result.low <= truth <= result.high for result in results])


@pytest.mark.parametrize("is_inside", [True, False])
def test_intervals_of_a_slice_that_cuts_through_cells_cover(rows, audits, is_inside):
    inside_N = rows.policy_N == is_inside
    results = []
    for audit in audits:
        window, is_inside_M = audit.refined(rows, inside_N)
        results.append(estimate_all([window], slices=[is_inside_M]))
    accepted_N = rows.frame.accepted_M[rows.cell_N]
    truth = accepted_N[inside_N & rows.correct_N].mean()
    assert share_covered([r[Estimand.RECALL] for r in results], truth) >= 0.92
    truth = accepted_N[inside_N & ~rows.correct_N].mean()
    assert share_covered([r[Estimand.FPR] for r in results], truth) >= 0.92


def test_intervals_of_a_later_verifier_cover_without_bias(rows, audits):
    results = []
    for audit in audits:
        window, is_accepted_M = audit.refined(rows, rows.later_N)
        results.append(estimate_all([window], accepted=[is_accepted_M]))
    truth = {
        Estimand.RECALL: rows.later_N[rows.correct_N].mean(),
        Estimand.FPR: rows.later_N[~rows.correct_N].mean(),
        Estimand.HACK_RATE: (rows.later_N & rows.hack_N).mean(),
    }
    for estimand, true in truth.items():
        assert share_covered([r[estimand] for r in results], true) >= 0.92
        errors = [r[estimand].point - true for r in results]
        assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(REPLICATES)


def test_a_second_cut_gives_the_slice_of_the_later_verifier(rows, audits):
    window, is_inside_M = audits[0].refined(rows, rows.policy_N)
    both, is_accepted_M = refine(
        window,
        inside_count_M=np.concatenate(
            [rows.count(rows.policy_N & rows.later_N), rows.count(~rows.policy_N & rows.later_N)]
        ),
        inside=[rows.later_N[drawn_I] for drawn_I in audits[0].drawn],
    )
    result = estimate_all([both], slices=[np.tile(is_inside_M, 2)], accepted=[is_accepted_M])
    truth = rows.later_N[rows.policy_N & rows.correct_N].mean()
    assert result[Estimand.RECALL].low <= truth <= result[Estimand.RECALL].high
