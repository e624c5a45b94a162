import numpy as np
import pytest

from review.stats.windows import Items, Window
from tests.stats.population import make_frame, make_wave


def test_columns_of_items_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="equally long"):
        Items(np.array([0]), np.array([1.0, 0.0]), np.array([False]))


def test_an_answer_between_right_and_wrong_is_refused():
    with pytest.raises(ValueError, match="answer"):
        Items(np.array([0]), np.array([0.5]), np.array([False]))


def test_items_say_of_which_a_step_is_known():
    answers = np.array([0]), np.array([0.0]), np.array([False])
    assert Items(*answers, [3]).step_I.tolist() == [3]
    assert np.isnan(Items(*answers).step_I).tolist() == [True]
    assert len(Items(*answers)) == 1


@pytest.mark.parametrize("step", [-1.0, 1.5, np.inf])
def test_a_step_that_cannot_be_counted_is_refused(step):
    with pytest.raises(ValueError, match="earliest wrong step"):
        Items(np.array([0]), np.array([0.0]), np.array([False]), np.array([step]))


def test_steps_of_some_of_the_items_are_refused():
    with pytest.raises(ValueError, match="equally long"):
        Items(np.array([0, 0]), np.array([0.0, 1.0]), np.array([False, False]), np.array([1.0]))


def test_items_without_an_answer_count_nothing():
    items = Items(np.array([0, 0, 2, 2]), np.array([1, np.nan, 0, 1]), np.array([0, 1, 0, 1]))
    counts = items.counts(3)
    assert counts.answered_M.tolist() == [1, 0, 2]
    assert counts.correct_M.tolist() == [1, 0, 1]
    assert counts.hacks_M.tolist() == [0, 0, 1]
    assert counts.wrong_or_hack_M.tolist() == [0, 0, 2]


def test_a_wave_knows_earlier_waves_and_earlier_purposive_labels():
    first, second = (make_wave(number, remaining=[10], answers=[(0, 1.0)]) for number in (1, 2))
    picks = Items(np.array([0, 0]), np.array([0.0, 0.0]), np.array([False, True]))
    window = Window(make_frame(1), np.array([12]), (first, second), picks, np.array([2, 3]))
    assert window.known_before(first).answered_M.tolist() == [0]
    assert window.known_before(second).answered_M.tolist() == [2]
    assert window.known_before(second).correct_M.tolist() == [1]
    assert window.labels().answered_M.tolist() == [4]
    assert window.drawn_labels().answered_M.tolist() == [2]


def test_waves_out_of_order_are_refused():
    waves = tuple(make_wave(number, remaining=[10], answers=[]) for number in (2, 1))
    with pytest.raises(ValueError, match="order"):
        Window(make_frame(1), np.array([12]), waves)


def test_a_wave_without_labels_is_refused():
    with pytest.raises(ValueError, match="without labels"):
        Window(make_frame(1), np.array([2]), (make_wave(1, remaining=[2], answers=[], planned=0),))


def test_a_purposive_item_without_its_first_wave_is_refused():
    picks = Items(np.array([0]), np.array([1.0]), np.array([False]))
    with pytest.raises(ValueError, match="purposive"):
        Window(make_frame(1), np.array([2]), (), picks)
