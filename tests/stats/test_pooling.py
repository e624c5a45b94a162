from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from review.stats.pooling import pool_windows
from review.stats.windows import Items, Wave, Window
from tests.stats.population import audit, make_frame, make_population, make_wave

NO_ANSWER = float("nan")


def two_cells():
    """100 accepted rollouts and 50 rejected ones."""
    return make_frame(2, accepted_M=[1, 0]), np.array([100, 50])


def test_totals_of_one_wave_by_hand():
    frame, count_M = two_cells()
    answers = [(0, 1.0), (0, 1.0), (0, 1.0), (0, 0.0), (1, 1.0), (1, 0.0)]
    wave = make_wave(1, remaining=[100, 50], answers=answers, f=[0.8, 0.2])
    pooled = pool_windows([Window(frame, count_M, (wave,))])
    # 100 * .8 + 25 (3 - 4 * .8) and 50 * .2 + 25 (1 - 2 * .2).
    assert pooled.correct_M == pytest.approx([75, 25])


def test_a_second_wave_starts_from_what_the_first_one_knew():
    frame, count_M = two_cells()
    first = make_wave(1, remaining=[100, 50], answers=[(0, 1.0), (1, 0.0)], f=[0.8, 0.2])
    second = make_wave(2, remaining=[99, 49], answers=[(0, 0.0), (0, 1.0), (1, 1.0)], f=[0.9, 0.1])
    pooled = pool_windows([Window(frame, count_M, (first, second))])
    in_first = np.array([80 + 100 * 0.2, 10 - 50 * 0.2])
    in_second = np.array([1 + 99 * 0.9 + 49.5 * (1 - 1.8), 0 + 4.9 + 49 * 0.9])
    assert pooled.correct_M == pytest.approx((2 * in_first + 3 * in_second) / 5)


def test_an_unanswered_item_shares_its_weight_inside_its_stratum():
    frame, count_M = two_cells()
    answers = [(0, 1.0), (0, NO_ANSWER), (1, NO_ANSWER), (1, NO_ANSWER)]
    wave = make_wave(1, remaining=[100, 50], answers=answers, f=[0.8, 0.2])
    pooled = pool_windows([Window(frame, count_M, (wave,))])
    # The lone answer stands for all 100; nobody answered in the other stratum: its model counts.
    assert pooled.correct_M == pytest.approx([100, 10])
    # Its variance is that of a single label.
    assert pooled.waves[0].factor_M == pytest.approx([100 * 99, 50 * 49])


def test_an_earlier_unanswered_item_is_predicted():
    frame, count_M = two_cells()
    first = make_wave(1, remaining=[100, 50], answers=[(0, NO_ANSWER), (1, 1.0)], f=[0.5, 0.5])
    second = make_wave(2, remaining=[99, 49], answers=[(0, 1.0), (1, 0.0)], f=[0.9, 0.1])
    pooled = pool_windows([Window(frame, count_M, (first, second))])
    in_first = np.array([50, 25 + 50 * 0.5])
    in_second = np.array([100 * 0.9 + 99 * 0.1, 1 + 4.9 - 49 * 0.1])
    assert pooled.correct_M == pytest.approx((in_first + in_second) / 2)


def test_purposive_labels_count_as_themselves_only():
    frame, count_M = two_cells()
    picks = Items(np.array([0, 0]), np.array([0.0, 0.0]), np.zeros(2))
    wave = make_wave(1, remaining=[98, 50], answers=[(0, 1.0), (1, 0.0)], f=[0.8, 0.2])
    pooled = pool_windows([Window(frame, count_M, (wave,), picks, np.array([1, 1]))])
    assert pooled.correct_M == pytest.approx([98 * 0.8 + 98 * 0.2, 10 - 50 * 0.2])


def test_a_known_rollout_that_could_be_drawn_is_refused():
    frame, count_M = two_cells()
    picks = Items(np.array([0]), np.array([0.0]), np.zeros(1))
    wave = make_wave(1, remaining=[100, 50], answers=[(0, 1.0)])
    with pytest.raises(ValueError, match="known rollout"):
        pool_windows([Window(frame, count_M, (wave,), picks, np.array([1]))])


def test_totals_of_windows_add():
    frame, count_M = two_cells()
    answers = [(0, 1.0), (0, 0.0), (1, 0.0)]
    window = Window(frame, count_M, (make_wave(1, remaining=[100, 50], answers=answers),))
    one, two = pool_windows([window]), pool_windows([window, window])
    assert two.correct_M == pytest.approx([*one.correct_M, *one.correct_M])
    assert two.count_M.sum() == 300


def test_a_window_without_a_closed_wave_is_refused():
    frame, count_M = two_cells()
    with pytest.raises(ValueError, match="closed wave"):
        pool_windows([Window(frame, count_M, ())])


def test_smoothed_probabilities_are_never_certain():
    population = make_population(np.random.default_rng(2), rollouts=2000)
    smoothed = pool_windows([audit(population, n=100, rng=np.random.default_rng(3))]).smoothed
    assert np.all((smoothed.p_M > 0) & (smoothed.p_M < 1))
    assert np.all(smoothed.variance_q_M >= smoothed.q_M)


def test_verdicts_of_another_verifier_tell_the_post_strata_apart():
    frame, count_M = two_cells()
    answers = [(0, 1.0), (0, 0.0), (1, 0.0)]
    window = Window(frame, count_M, (make_wave(1, remaining=[100, 50], answers=answers),))
    own = pool_windows([window])
    same = pool_windows([window], verdicts=(frame.accepted_M,))
    assert same.smoothed.p_M == pytest.approx(own.smoothed.p_M)
    both = pool_windows([window], verdicts=(np.ones(2, bool), frame.accepted_M))
    assert len(np.unique(both.smoothed.post_stratum_M)) == 2
    # Hacks of the rejected cell are looked for as soon as a verifier would pay for them.
    assert own.smoothed.variance_q_M[1] == 0
    assert both.smoothed.variance_q_M[1] > 0
    assert both.correct_M == pytest.approx(own.correct_M)


def test_hacks_are_totalled_in_rejected_cells_too():
    frame, count_M = two_cells()
    wave = make_wave(1, remaining=[100, 50], answers=[(0, 1.0), (1, 0.0), (1, 0.0)])
    items = replace(wave.items, hack_I=np.array([False, True, False]))
    pooled = pool_windows([Window(frame, count_M, (replace(wave, items=items),))])
    assert pooled.hacks_M == pytest.approx([0, 25])


def test_verdicts_on_other_cells_are_refused():
    frame, count_M = two_cells()
    window = Window(frame, count_M, (make_wave(1, remaining=[100, 50], answers=[(0, 1.0)]),))
    with pytest.raises(ValueError, match="each cell"):
        pool_windows([window], verdicts=(np.ones(3, bool),))


def draw_wave(number, truth_N, drawn, undrawn, f):
    """`drawn` of the `undrawn` rollouts (positions in `truth_N`) of one cell and one stratum."""
    return Wave(
        number=number,
        planned=len(drawn),
        remaining_M=np.array([len(undrawn)]),
        stratum_M=np.zeros(1, int),
        weight_H=np.array([len(undrawn) / len(drawn)]),
        f_M=np.array([f]),
        q_M=np.zeros(1),
        items=Items(np.zeros(len(drawn), int), truth_N[list(drawn)], np.zeros(len(drawn))),
    )


def test_the_total_is_exactly_unbiased_when_the_second_wave_adapts_to_the_first():
    """The mean over every possible pair of draws is the truth, whatever the model says."""
    truth_N = np.array([1, 0, 0, 1, 1, 0, 0], float)
    everything = range(len(truth_N))
    means = []
    for first in combinations(everything, 2):
        found = truth_N[list(first)].sum()
        undrawn = [i for i in everything if i not in first]
        model, size = (0.1, 0.95, 0.4)[int(found)], 1 + int(found)
        totals = []
        for second in combinations(undrawn, size):
            waves = (
                draw_wave(1, truth_N, first, list(everything), 0.7),
                draw_wave(2, truth_N, second, undrawn, model),
            )
            # Fixed weights: the size of the wave adapts to what was found, its weight may not.
            waves = tuple(replace(wave, planned=2) for wave in waves)
            window = Window(make_frame(1), np.array([len(truth_N)]), waves)
            totals.append(pool_windows([window]).correct_M.sum())
        means.append(np.mean(totals))
    assert np.mean(means) == pytest.approx(truth_N.sum())
