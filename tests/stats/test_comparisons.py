from math import sqrt

import numpy as np
import pytest

from review.stats.comparisons import Side, compare, compare_windows, rank_verifiers
from review.stats.estimands import Estimand
from review.stats.estimators import estimate
from review.stats.pooling import pool_windows
from review.stats.windows import Window
from tests.stats.population import Population, audit, make_frame, make_population, make_wave
from tests.stats.rows import audit_rows, make_rows

REPLICATES = 200


def four_cells():
    """All verdicts of two verifiers: 300 rollouts and 20 labels in each cell, 5, 10, 15 and 20
    of them correct. The first accepts the last two cells, the second the two even ones."""
    frame = make_frame(4, accepted_M=[0, 0, 1, 1], signature_M=range(4))
    answers = [(cell, float(i < 5 * cell + 5)) for cell in range(4) for i in range(20)]
    window = Window(frame, np.full(4, 300), (make_wave(1, remaining=[300] * 4, answers=answers),))
    return window, Side(), Side(accepted=[np.array([False, True, False, True])])


def test_a_difference_by_hand():
    window, own, other = four_cells()
    own_M = window.frame.accepted_M
    difference = compare([window], estimand=Estimand.RECALL, first=own, second=other)
    # Correct: 75, 150, 225, 300; recalls 525 / 750 and 450 / 750.
    assert difference.point == pytest.approx(0.1)
    assert difference.n == 80
    # A correct rollout adds (V - .7) / 750 to the one recall and (V' - .6) / 750 to the other.
    d_M = np.array([0 - 0.1, -1 - 0.1, 1 - 0.1, 0 - 0.1]) / 750
    p_M = pool_windows([window], verdicts=[own_M, other.accepted[0]]).smoothed.p_M
    variance = (d_M**2 * p_M * (1 - p_M)).sum() * 300 * (15 - 1) * (22 / 21) * (80 / 72)
    assert difference.se == pytest.approx(sqrt(variance))
    assert difference.low < 0.1 < difference.high


def test_errors_that_both_sides_share_cancel():
    window, own, _ = four_cells()
    other = Side(accepted=[np.array([False, False, True, False])])
    difference = compare([window], estimand=Estimand.PRECISION, first=own, second=other)
    separate = [
        estimate([window], estimand=Estimand.PRECISION, accepted=side.accepted)
        for side in (own, other)
    ]
    assert difference.se < 0.9 * sqrt(sum(one.se**2 for one in separate))


def test_a_difference_the_other_way_round_is_its_mirror_image():
    window, own, other = four_cells()
    there = compare([window], estimand=Estimand.FPR, first=own, second=other)
    back = compare([window], estimand=Estimand.FPR, first=other, second=own)
    assert (back.point, back.se) == pytest.approx((-there.point, there.se))
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))


@pytest.mark.parametrize("estimand", Estimand)
def test_a_verifier_does_not_differ_from_itself(estimand):
    window, own, _ = four_cells()
    difference = compare([window], estimand=estimand, first=own, second=own)
    assert (difference.low, difference.point, difference.high) == (0, 0, 0)


def test_verifiers_that_agree_on_every_label_may_still_differ():
    frame = make_frame(2, accepted_M=[0, 1], signature_M=range(2))
    outcomes = np.array([[300, 2700, 0], [2800, 200, 0]])
    window = audit(Population(frame, outcomes), n=60, rng=np.random.default_rng(1))
    other = Side(accepted=[np.array([True, True])])
    difference = compare([window], estimand=Estimand.RECALL, first=other, second=Side())
    assert difference.high - difference.low > 0.02


def test_a_difference_of_slices_by_hand():
    window, _, _ = four_cells()
    first = Side(slices=[np.array([1, 1, 0, 0])])
    second = Side(slices=[np.array([0, 0, 1, 1])])
    difference = compare([window], estimand=Estimand.ACCURACY, first=first, second=second)
    assert difference.point == pytest.approx(225 / 600 - 525 / 600)
    parts = [
        estimate([window], estimand=Estimand.ACCURACY, slices=side.slices)
        for side in (first, second)
    ]
    # Disjoint slices share no label.
    assert difference.se == pytest.approx(sqrt(sum(one.se**2 for one in parts)), rel=0.2)


def test_a_difference_that_is_undefined_says_why():
    window, own, other = four_cells()
    empty = Side(slices=[np.zeros(4)])
    difference = compare([window], estimand=Estimand.ACCURACY, first=own, second=empty)
    assert (difference.point, difference.low, difference.high) == (None, -1, 1)
    assert difference.reason == "no rollout in the denominator"
    difference = compare([], estimand=Estimand.RECALL, first=own, second=own)
    assert (difference.reason, difference.n) == ("too few labels", 0)
    nobody = Side(slices=[np.array([1, 0, 0, 0])], accepted=other.accepted)
    difference = compare([window], estimand=Estimand.PRECISION, first=nobody, second=own)
    assert difference.reason == "no rollout in the denominator"


def test_windows_are_compared_like_separate_samples():
    rng = np.random.default_rng(3)
    windows = [audit(make_population(rng), n=200, rng=rng) for _ in range(2)]
    difference = compare_windows(windows[:1], windows[1:], estimand=Estimand.ACCURACY)
    one, two = (estimate([window], estimand=Estimand.ACCURACY) for window in windows)
    assert difference.point == pytest.approx(one.point - two.point)
    assert difference.se == pytest.approx(sqrt(one.se**2 + two.se**2), rel=0.2)
    assert difference.n == 400


def test_windows_are_compared_inside_slices_and_with_other_verdicts():
    window, _, other = four_cells()
    twin = Window(window.frame, window.count_M, window.waves)
    difference = compare_windows(
        [window],
        [twin],
        estimand=Estimand.RECALL,
        slices=[np.ones(4), np.array([1, 1, 0, 0])],
        accepted=[window.frame.accepted_M, other.accepted[0]],
    )
    # 525 / 750 and 150 / 225.
    assert difference.point == pytest.approx(0.7 - 2 / 3)


def test_a_window_with_few_labels_is_not_compared():
    rng = np.random.default_rng(3)
    population = make_population(rng)
    windows = [audit(population, n=n, rng=rng, waves=1) for n in (200, 20)]
    difference = compare_windows(windows[:1], windows[1:], estimand=Estimand.ACCURACY)
    assert (difference.point, difference.reason) == (None, "too few labels")


def test_a_window_is_not_compared_with_itself():
    window, _, _ = four_cells()
    with pytest.raises(ValueError, match="itself"):
        compare_windows([window], [window], estimand=Estimand.RECALL)


def test_ranks_are_ranges_until_the_labels_separate_the_verifiers():
    frame = make_frame(4, accepted_M=[0, 0, 1, 1], signature_M=range(4))
    outcomes = np.array([[200, 2800, 0], [1500, 1500, 0], [1600, 1400, 0], [2900, 100, 0]])
    window = audit(Population(frame, outcomes), n=400, rng=np.random.default_rng(2))
    verifiers = {
        "poor": [np.array([True, False, False, False])],
        "good": [np.array([False, False, True, True])],
        "as good": [np.array([False, True, False, True])],
    }
    ranked = rank_verifiers([window], estimand=Estimand.RECALL, verifiers=verifiers)
    ranks = {name: (one.best, one.worst) for name, one in ranked.items()}
    assert ranks == {"poor": (3, 3), "good": (1, 2), "as good": (1, 2)}
    assert ranked["good"].estimate.point == pytest.approx(4500 / 6200, abs=0.05)
    # The fewest of the incorrect are accepted by the last two.
    ranked = rank_verifiers([window], estimand=Estimand.FPR, verifiers=verifiers)
    ranks = {name: (one.best, one.worst) for name, one in ranked.items()}
    assert ranks == {"poor": (3, 3), "good": (1, 2), "as good": (1, 2)}


def test_verifiers_without_labels_take_any_rank():
    window, _, other = four_cells()
    window = Window(window.frame, window.count_M, ())
    verifiers = {"a": [window.frame.accepted_M], "b": other.accepted}
    ranked = rank_verifiers([window], estimand=Estimand.RECALL, verifiers=verifiers)
    assert [(one.best, one.worst) for one in ranked.values()] == [(1, 2), (1, 2)]
    assert ranked["a"].estimate.reason == "too few labels"


def test_a_single_verifier_is_the_first():
    window, _, _ = four_cells()
    verifiers = {"own": [window.frame.accepted_M]}
    ranked = rank_verifiers([window], estimand=Estimand.RECALL, verifiers=verifiers)
    assert (ranked["own"].best, ranked["own"].worst) == (1, 1)


def test_true_accuracy_ranks_nobody():
    window, _, _ = four_cells()
    with pytest.raises(ValueError, match="same for every verifier"):
        rank_verifiers([window], estimand=Estimand.ACCURACY, verifiers={})


def test_differences_between_verifiers_cover():
    rng = np.random.default_rng(71)
    rows = make_rows(rng)
    accepted_N = rows.frame.accepted_M[rows.cell_N]
    right_N, wrong_N = rows.correct_N, ~rows.correct_N
    truth = {
        Estimand.RECALL: rows.later_N[right_N].mean() - accepted_N[right_N].mean(),
        Estimand.FPR: rows.later_N[wrong_N].mean() - accepted_N[wrong_N].mean(),
    }
    covered = dict.fromkeys(truth, 0)
    for _ in range(REPLICATES):
        window, is_accepted_M = audit_rows(rows, n=300, rng=rng).refined(rows, rows.later_N)
        for estimand, true in truth.items():
            difference = compare(
                [window], estimand=estimand, first=Side(accepted=[is_accepted_M]), second=Side()
            )
            covered[estimand] += difference.low <= true <= difference.high
    assert min(covered.values()) >= 0.92 * REPLICATES
