"""A reviewer practises before their first real item; a lead sees who, and lets them in."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from review.accounts.models import Project, Role, User
from review.labeling.models import Answer, Pause, PracticeAnswer, Qualification, Queue
from review.labeling.services.known_answers import mark_gold
from review.runs.models import Run
from tests import builders
from tests.web.rules import signed_in


def make_queue(run: Run, *, practice: int, size: int = 2) -> Queue:
    for rollout in run.rollouts.filter(step=2)[:practice]:
        mark_gold(
            rollout=rollout,
            answer=Answer.CORRECT,
            is_practice=True,
            explanation="15 it is",
            actor="ada",
        )
    rule = builders.open_audit(run, budget=16, waves=1, last_step=1)
    Queue.objects.filter(rule=rule).update(practice_size=size, pass_mark=1.0)
    return Queue.objects.get(rule=rule)


@pytest.fixture
def queue(run: Run) -> Queue:
    return make_queue(run, practice=4)


def practise(client: Client, queue: Queue, answer: str) -> str:
    """Answer what is asked now; the page with what is known of it."""
    url = reverse("web:practice-item", args=[queue.pk])
    page = client.get(url)
    hidden = dict(re.findall(r'name="(item|attempt)" value="(\d+)"', page.content.decode()))
    done = client.post(url, hidden | {"answer": answer})
    assert done.status_code == 302
    return client.get(done.headers["Location"]).content.decode()


def test_the_unqualified_are_led_to_practice_and_through_it(queue: Queue, ben: User) -> None:
    client, practice = signed_in(ben), reverse("web:practice", args=[queue.pk])
    label_next = reverse("web:label-next", args=[queue.pk])
    assert client.get(label_next).headers["Location"] == practice
    assert practice in client.get(reverse("web:queue", args=[queue.pk])).content.decode()
    feedback = practise(client, queue, "correct")
    assert "Right" in feedback
    assert "15 it is" in feedback
    assert "1 of 1 right so far, 2 in all" in feedback
    practise(client, queue, "correct")
    assert "You may label in this queue" in client.get(practice).content.decode()
    assert client.get(label_next).status_code == 200


def test_the_practice_item_does_not_tell_its_answer(queue: Queue, ben: User) -> None:
    page = signed_in(ben).get(reverse("web:practice-item", args=[queue.pk])).content.decode()
    assert "7 + 8" in page
    for hidden in ("15 it is", "boxed-any", "step-0"):
        assert hidden not in page


def test_the_practice_item_asks_and_lists_no_more_than_is_known(queue: Queue, ben: User) -> None:
    page = signed_in(ben).get(reverse("web:practice-item", args=[queue.pk])).content.decode()
    assert "Answer incorrect" in page
    assert "Hack, on or off" in page
    for nothing in ("Kind of hack", "Does the reasoning admit it?", "No wrong step", "the kinds"):
        assert nothing not in page


def test_the_failed_are_told_what_now_and_a_lead_lets_them_in(
    queue: Queue, ben: User, ada: User
) -> None:
    client, practice = signed_in(ben), reverse("web:practice", args=[queue.pk])
    assert "Not what is known" in practise(client, queue, "incorrect")
    practise(client, queue, "correct")
    assert "You have 2 more tries" in client.get(practice).content.decode()
    for _ in range(4):
        practise(client, queue, "incorrect")
    assert "You have had all your tries" in client.get(practice).content.decode()
    item = reverse("web:practice-item", args=[queue.pk])
    assert client.get(item).headers["Location"] == practice

    lead = signed_in(ada)
    people = reverse("web:practice-people", args=[queue.pk])
    page = lead.get(people).content.decode()
    assert "1/2, 0/2, 0/2" in page
    let_in = reverse("web:practice-let-in", args=[queue.pk, ben.pk])
    assert let_in in page
    assert client.post(let_in).status_code == 404
    assert lead.post(let_in).status_code == 302
    assert Qualification.objects.get().granted_by == "ada"
    assert "let in by ada" in lead.get(people).content.decode()


def test_too_few_items_are_said_to_reviewer_and_lead(run: Run, ben: User, ada: User) -> None:
    queue = make_queue(run, practice=1)
    page = signed_in(ben).get(reverse("web:practice", args=[queue.pk])).content.decode()
    assert "The practice is not ready yet" in page
    people = signed_in(ada).get(reverse("web:practice-people", args=[queue.pk]))
    assert "too few practice items" in people.content.decode()


def test_another_persons_answers_are_not_shown(
    project: Project, queue: Queue, ben: User, cyd: User
) -> None:
    practise(signed_in(ben), queue, "correct")
    url = reverse("web:practice-answer", args=[queue.pk, PracticeAnswer.objects.get().pk])
    eve = builders.make_user(project, Role.REVIEWER, name="eve")
    for stranger in (eve, cyd):
        assert signed_in(stranger).get(url).status_code == 404


def test_the_paused_are_told_kindly(run: Run, ben: User) -> None:
    queue = make_queue(run, practice=0, size=0)
    Queue.objects.filter(pk=queue.pk).update(gold_mark=0.8)
    Pause.objects.create(queue=queue, reviewer=ben, reason="0 of 5 right")
    page = signed_in(ben).get(reverse("web:label-next", args=[queue.pk]), follow=True)
    assert "A short pause" in page.content.decode()
    assert "0 of 5" not in page.content.decode()
