import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from review.stats.agreement import nominal_agreement, step_agreement

NAN = np.nan


def table(*cells):
    """Pairs of ratings from (first, second, how often)."""
    return np.array([pair for *pair, count in cells for _ in range(count)], float)


# Krippendorff 2011, example C: four observers, twelve units, missing data.
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
).T


def test_krippendorffs_nominal_example():
    result = nominal_agreement(KRIPPENDORFF)
    assert result.alpha.value == pytest.approx(0.743, abs=0.0005)
    assert result.items == 11


def test_krippendorffs_interval_example():
    assert step_agreement(KRIPPENDORFF).alpha.value == pytest.approx(0.849, abs=0.0005)


def test_krippendorffs_binary_example():
    # Example A: two observers, ten units, no missing data.
    ratings = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]], float).T
    result = nominal_agreement(ratings)
    assert result.alpha.value == pytest.approx(0.095, abs=0.0005)
    assert result.percent.point == pytest.approx(0.6)


def test_where_kappa_collapses_ac1_does_not():
    # Gwet 2002: 125 items, nearly all of one category.
    result = nominal_agreement(table((1, 1, 118), (1, 0, 5), (0, 1, 2)))
    assert result.percent.point == pytest.approx(0.944)
    assert result.ac1.value == pytest.approx(0.9408, abs=5e-5)
    assert result.kappa.value == pytest.approx(-0.0234, abs=5e-5)


def test_cohens_kappa_of_a_two_by_two_table():
    result = nominal_agreement(table((1, 1, 20), (1, 0, 5), (0, 1, 10), (0, 0, 15)))
    assert result.kappa.value == pytest.approx(0.4)


def test_kappa_compares_the_first_two_ratings_of_each_item():
    pairs = table((1, 1, 20), (1, 0, 5), (0, 1, 10), (0, 0, 15))
    spread = np.column_stack([np.full(50, NAN), pairs[:, 0], np.full(50, NAN), pairs[:, 1]])
    assert nominal_agreement(spread) == nominal_agreement(pairs)


def test_percent_agreement_has_wilsons_interval():
    percent = nominal_agreement(table((1, 1, 9), (1, 0, 1))).percent
    assert (percent.point, percent.n, percent.method) == (0.9, 10, "wilson")
    assert percent.low == pytest.approx(0.5958, abs=1e-4)
    assert percent.high == pytest.approx(0.9821, abs=1e-4)


def test_unequal_weights_move_agreement_and_cost_precision():
    ratings = table((1, 1, 5), (1, 0, 5))
    percent = nominal_agreement(ratings, weight_I=np.repeat([3.0, 1.0], 5)).percent
    assert percent.point == pytest.approx(0.75)
    assert percent.n == pytest.approx(8)


def test_integer_weights_count_items_more_than_once():
    ratings = table((1, 1, 4), (1, 0, 2), (0, 0, 3))
    weights = np.array([2, 1, 3, 1, 1, 2, 1, 4, 1])
    weighted = nominal_agreement(ratings, weight_I=weights)
    repeated = nominal_agreement(np.repeat(ratings, weights, axis=0))
    for name in ("ac1", "kappa"):
        assert getattr(weighted, name).value == pytest.approx(getattr(repeated, name).value)
    assert weighted.percent.point == pytest.approx(repeated.percent.point)
    # Alpha alone corrects for the number of ratings, which weights do not add to.
    assert weighted.alpha.value == pytest.approx(repeated.alpha.value, abs=0.05)


def test_all_ratings_equal_leave_alpha_and_kappa_undefined():
    result = nominal_agreement(table((1, 1, 7)))
    assert result.percent.point == 1
    assert (result.alpha.value, result.alpha.reason) == (None, "no variation")
    assert (result.kappa.value, result.kappa.reason) == (None, "no variation")
    assert (result.ac1.value, result.ac1.reason) == (1, None)
    assert step_agreement(table((3, 3, 7))).alpha.reason == "no variation"


@pytest.mark.parametrize(
    "ratings", [np.zeros((0, 2)), np.zeros((0, 0)), np.array([[1, NAN], [NAN, NAN]])]
)
def test_without_a_pair_nothing_is_said(ratings):
    result = nominal_agreement(ratings)
    assert result.items == 0
    assert (result.percent.point, result.percent.low, result.percent.high) == (None, 0, 1)
    for coefficient in (result.alpha, result.ac1, result.kappa, step_agreement(ratings).alpha):
        assert (coefficient.value, coefficient.reason) == (None, "no item was rated twice")


def test_a_near_miss_of_the_step_counts_less_than_a_far_one():
    near, far = (table((0, 0, 3), (5, 5, 3), (2, miss, 1)) for miss in (3, 9))
    assert step_agreement(near).alpha.value > step_agreement(far).alpha.value
    assert step_agreement(near).exact == step_agreement(far).exact
    assert step_agreement(near).exact.point == pytest.approx(6 / 7)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, NAN], [1.0, np.inf]])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(ValueError, match="weight"):
        nominal_agreement(np.zeros((2, 2)), weight_I=np.array(weights))


def test_ratings_without_rows_are_refused():
    with pytest.raises(ValueError, match="row"):
        nominal_agreement(np.zeros(3))


def values(result):
    return [
        result.percent.point,
        *(getattr(result, name).value for name in ("alpha", "ac1", "kappa")),
    ]


def approximately(expected):
    return [None if value is None else pytest.approx(value, abs=1e-9) for value in expected]


RATINGS = st.lists(
    st.lists(st.sampled_from([NAN, 0.0, 1.0, 2.0]), min_size=3, max_size=3), min_size=1, max_size=20
).map(np.array)


@given(RATINGS, st.permutations([0, 1, 2]))
def test_nominal_agreement_does_not_depend_on_the_names_of_the_categories(ratings, names):
    renamed = np.where(
        np.isnan(ratings), NAN, np.array([*names, 0])[np.nan_to_num(ratings).astype(int)]
    )
    assert values(nominal_agreement(renamed)) == approximately(values(nominal_agreement(ratings)))


@given(RATINGS, st.floats(-5, 5), st.floats(0.1, 9))
def test_step_agreement_does_not_depend_on_origin_and_unit(ratings, origin, unit):
    moved, plain = step_agreement(origin + unit * ratings), step_agreement(ratings)
    assert moved.exact == plain.exact
    assert [moved.alpha.value] == approximately([plain.alpha.value])


@given(RATINGS, st.floats(0.01, 100))
def test_equal_weights_change_nothing(ratings, weight):
    weighted = nominal_agreement(ratings, weight_I=np.full(len(ratings), weight))
    assert values(weighted) == approximately(values(nominal_agreement(ratings)))


@given(RATINGS, st.randoms(use_true_random=False))
def test_the_order_of_items_does_not_matter(ratings, random):
    order = random.sample(range(len(ratings)), len(ratings))
    shuffled = nominal_agreement(ratings[order])
    assert values(shuffled) == approximately(values(nominal_agreement(ratings)))


@given(RATINGS)
def test_no_coefficient_exceeds_full_agreement(ratings):
    result = nominal_agreement(ratings)
    assume(result.items > 0)
    assert all(value is None or value <= 1 + 1e-12 for value in values(result))
