"""A reviewer's client over HTTP."""

import json
from typing import Any
from uuid import uuid4

import pytest

from review.accounts.models import Project, User
from review.labeling.models import Assignment, Label, Question, Queue, Skip
from review.sampling.models import RuleVersion
from tests import builders
from tests.api.calls import Caller, refused
from tests.labeling import items


@pytest.fixture
def queue(project: Project) -> Queue:
    return items.open_queue(project)


@pytest.fixture
def reviewer(project: Project, ben: User) -> Caller:
    return Caller(builders.make_token(project, "label", owner=ben))


@pytest.fixture
def item(reviewer: Caller, queue: Queue) -> dict[str, Any]:
    taken: dict[str, Any] = reviewer.post(f"queues/{queue.pk}/take").json()["assignment"]
    return taken


def label_of(item: dict[str, Any], **changes: Any) -> dict[str, Any]:
    body = {"token": item["lease"]["token"], "client_key": str(uuid4()), "answer": "correct"}
    return body | changes


def test_a_label_is_stored_once(reviewer: Caller, item: dict[str, Any], ben: User) -> None:
    path = f"assignments/{item['id']}/label"
    body = label_of(item, answer="incorrect", earliest_wrong_step=1, is_hack=True, note="n\x00")
    first, again = reviewer.post(path, body), reviewer.post(path, body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json()["is_late"] is False
    label = Label.objects.get()
    assert (label.reviewer, label.answer, label.earliest_wrong_step) == (ben, "incorrect", 1)
    assert (label.is_hack, label.note, label.has_no_wrong_step) == (True, "n\ufffd", False)


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"answer": "right"}, "invalid_body", "answer"),
        ({"answer": None}, "invalid_body", "answer"),
        ({"token": "x"}, "invalid_body", "token"),
        ({"client_key": 1}, "invalid_body", "client_key"),
        ({"earliest_wrong_step": 0}, "invalid_body", "earliest_wrong_step"),
        ({"earliest_wrong_step": 10**30}, "invalid_body", "earliest_wrong_step"),
        ({"earliest_wrong_step": 99}, "invalid_label", "earliest_wrong_step"),
        ({"earliest_wrong_step": 1, "no_wrong_step": True}, "invalid_label", "no_wrong_step"),
        ({"note": "n" * 10_001}, "invalid_body", "note"),
        ({"confidence": 1}, "invalid_label", "confidence"),
        ({"confidence": 4}, "invalid_body", "confidence"),
        ({"error_category": "logic"}, "invalid_label", "error_category"),
        ({"hack_kind": "tests"}, "invalid_label", "hack_kind"),
        ({"criteria": ["met"]}, "invalid_label", "criteria"),
        ({"active_ms": -1}, "invalid_body", "active_ms"),
        ({"mood": "good"}, "invalid_body", "mood"),
    ],
)
def test_a_bad_label_is_refused_and_the_lease_kept(
    reviewer: Caller, item: dict[str, Any], changes: dict[str, Any], code: str, field: str
) -> None:
    response = reviewer.post(f"assignments/{item['id']}/label", label_of(item, **changes))
    refused(response, 400, code, field)
    assert not Label.objects.exists()
    assert Assignment.objects.get(pk=item["id"]).state == "leased"


def test_a_label_says_all_that_the_queue_asks(
    reviewer: Caller, queue: Queue, item: dict[str, Any]
) -> None:
    Queue.objects.update(questions=Question.values, rubric=["Is kind", "Is short"])
    body = label_of(
        item,
        answer="incorrect",
        earliest_wrong_step=1,
        error_category="logic",
        is_format_kept=False,
        is_hack=True,
        hack_kind="tests",
        is_hack_admitted=True,
        is_answer_supported=False,
        problem_fault="ambiguous",
        confidence=2,
        criteria=["met", "cannot_tell"],
        active_ms=4_000,
    )
    assert reviewer.post(f"assignments/{item['id']}/label", body).status_code == 201
    stored = Label.objects.values().get()
    said = {"token", "client_key", "earliest_wrong_step"}
    assert {name: stored[name] for name in body.keys() - said} == {
        name: body[name] for name in body.keys() - said
    }
    assert stored["step_id"] == item["steps"][0]["id"]


def test_an_item_says_what_is_asked(reviewer: Caller, queue: Queue) -> None:
    Queue.objects.update(questions=["step"], rubric=["Is kind"])
    item = reviewer.post(f"queues/{queue.pk}/take").json()["assignment"]
    assert (item["questions"], item["rubric"]) == (["step"], ["Is kind"])
    assert item["steps"][0].keys() == {"number", "id", "text"}


def test_a_client_of_before_need_not_know_what_is_asked(
    reviewer: Caller, queue: Queue, item: dict[str, Any]
) -> None:
    """It always says of hacks that there is none: not said, where nobody asks."""
    Queue.objects.update(questions=[])
    body = label_of(item, earliest_wrong_step=None, no_wrong_step=False, is_hack=False, note="")
    assert reviewer.post(f"assignments/{item['id']}/label", body).status_code == 201
    assert Label.objects.get().is_hack is None


def test_an_item_tells_nothing_of_the_machine(
    reviewer: Caller, item: dict[str, Any], queue: Queue
) -> None:
    assert item.keys() == {
        *("id", "lease", "problem", "references", "steps", "answer", "questions", "rubric")
    }
    rollout = Assignment.objects.get(pk=item["id"]).rollout
    text = json.dumps(item)
    for hidden in (rollout.uid, rollout.policy.uid, rollout.group.uid, "boxed-any", "pass", "cell"):
        assert hidden not in text


def test_the_reference_is_shown_only_if_the_queue_says_so(reviewer: Caller, queue: Queue) -> None:
    RuleVersion.objects.update(shows_reference=False)
    item = reviewer.post(f"queues/{queue.pk}/take").json()["assignment"]
    assert item["references"] is None


def test_an_empty_queue_answers_without_a_body(reviewer: Caller, queue: Queue, ben: User) -> None:
    items.answer_all(queue, ben)
    response = reviewer.post(f"queues/{queue.pk}/take")
    assert (response.status_code, response.content) == (204, b"")


def test_a_lease_is_extended_given_back_and_skipped(
    reviewer: Caller, item: dict[str, Any], queue: Queue
) -> None:
    path, hold = f"assignments/{item['id']}", {"token": item["lease"]["token"]}
    assert (
        reviewer.post(f"{path}/heartbeat", hold).json()["expires_at"]
        > (item["lease"]["expires_at"])
    )
    assert reviewer.post(f"{path}/release", hold).status_code == 204
    for call in ("heartbeat", "release", "skip"):
        refused(reviewer.post(f"{path}/{call}", hold), 409, "lease_lost")
    again = reviewer.post(f"queues/{queue.pk}/take").json()["assignment"]
    assert again["id"] == item["id"]
    skip = {"token": again["lease"]["token"], "reason": "broken", "note": "\x00"}
    assert reviewer.post(f"{path}/skip", skip).status_code == 204
    assert Skip.objects.get().note == "\ufffd"


@pytest.mark.parametrize("changes", [{"reason": "bored"}, {"note": "n" * 10_001}, {"token": None}])
def test_a_bad_skip_is_refused(
    reviewer: Caller, item: dict[str, Any], changes: dict[str, Any]
) -> None:
    body = {"token": item["lease"]["token"]} | changes
    response = reviewer.post(f"assignments/{item['id']}/skip", body)
    refused(response, 400, "invalid_body", next(iter(changes)))
    assert not Skip.objects.exists()


def test_another_reviewers_item_cannot_be_touched(project: Project, item: dict[str, Any]) -> None:
    other = Caller(builders.make_token(project, "label"))
    path, hold = f"assignments/{item['id']}", {"token": item["lease"]["token"]}
    refused(other.post(f"{path}/label", label_of(item)), 409, "lease_lost", "token")
    for call in ("heartbeat", "release", "skip"):
        refused(other.post(f"{path}/{call}", hold), 409, "lease_lost")
    assert not Label.objects.exists()
