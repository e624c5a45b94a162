"""Differences on the same labels."""

import pytest

from review.accounts.models import Project, User
from review.calibration.comparisons import against_primary, compare_slices, drifts, rankings
from review.rollouts.models import Slice
from review.rollouts.services import create_slice
from review.runs.models import Run
from review.stats.estimands import Estimand
from review.verifiers.queries import late_verifiers
from tests import builders
from tests.calibration.test_scorecard import judge_all

pytestmark = pytest.mark.django_db


@pytest.fixture
def labelled(project: Project, ben: User) -> Run:
    run = builders.make_stored_run(project)
    builders.label_audit(builders.open_audit(run, budget=80, waves=2), ben)
    return run


def slice_of(project: Project, name: str, **condition: object) -> Slice:
    return create_slice(project=project, name=name, conditions=[condition], actor="ada")


def test_a_later_version_is_held_against_the_primary_one(labelled: Run) -> None:
    judge_all(labelled)
    (later,) = late_verifiers(labelled)
    found = against_primary(labelled, later)
    assert found is not None
    recall, fpr = found[Estimand.RECALL], found[Estimand.FPR]
    # It accepts the half of the right answers that the first version rejects, and no hedge.
    assert recall.low <= 0.5 <= recall.high
    assert recall.low > 0.2
    assert fpr.high < 0


def test_a_verifier_that_has_not_judged_everything_is_not_compared(labelled: Run) -> None:
    judge_all(labelled, until=10)
    (later,) = late_verifiers(labelled)
    assert against_primary(labelled, later) is None


def test_two_slices_that_cut_through_cells_are_compared(labelled: Run, project: Project) -> None:
    early = slice_of(project, "early", field="step", op="at_most", value=1)
    late = slice_of(project, "late", field="step", op="at_least", value=2)
    difference = compare_slices(labelled, Estimand.ACCURACY, early, late)
    # None; one interval of twenty misses it, and hardly one of a million by three times as much.
    assert abs(difference.point) < 1.5 * (difference.high - difference.low)
    assert difference.high - difference.low < 0.6


def test_a_slice_differs_from_itself_by_nothing(labelled: Run, project: Project) -> None:
    early = slice_of(project, "early", field="step", op="at_most", value=1)
    same = slice_of(project, "same", field="step", op="at_most", value=1)
    difference = compare_slices(labelled, Estimand.RECALL, early, same)
    assert (difference.point, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_a_slice_of_cells_is_compared_with_one_of_rows(labelled: Run, project: Project) -> None:
    odd = slice_of(project, "oddly spelled", field="form", op="is", value="decimal")
    late = slice_of(project, "late", field="step", op="at_least", value=2)
    for pair in ((odd, late), (late, odd)):
        difference = compare_slices(labelled, Estimand.ACCURACY, *pair)
        assert difference.point is not None


def test_one_verifier_has_no_rank(labelled: Run) -> None:
    assert rankings(labelled) == {}


def test_one_window_has_no_drift(labelled: Run) -> None:
    for drift in drifts(labelled):
        assert drift.slope.point is None
        assert drift.change.point is None
        assert drift.change.reason
