"""What a queue asks, of whom, and how good they have to be."""

from datetime import timedelta

import pytest
from django.urls import reverse

from review.accounts.models import Project, Role, User
from review.labeling.models import Assignment, Queue
from tests import builders
from tests.labeling import items
from tests.web.rules import signed_in

SETTINGS = {
    "questions": ["step", "reasoning"],
    "rubric": "Names the theorem\n\nStates its assumptions\n",
    "instructions": "Read **all** of it: $x^2$ <script>alert(1)</script>",
    "reveals": "on",
    "domains": "algebra\ngeometry",
    "practice_size": "4",
    "pass_mark": "75",
    "gold_mark": "",
}


@pytest.fixture
def queue(project: Project) -> Queue:
    return items.open_queue(project)


def url(queue: Queue) -> str:
    return reverse("web:queue-settings", args=[queue.pk])


def test_a_lead_sets_what_is_asked_and_the_change_is_shown(queue: Queue, ada: User) -> None:
    client = signed_in(ada)
    audit = client.get(reverse("web:audit", args=[queue.rule_id])).content.decode()
    assert url(queue) in audit
    assert client.post(url(queue), SETTINGS).status_code == 302
    queue.refresh_from_db()
    assert (queue.questions, queue.pass_mark, queue.gold_mark) == (
        ["step", "reasoning"],
        0.75,
        None,
    )
    assert queue.rubric == ["Names the theorem", "States its assumptions"]
    assert (queue.reveals, queue.domains, queue.practice_size) == (
        True,
        ["algebra", "geometry"],
        4,
    )
    page = client.get(url(queue)).content.decode()
    assert "Names the theorem; States its assumptions" in page
    assert "80 % → 75 %" in page
    assert "ada" in page


def test_the_same_again_is_no_change(queue: Queue, ada: User) -> None:
    client = signed_in(ada)
    for _ in range(2):
        client.post(url(queue), SETTINGS)
    assert client.get(url(queue)).content.decode().count("<strong>Rubric:</strong>") == 1


def test_what_is_asked_is_fixed_from_the_first_answer_on(
    queue: Queue, ada: User, ben: User
) -> None:
    items.commit(items.take(queue, ben), ben)
    client = signed_in(ada)
    assert 'id="fixed"' in client.get(url(queue)).content.decode()
    assert client.post(url(queue), SETTINGS).status_code == 302
    queue.refresh_from_db()
    assert queue.questions == ["step", "category", "hack", "problem"]
    assert (queue.rubric, queue.practice_size) == ([], 4)


def test_what_is_asked_stays_while_somebody_holds_an_item(
    queue: Queue, ada: User, ben: User
) -> None:
    held = items.take(queue, ben)
    client = signed_in(ada)
    refused = client.post(url(queue), SETTINGS)
    assert refused.status_code == 422
    assert "what it asks stays as it is" in refused.content.decode()
    Assignment.objects.filter(pk=held.pk).update(
        lease_expires_at=queue.created_at - timedelta(days=1)
    )
    assert client.post(url(queue), SETTINGS).status_code == 302
    assert items.commit(held, ben).is_late


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"questions": ["category"]}, "ask for the step too"),
        ({"questions": ["mood"]}, "mood"),
        ({"rubric": "\n".join(map(str, range(21)))}, "At most 20."),
        ({"rubric": "x" * 301}, "300 characters each"),
        ({"pass_mark": "0"}, "greater than or equal to 1"),
        ({"gold_mark": "100"}, "less than or equal to 99"),
        ({"practice_size": "-1"}, "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(
    queue: Queue, ada: User, changes: dict[str, object], said: str
) -> None:
    answer = signed_in(ada).post(url(queue), SETTINGS | changes)
    assert answer.status_code == 422
    assert said in answer.content.decode()
    queue.refresh_from_db()
    assert queue.rubric == []


def test_it_is_a_leads_page(queue: Queue, ben: User, cyd: User) -> None:
    other = builders.make_user(builders.make_project("Other"), Role.LEAD)
    for user in (ben, cyd, other):
        client = signed_in(user)
        assert client.get(url(queue)).status_code == 404
        assert client.post(url(queue), SETTINGS).status_code == 404
