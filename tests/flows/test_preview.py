"""What a rule would cost and tell, before anything is drawn."""

import pytest

from review.accounts.models import Project, Role
from review.flows.preview import ASSUMED_SECONDS, Preview, preview_audit
from review.rollouts.services import create_slice
from review.runs.models import Run
from review.sampling.errors import InvalidRuleError
from review.sampling.models import AuditRule, Draw, Window
from review.sampling.services.rules import NewRule, RuleSettings
from review.stats.estimands import Estimand
from tests import builders

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(project: Project) -> Run:
    return builders.make_stored_run(project, groups=40)


def preview(run: Run, *, first_step: int = 1, **changes: object) -> Preview:
    alone = {"reviews_contradictions": False, "second_review_share": 0.0}
    settings = RuleSettings(**({"budget": 64, "last_step": 2} | alone | changes))
    new = NewRule(name="new", first_step=first_step, window_steps=2, settings=settings)
    return preview_audit(run=run, new=new)


def width(found: Preview, outlook: int, estimand: Estimand = Estimand.ACCURACY) -> float:
    interval = found.outlooks[outlook].intervals[estimand]
    return interval.high - interval.low


def test_a_preview_counts_the_frame_and_draws_nothing(run: Run) -> None:
    found = preview(run)
    assert (found.frame_size, found.cells) == (320, 4)
    assert (found.first_step, found.last_step, found.is_stand_in) == (1, 2, False)
    assert found.strata >= 2
    assert [outlook.labels for outlook in found.outlooks] == [32, 64, 128]
    assert not AuditRule.objects.exists()
    assert not Window.objects.exists()
    assert not Draw.objects.exists()


def test_more_labels_promise_narrower_intervals(run: Run) -> None:
    found = preview(run)
    assert width(found, 0) > width(found, 1) > width(found, 2)
    hours = [outlook.hours for outlook in found.outlooks]
    assert hours == pytest.approx([labels * ASSUMED_SECONDS / 3600 for labels in (32, 64, 128)])


def test_second_reviews_and_gold_are_counted(run: Run, project: Project) -> None:
    for _ in range(2):
        builders.make_user(project, Role.REVIEWER)
    found = preview(
        run, reviews_contradictions=True, second_review_share=0.1, gold_share=0.25
    ).outlooks[1]
    assert 0.1 * 64 < found.second_reviews < 64
    assert found.gold == 16
    assert found.hours == pytest.approx((64 + found.second_reviews + 16) * ASSUMED_SECONDS / 3600)


def test_slices_of_interest_have_their_own_intervals(run: Run, project: Project) -> None:
    late = create_slice(
        project=project,
        name="late steps",
        conditions=[{"field": "step", "op": "at_least", "value": 2}],
        actor="ada",
    )
    found = preview(run, slices=[late]).outlooks[1]
    part = found.slices["late steps"][Estimand.ACCURACY]
    whole = found.intervals[Estimand.ACCURACY]
    assert part.high - part.low > whole.high - whole.low


def test_steps_that_are_not_in_yet_are_previewed_on_the_newest(run: Run) -> None:
    found = preview(run, first_step=7, last_step=None)
    assert found.is_stand_in
    assert (found.first_step, found.last_step, found.frame_size) == (1, 2, 320)


def test_too_few_labels_promise_nothing(run: Run) -> None:
    interval = preview(run, budget=16).outlooks[1].intervals[Estimand.RECALL]
    assert interval.point is None
    assert interval.reason


def test_a_rule_that_cannot_be_met_has_no_preview(run: Run) -> None:
    with pytest.raises(InvalidRuleError) as refusal:
        preview(run, budget=0)
    assert refusal.value.fields.keys() == {"budget"}


def test_a_run_without_rollouts_has_an_empty_preview(project: Project) -> None:
    found = preview(builders.make_run(project), last_step=None)
    assert found.frame_size == 0
    assert found.outlooks[1].intervals[Estimand.RECALL].point is None
