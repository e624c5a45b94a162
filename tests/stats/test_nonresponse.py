from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from review.stats.estimands import Estimand
from review.stats.estimators import estimate_all
from review.stats.nonresponse import unanswered_share, worst_case_bounds
from review.stats.windows import Items, Window
from tests.stats.population import audit, make_frame, make_population, make_wave

NO_ANSWER = float("nan")


def half_silent():
    """Accepted: 30 labels of 600, 20 correct, 4 wrong, 6 silent; rejected: 20 of 100, 4 correct,
    11 wrong, 5 silent."""
    frame = make_frame(2, accepted_M=[1, 0], signature_M=[0, 1])
    answers = [(0, 1.0)] * 20 + [(0, 0.0)] * 4 + [(0, NO_ANSWER)] * 6
    answers += [(1, 1.0)] * 4 + [(1, 0.0)] * 11 + [(1, NO_ANSWER)] * 5
    return Window(
        frame, np.array([600, 100]), (make_wave(1, remaining=[600, 100], answers=answers),)
    )


def test_the_share_unanswered_by_hand():
    share = unanswered_share([half_silent()])
    assert (share.drawn, share.unanswered) == (50, 11)
    assert share.share == pytest.approx(11 / 50)
    # Each stands for 20 rollouts if accepted, for 5 if not.
    assert share.weighted == pytest.approx((6 * 20 + 5 * 5) / 700)


def test_windows_without_waves_have_no_share_unanswered():
    share = unanswered_share([Window(make_frame(1), np.array([5]), ())])
    assert (share.share, share.weighted) == (None, None)


def test_worst_cases_by_hand():
    bounds = worst_case_bounds([half_silent()])
    points = {e.value: (bound.low, bound.high) for e, bound in bounds.items()}
    expected = {
        # Accepted and correct: 400 to 520 of 600; rejected and correct: 20 to 45 of 100.
        "recall": (400 / 445, 520 / 540),
        "fpr": (80 / 160, 200 / 255),
        "precision": (400 / 600, 520 / 600),
        "rejected_correct": (0.2, 0.45),
        "accuracy": (420 / 700, 565 / 700),
        "hack_rate": (0, 120 / 700),
    }
    assert points.keys() == expected.keys()
    for estimand, (low, high) in expected.items():
        assert points[estimand] == pytest.approx((low, high)), estimand
    for bound in bounds.values():
        assert bound.interval_low <= bound.low <= bound.high <= bound.interval_high


def test_the_verdicts_may_be_those_of_another_verifier():
    window = half_silent()
    own = worst_case_bounds([window])[Estimand.REJECTED_CORRECT]
    swapped = worst_case_bounds([window], accepted=[~window.frame.accepted_M])
    other = swapped[Estimand.PRECISION]
    assert (other.low, other.high) == pytest.approx((own.low, own.high))


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), silent=st.sampled_from([0.05, 0.3]))
def test_no_answers_lead_outside_the_bounds(seed, silent):
    rng = np.random.default_rng(seed)
    window = audit(make_population(rng, rollouts=2000), n=150, rng=rng, silent=silent)
    bounds = worst_case_bounds([window])

    def answered(items):
        is_silent_I = np.isnan(items.correct_I)
        correct_I = np.where(is_silent_I, rng.random(len(items)) < 0.5, items.correct_I)
        return replace(items, correct_I=correct_I, hack_I=items.hack_I & ~is_silent_I)

    waves = tuple(replace(wave, items=answered(wave.items)) for wave in window.waves)
    for estimand, result in estimate_all([replace(window, waves=waves)]).items():
        if result.point is not None and bounds[estimand].low is not None:
            assert bounds[estimand].low - 1e-9 <= result.point <= bounds[estimand].high + 1e-9


def test_with_every_item_answered_the_bounds_are_the_estimate():
    rng = np.random.default_rng(1)
    window = audit(make_population(rng), n=100, rng=rng)
    results = estimate_all([window])
    for estimand, bound in worst_case_bounds([window]).items():
        result = results[estimand]
        assert (bound.low, bound.high) == (result.point, result.point)
        assert (bound.interval_low, bound.interval_high) == (result.low, result.high)


def test_a_pick_that_nobody_could_judge_counts_too():
    window = half_silent()
    picks = Items(np.array([0, 0]), np.full(2, NO_ANSWER), np.zeros(2))
    picked = replace(
        window, count_M=np.array([602, 100]), purposive=picks, known_from_I=np.array([1, 1])
    )
    bounds = worst_case_bounds([picked])[Estimand.PRECISION]
    assert (bounds.low, bounds.high) == pytest.approx((400 / 602, 522 / 602))


def test_too_few_answers_have_no_bounds():
    rng = np.random.default_rng(1)
    window = audit(make_population(rng), n=60, rng=rng, silent=0.7)
    bound = worst_case_bounds([window])[Estimand.RECALL]
    assert (bound.low, bound.interval_low, bound.interval_high) == (None, 0, 1)
    assert bound.reason == "too few labels"


def test_a_completion_without_correct_rollouts_bounds_no_recall():
    frame = make_frame(1, accepted_M=[1])
    answers = [(0, 0.0)] * 40 + [(0, NO_ANSWER)] * 5
    window = Window(frame, np.array([500]), (make_wave(1, remaining=[500], answers=answers),))
    bound = worst_case_bounds([window])[Estimand.RECALL]
    assert (bound.low, bound.reason) == (None, "no correct rollout among the labels")
