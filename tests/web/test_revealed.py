"""What the verifiers said: after the label, for its reviewer, where the queue shows it."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from review.accounts.models import Project, Role, User
from review.labeling.errors import UndoRefusedError
from review.labeling.models import Answer, Assignment, Label, Objection, Queue, Retraction, Reveal
from review.labeling.services.labels import retract_label
from tests import builders
from tests.labeling import items
from tests.web.rules import signed_in


@pytest.fixture
def queue(project: Project) -> Queue:
    """Of every rollout of its run."""
    return items.open_queue(project, budget=16, groups=2)


@pytest.fixture
def dan(project: Project) -> User:
    return builders.make_user(project, Role.REVIEWER, name="dan")


@pytest.fixture
def label(queue: Queue, ben: User) -> Label:
    return items.commit(items.take(queue, ben), ben, Answer.INCORRECT)


def reveal(user: User, label: Label) -> int:
    return signed_in(user).post(reverse("web:label-reveal", args=[label.pk])).status_code


def revealed(user: User, label: Label) -> tuple[int, str]:
    page = signed_in(user).get(reverse("web:revealed", args=[label.pk]))
    return page.status_code, page.content.decode()


def test_the_page_says_what_was_judged_and_how_the_label_compares(label: Label, ben: User) -> None:
    assert revealed(ben, label)[0] == 404
    assert reveal(ben, label) == 302
    status, page = revealed(ben, label)
    assert status == 200
    assert "boxed-any" in page
    assert "The verifier" in page or "agree" in page
    assert "The rest of its group" in page
    assert Reveal.objects.get().label == label


def test_it_ends_the_undo_and_is_stored_once(label: Label, queue: Queue, ben: User) -> None:
    assert reveal(ben, label) == reveal(ben, label) == 302
    assert Reveal.objects.count() == 1
    with pytest.raises(UndoRefusedError):
        retract_label(queue=queue, reviewer=ben)
    page = signed_in(ben).get(reverse("web:label-next", args=[queue.pk])).content.decode()
    assert "data-undo" not in page


def test_nobody_else_opens_it(label: Label, ben: User, dan: User, ada: User, cyd: User) -> None:
    for user in (dan, ada, cyd):
        assert reveal(user, label) == 404
    reveal(ben, label)
    for user in (dan, ada, cyd):
        assert revealed(user, label)[0] == 404


def test_a_label_that_was_taken_back_or_came_late_shows_nothing(label: Label, ben: User) -> None:
    Retraction.objects.create(label=label)
    assert reveal(ben, label) == 404
    Retraction.objects.all().delete()
    Label.objects.update(is_late=True)
    assert reveal(ben, label) == 404


def test_a_queue_can_keep_it_to_itself(label: Label, queue: Queue, ben: User) -> None:
    url = reverse("web:label-next", args=[queue.pk])
    client = signed_in(ben)
    assert "label-reveal" not in url
    assert reverse("web:label-reveal", args=[label.pk]) in client.get(url).content.decode()
    Queue.objects.update(reveals=False)
    assert reverse("web:label-reveal", args=[label.pk]) not in client.get(url).content.decode()
    assert reveal(ben, label) == 404
    Reveal.objects.create(label=label)
    assert revealed(ben, label)[0] == 404


def test_what_was_judged_of_items_still_to_come_is_kept_back(
    label: Label, queue: Queue, ben: User
) -> None:
    reveal(ben, label)
    mates = set(label.assignment.rollout.group.rollouts.values_list("pk", flat=True))
    still = queue.assignments.filter(rollout__in=mates).exclude(pk=label.assignment_id).count()
    assert still > 0
    assert revealed(ben, label)[1].count("kept back") == still
    items.answer_all(queue, ben)
    assert "kept back" not in revealed(ben, label)[1]


def test_with_waves_to_come_all_of_the_group_may_still_be_drawn(
    project: Project, ben: User
) -> None:
    queue = items.open_queue(project, waves=2)
    label = items.commit(items.take(queue, ben), ben)
    reveal(ben, label)
    mates = label.assignment.rollout.group.rollouts.count() - 1
    assert revealed(ben, label)[1].count("kept back") == mates


def test_a_rollout_that_another_queue_still_asks_about_is_not_shown(
    label: Label, project: Project, ben: User
) -> None:
    other = items.open_queue(project)
    Assignment.objects.filter(queue=other, rank=0).update(rollout=label.assignment.rollout_id)
    assert reveal(ben, label) == 409
    assert not Reveal.objects.exists()


def test_an_objection_needs_its_reason_and_changes_no_label(label: Label, ben: User) -> None:
    client, url = signed_in(ben), reverse("web:label-object", args=[label.pk])
    assert client.post(url, {"note": "too soon"}).status_code == 404
    reveal(ben, label)
    assert client.post(url, {"note": " "}).status_code == 422
    assert client.post(url, {"note": "I misread it."}).status_code == 302
    client.post(url, {"note": "again"})
    assert Objection.objects.get().note == "I misread it."
    label.refresh_from_db()
    assert label.answer == Answer.INCORRECT
    assert "I misread it." in revealed(ben, label)[1]


def test_a_reveal_does_not_wait_for_the_undo_to_end(label: Label, ben: User) -> None:
    Label.objects.update(created_at=timezone.now() - timedelta(hours=1))
    assert reveal(ben, label) == 302
