"""Taking a label back: a retraction, not a change."""

from datetime import timedelta

import pytest
from django.utils import timezone

from review.accounts.models import Project, User
from review.calibration.queries import newest_estimates
from review.flows import audit
from review.labeling.errors import UndoRefusedError
from review.labeling.models import Answer, Assignment, AssignmentState, Label, Queue, Retraction
from review.labeling.services.labels import retract_label
from review.sampling.models import WindowState
from tests.labeling import items


@pytest.fixture
def queue(project: Project) -> Queue:
    return items.open_queue(project, budget=8, groups=2)


def test_a_label_is_taken_back_and_given_anew(queue: Queue, ben: User) -> None:
    first = items.commit(items.take(queue, ben), ben, Answer.INCORRECT)

    item = retract_label(queue=queue, reviewer=ben)

    assert (item.pk, item.state, item.reviewer) == (first.assignment_id, "leased", ben)
    assert items.take(queue, ben).lease_token == item.lease_token
    assert not items.counting_labels(item.wave)
    second = items.commit(item, ben, Answer.CORRECT)
    assert not second.is_late
    assert items.counting_labels(item.wave) == [second]
    assert set(Label.objects.all()) == {first, second}
    assert Retraction.objects.get().label == first


def test_the_item_served_since_goes_back(queue: Queue, ben: User) -> None:
    items.commit(items.take(queue, ben), ben)
    since = items.take(queue, ben)
    retract_label(queue=queue, reviewer=ben)
    since.refresh_from_db()
    assert since.state == AssignmentState.OPEN
    assert Assignment.objects.filter(state=AssignmentState.LEASED).count() == 1


def test_undo_is_refused_after_half_a_minute(queue: Queue, ben: User) -> None:
    label = items.commit(items.take(queue, ben), ben)
    Label.objects.filter(pk=label.pk).update(created_at=timezone.now() - timedelta(seconds=31))
    with pytest.raises(UndoRefusedError):
        retract_label(queue=queue, reviewer=ben)
    Label.objects.filter(pk=label.pk).update(created_at=timezone.now() - timedelta(seconds=10))
    retract_label(queue=queue, reviewer=ben)


def test_only_the_newest_label_can_be_taken_back(queue: Queue, ben: User) -> None:
    first = items.commit(items.take(queue, ben), ben)
    second = items.commit(items.take(queue, ben), ben)
    assert retract_label(queue=queue, reviewer=ben).pk == second.assignment_id
    with pytest.raises(UndoRefusedError):
        retract_label(queue=queue, reviewer=ben)
    first.assignment.refresh_from_db()
    assert first.assignment.state == AssignmentState.DONE


def test_another_reviewers_label_cannot_be_taken_back(queue: Queue, ben: User, ada: User) -> None:
    items.commit(items.take(queue, ben), ben)
    with pytest.raises(UndoRefusedError):
        retract_label(queue=queue, reviewer=ada)


def test_a_late_label_cannot_be_taken_back(queue: Queue, ben: User, ada: User) -> None:
    bens = items.take(queue, ben)
    Assignment.objects.update(state=AssignmentState.OPEN, reviewer=None)
    items.take(queue, ada)
    assert items.commit(bens, ben).is_late
    with pytest.raises(UndoRefusedError):
        retract_label(queue=queue, reviewer=ben)


def test_a_label_renewed_after_its_window_closed_is_in_the_estimates(
    project: Project, ben: User
) -> None:
    queue = items.open_queue(project, budget=32)
    window = queue.rule.windows.get()
    for _ in range(32):
        items.commit(items.take(queue, ben), ben, Answer.INCORRECT)
    audit.advance_window(window=window)
    window.refresh_from_db()
    assert window.state == WindowState.CLOSED
    assert newest_estimates(queue.rule.run)["accuracy"].point == pytest.approx(0, abs=1e-9)

    items.commit(retract_label(queue=queue, reviewer=ben), ben, Answer.CORRECT)
    audit.advance_window(window=window)

    for estimates in (newest_estimates(queue.rule.run), newest_estimates(queue.rule.run, window)):
        point = estimates["accuracy"].point
        assert point is not None
        assert point > 0.001
