"""GET and PATCH queues/{id}."""

from typing import Any

import pytest

from review.accounts.models import Project, User
from review.labeling.models import Queue
from tests.api.calls import Caller, refused
from tests.labeling import items


@pytest.fixture
def queue(project: Project) -> Queue:
    return items.open_queue(project)


@pytest.fixture
def path(queue: Queue) -> str:
    return f"queues/{queue.pk}"


def test_what_is_given_is_changed_and_the_rest_stays(caller: Caller, path: str) -> None:
    before = caller.get(path).json()
    assert before["questions"] == ["step", "category", "hack", "problem"]
    change = {"questions": ["hack", "step"], "rubric": ["Is kind"], "gold_mark": 0.7}
    after = caller.patch(path, change).json()
    assert after == before | change | {"questions": ["step", "hack"]}
    assert caller.patch(path, {"gold_mark": None}).json()["gold_mark"] is None
    assert caller.get(path).json()["rubric"] == ["Is kind"]


def test_what_is_asked_is_fixed_from_the_first_label_on(
    caller: Caller, path: str, queue: Queue, ben: User
) -> None:
    items.commit(items.take(queue, ben), ben)
    refused(caller.patch(path, {"questions": []}), 409, "queue_in_use", "questions")
    refused(caller.patch(path, {"rubric": ["Is kind"]}), 409, "queue_in_use", "rubric")
    again = caller.get(path).json()
    assert again["is_labelled"] is True
    same = {"questions": again["questions"], "reveals": False}
    assert caller.patch(path, same).json()["reveals"] is False


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"questions": ["mood"]}, "invalid_body", "questions[0]"),
        ({"questions": ["category"]}, "invalid_queue", "questions"),
        ({"rubric": ["a", "a"]}, "invalid_queue", "rubric"),
        ({"rubric": [" "]}, "invalid_queue", "rubric"),
        ({"rubric": [""]}, "invalid_body", "rubric[0]"),
        ({"pass_mark": 0}, "invalid_body", "pass_mark"),
        ({"gold_mark": 1}, "invalid_body", "gold_mark"),
        ({"practice_size": 101}, "invalid_body", "practice_size"),
        ({"name": "x"}, "invalid_body", "name"),
    ],
)
def test_what_cannot_be_is_refused(
    caller: Caller, path: str, change: dict[str, Any], code: str, field: str
) -> None:
    before = caller.get(path).json()
    refused(caller.patch(path, change), 400, code, field)
    assert caller.get(path).json() == before
