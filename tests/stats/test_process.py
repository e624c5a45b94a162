from dataclasses import replace

import numpy as np
import pytest

from review.stats.process import Claims, ProcessEstimand, earliest_error, wrong_process
from review.stats.windows import Items, Window
from tests.stats.population import make_frame, make_wave
from tests.stats.rows import audit_rows, make_rows

ERROR_FOUND, PASSED, F1 = (
    ProcessEstimand.ERROR_FOUND,
    ProcessEstimand.FAULTLESS_PASSED,
    ProcessEstimand.PROCESS_F1,
)
NO_STEP = float("nan")
REPLICATES = 200


def window_of(*items, count=(400, 100)):
    """One stratum per cell; items are (cell, correct, step)."""
    cell_I, correct_I, step_I = np.array(items, float).T
    pairs = list(zip(cell_I.astype(int), correct_I, strict=True))
    wave = make_wave(1, remaining=count, answers=pairs)
    wave = replace(wave, items=replace(wave.items, step_I=step_I))
    return Window(make_frame(2, accepted_M=[1, 0]), np.array(count), (wave,))


def twenty_each():
    return window_of(
        *[(0, 1, 0)] * 12, *[(0, 1, 2)] * 4, *[(0, 0, 1)] * 4, *[(1, 1, 3)] * 5, *[(1, 0, 3)] * 15
    )


def test_right_answers_by_wrong_steps_by_hand():
    result = wrong_process([twenty_each()])
    # 80 of 320 in the first cell, 25 of 25 in the second.
    assert result.point == pytest.approx(105 / 345)
    assert (result.estimand, result.n) == ("wrong_process", 40)
    assert 0 < result.low < result.point < result.high < 1


def test_right_answers_by_wrong_steps_in_a_slice():
    result = wrong_process([twenty_each()], slices=[np.array([1, 0])])
    assert result.point == pytest.approx(4 / 16)
    assert result.n == 20


def with_silent(window, silent):
    """So many more right answers of the first cell, without a word on their steps."""
    items = window.waves[0].items
    more = Items(
        np.append(items.cell_I, [0] * silent),
        np.append(items.correct_I, [1.0] * silent),
        np.append(items.hack_I, [False] * silent),
        np.append(items.step_I, [NO_STEP] * silent),
    )
    weight_H = np.array([400 / (20 + silent), 5.0])
    return replace(window, waves=(replace(window.waves[0], items=more, weight_H=weight_H),))


def test_items_without_a_word_on_their_steps_are_nonresponse():
    said = wrong_process([twenty_each()])
    result = wrong_process([with_silent(twenty_each(), 4)])
    assert (result.point, result.n) == (pytest.approx(said.point), 40)


def test_who_names_only_wrong_steps_says_nothing_of_how_common_they_are():
    result = wrong_process([with_silent(twenty_each(), 20)])
    assert (result.point, result.low, result.high) == (None, 0.0, 1.0)
    assert result.reason == "the steps of too few right answers are judged"


def test_the_earliest_error_by_hand():
    window = twenty_each()
    named = [0] * 11 + [1] + [2, 3, 4, NO_STEP] + [1, 1, 2, 0] + [3] * 10 + [2] * 5 + [0] * 5
    claims = [Claims([np.array(named, float)])]
    exact = earliest_error([window], claims)
    # First cell, weight 20: 1 + 2 of 8 errors named, 11 of 12 faultless passed.
    # Second cell, weight 5: 10 of 20 errors named.
    found, passed = (20 * 3 + 5 * 10) / (20 * 8 + 5 * 20), 11 / 12
    assert exact[ERROR_FOUND].point == pytest.approx(found)
    assert exact[PASSED].point == pytest.approx(passed)
    assert exact[F1].point == pytest.approx(2 * found * passed / (found + passed))
    near = earliest_error([window], claims, tolerance=1)
    # A step off: one 3 for 2, one 2 for 1; five 2 for 3.
    assert near[ERROR_FOUND].point == pytest.approx((20 * 5 + 5 * 15) / 260)
    assert near[PASSED].point == pytest.approx(passed)


def test_a_process_verifier_that_is_always_right_has_no_certain_f1():
    window = twenty_each()
    results = earliest_error([window], [Claims([window.waves[0].items.step_I])])
    for result in results.values():
        assert result.point == 1
        assert result.low < 0.99


def test_a_process_verifier_without_a_verdict_misses_everything():
    results = earliest_error([twenty_each()], [Claims([np.full(40, NO_STEP)])])
    for result in results.values():
        assert result.point == 0
        assert result.high > 0.01


def test_without_a_faultless_rollout_there_is_no_f1():
    window = window_of(*[(0, 0, 1)] * 20, *[(1, 1, 2)] * 20)
    results = earliest_error([window], [Claims([np.ones(40)])])
    assert results[ERROR_FOUND].point == pytest.approx(0.8)
    for estimand in (PASSED, F1):
        assert results[estimand].point is None
        assert results[estimand].reason == "no faultless rollout among the labels"


def test_without_a_wrong_step_no_error_can_be_found():
    window = window_of(*[(0, 1, 0)] * 20, *[(1, 0, 0)] * 20)
    results = earliest_error([window], [Claims([np.zeros(40)])])
    assert results[ERROR_FOUND].reason == "no wrong step among the labels"
    assert results[F1].reason == "no wrong step among the labels"


def test_without_a_correct_rollout_no_process_is_wrong():
    result = wrong_process([window_of(*[(0, 0, 1)] * 20, *[(1, 0, 2)] * 20)])
    assert (result.point, result.reason) == (None, "no correct rollout among the labels")


def test_too_few_steps_say_nothing():
    window = window_of(*[(0, 1, 0)] * 20, *[(0, 1, NO_STEP)] * 20, *[(1, 0, 1)] * 5)
    result = wrong_process([window])
    assert (result.point, result.reason, result.n) == (None, "too few labels", 25)
    assert wrong_process([]).reason == "too few labels"


def test_claims_about_other_items_are_refused():
    with pytest.raises(ValueError, match="each item"):
        earliest_error([twenty_each()], [Claims([np.zeros(3)])])


def test_purposive_labels_count_as_themselves_only():
    window = twenty_each()
    picks = Items(np.array([0, 0]), np.array([1.0, 1.0]), np.zeros(2), np.array([1.0, 1.0]))
    picked = replace(
        window, count_M=np.array([402, 100]), purposive=picks, known_from_I=np.array([1, 1])
    )
    assert wrong_process([picked]).point == pytest.approx((105 + 2) / (345 + 2))
    claims = Claims([window.waves[0].items.step_I], np.array([0.0, 1.0]))
    results = earliest_error([picked], [claims])
    assert results[ERROR_FOUND].point == pytest.approx((260 + 1) / (260 + 2))


def test_a_census_has_the_truth_as_its_interval():
    rng = np.random.default_rng(4)
    rows = make_rows(rng, rollouts=200)
    audit = audit_rows(rows, n=200, rng=rng, waves=1)
    result = wrong_process([audit.window])
    truth = (rows.step_N[rows.correct_N] >= 1).mean()
    assert (result.low, result.point, result.high) == pytest.approx((truth, truth, truth))
    results = earliest_error([audit.window], [Claims([rows.claimed_N[audit.drawn[0]]])])
    has_error_N = rows.step_N >= 1
    found = (rows.claimed_N == rows.step_N)[has_error_N].mean()
    assert results[ERROR_FOUND].low == pytest.approx(found)


def test_intervals_of_the_process_cover_without_bias():
    rng = np.random.default_rng(81)
    rows = make_rows(rng)
    has_error_N = rows.step_N >= 1
    found = (rows.claimed_N == rows.step_N)[has_error_N].mean()
    passed = (rows.claimed_N == 0)[~has_error_N].mean()
    truth = {
        ProcessEstimand.WRONG_PROCESS: has_error_N[rows.correct_N].mean(),
        ERROR_FOUND: found,
        PASSED: passed,
        F1: 2 * found * passed / (found + passed),
    }
    results = []
    for _ in range(REPLICATES):
        audit = audit_rows(rows, n=300, rng=rng, unsaid=0.1)
        claims = Claims([rows.claimed_N[drawn_I] for drawn_I in audit.drawn])
        result = earliest_error([audit.window], [claims])
        results.append(result | {ProcessEstimand.WRONG_PROCESS: wrong_process([audit.window])})
    for estimand, true in truth.items():
        of_one = [result[estimand] for result in results]
        assert np.mean([one.low <= true <= one.high for one in of_one]) >= 0.92, estimand
        errors = [one.point - true for one in of_one]
        assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(REPLICATES), estimand
