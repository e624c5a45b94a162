import numpy as np
import pytest

from review.stats.cells import CellFrame, concatenate, total_by
from tests.stats.population import make_frame


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="equally long"):
        CellFrame(*(np.zeros(n) for n in (2, 2, 2, 2, 2, 3)))


def test_columns_get_their_types():
    frame = make_frame(2, accepted_M=[0, 1], score_M=[1, 2])
    assert frame.accepted_M.dtype == np.bool_
    assert frame.score_M.dtype == np.float64
    assert frame.has_score.tolist() == [True, True]


def test_take_keeps_the_order_asked_for():
    frame = make_frame(3, signature_M=[7, 8, 9])
    assert frame.take(np.array([2, 0])).signature_M.tolist() == [9, 7]


def test_distinct_takes_a_missing_score_as_equal_to_a_missing_score():
    frame = make_frame(4, signature_M=[1, 2, 1, 2], score_M=[np.nan, 0.5, np.nan, 0.5])
    cells, row_M = frame.distinct()
    assert len(cells) == 2
    assert cells.take(row_M).signature_M.tolist() == [1, 2, 1, 2]


def test_concatenate_keeps_the_order_of_the_frames():
    both = concatenate([make_frame(1, domain_M=[3]), make_frame(2, domain_M=[1, 2])])
    assert both.domain_M.tolist() == [3, 1, 2]


def test_total_by_leaves_out_cells_without_a_label():
    total = total_by(np.array([0, -1, 1, 0]), np.array([1, 10, 2, 3]), 3)
    assert total.tolist() == [4, 2, 0]
