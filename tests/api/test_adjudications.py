"""GET audits/{id}/disagreements and POST audits/{id}/adjudications."""

from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from review.accounts.models import Membership, Project, Role, User
from review.flows import labels
from review.labeling.models import Adjudication, Answer, Assignment, Queue
from review.labeling.services.judgements import NewLabel
from review.rollouts.models import Rollout
from tests import builders
from tests.api.calls import Caller, refused
from tests.labeling import items


@pytest.fixture
def eve(project: Project) -> User:
    return builders.make_user(project, Role.REVIEWER, name="eve")


@pytest.fixture
def queue(project: Project, ben: User, eve: User) -> Queue:
    """Everything in it is reviewed twice."""
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2])
    return builders.open_audit(run, budget=16, waves=1, second_review_share=1.0).queue


@pytest.fixture
def path(queue: Queue) -> str:
    return f"audits/{queue.rule.pk}"


def disagree(queue: Queue, ben: User, eve: User, times: int = 1) -> list[str]:
    """The uids of so many rollouts that ben calls correct and eve does not."""
    firsts: list[Assignment] = []
    for _ in range(times):
        firsts.append(items.take(queue, ben))
        items.commit(firsts[-1], ben)
    for first in firsts:
        held = served(queue, first.rollout, eve)
        labels.commit_label(
            assignment=held,
            reviewer=eve,
            token=held.lease_token or uuid4(),
            client_key=uuid4(),
            new=NewLabel(answer=Answer.INCORRECT, earliest_wrong_step=1, note="see 1"),
        )
    return [first.rollout.uid for first in firsts]


def served(queue: Queue, rollout: Rollout, reviewer: User) -> Assignment:
    """The rollout's item; the reviewer says of those served before it that they cannot tell."""
    while (taken := items.take(queue, reviewer)).rollout_id != rollout.pk:
        items.commit(taken, reviewer, Answer.CANNOT_TELL)
    return taken


def decision(uid: str, **changes: Any) -> dict[str, Any]:
    return {"rollout": uid, "answer": "incorrect", "reason": "7 + 8 is not 16"} | changes


def test_a_disagreement_is_shown_with_both_labels(
    caller: Caller, queue: Queue, path: str, ben: User, eve: User
) -> None:
    assert caller.get(f"{path}/disagreements").json() == {"total": 0, "disagreements": []}
    (uid,) = disagree(queue, ben, eve)
    answer = caller.get(f"{path}/disagreements").json()
    assert answer["total"] == 1
    (found,) = answer["disagreements"]
    assert (found["rollout"], found["problem"], found["references"]) == (uid, "7 + 8", ["15"])
    assert found["steps"][0]["number"] == 1
    assert found["awaits_review"] is True
    first, second = found["labels"]
    assert {first["reviewer"], second["reviewer"]} == {"ben", "eve"}
    by_eve = first if first["reviewer"] == "eve" else second
    assert (by_eve["answer"], by_eve["earliest_wrong_step"], by_eve["note"]) == (
        "incorrect",
        1,
        "see 1",
    )


def test_a_decision_settles_it(
    caller: Caller, queue: Queue, path: str, ben: User, eve: User
) -> None:
    (uid,) = disagree(queue, ben, eve)
    answer = caller.post(f"{path}/adjudications", decision(uid, earliest_wrong_step=1))
    assert answer.status_code == 201, answer.content
    stored = Adjudication.objects.get()
    body = answer.json()
    assert (body["id"], body["rollout"], body["answer"]) == (stored.pk, uid, "incorrect")
    assert (body["earliest_wrong_step"], body["no_wrong_step"]) == (1, False)
    assert body["decided_by"] == stored.decided_by.username
    assert caller.get(f"{path}/disagreements").json()["total"] == 0


def test_nobody_decides_about_their_own_label(
    project: Project, queue: Queue, path: str, ben: User, eve: User
) -> None:
    (uid,) = disagree(queue, ben, eve)
    Membership.objects.create(project=project, user=ben, role=Role.LEAD)
    caller = Caller(builders.make_token(project, "lead", owner=ben))
    refused(caller.post(f"{path}/adjudications", decision(uid)), 409, "conflict")


def test_without_a_disagreement_there_is_nothing_to_decide(
    caller: Caller, queue: Queue, path: str
) -> None:
    drawn = queue.rule.run.rollouts.exclude(draws=None).earliest("pk")
    undrawn = queue.rule.run.rollouts.filter(draws=None).earliest("pk")
    for rollout in (drawn, undrawn):
        refused(caller.post(f"{path}/adjudications", decision(rollout.uid)), 409, "conflict")


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"rollout": "nowhere"}, "unknown_rollout", "rollout"),
        ({"rollout": 7}, "invalid_body", "rollout"),
        ({"answer": "right"}, "invalid_body", "answer"),
        ({"reason": ""}, "invalid_body", "reason"),
        ({"reason": " "}, "invalid_label", "reason"),
        ({"reason": "r" * 10_001}, "invalid_body", "reason"),
        ({"earliest_wrong_step": 0}, "invalid_body", "earliest_wrong_step"),
        ({"earliest_wrong_step": 10**30}, "invalid_body", "earliest_wrong_step"),
        ({"earliest_wrong_step": 99}, "invalid_label", "earliest_wrong_step"),
        ({"earliest_wrong_step": 1, "no_wrong_step": True}, "invalid_label", "no_wrong_step"),
        ({"decided_by": "ada"}, "invalid_body", "decided_by"),
    ],
)
def test_a_bad_decision_is_refused(
    caller: Caller,
    queue: Queue,
    path: str,
    ben: User,
    eve: User,
    changes: dict[str, Any],
    code: str,
    field: str,
) -> None:
    (uid,) = disagree(queue, ben, eve)
    response = caller.post(f"{path}/adjudications", decision(uid) | changes)
    refused(response, 400, code, field)
    assert not Adjudication.objects.exists()


def test_another_runs_rollout_does_not_exist_here(caller: Caller, path: str) -> None:
    other = builders.make_run()
    builders.store_steps(other, [1], groups=1)
    uid = other.rollouts.earliest("pk").uid
    refused(caller.post(f"{path}/adjudications", decision(uid)), 400, "unknown_rollout", "rollout")


def test_disagreements_cost_as_many_queries_for_six_as_for_two(
    caller: Caller, queue: Queue, path: str, ben: User, eve: User
) -> None:
    uids = disagree(queue, ben, eve, 6)
    caller.get(path)
    costs = []
    for settled in (uids[:4], []):
        with CaptureQueriesContext(connection) as queries:
            caller.get(f"{path}/disagreements")
        costs.append(len(queries))
        for uid in settled:
            caller.post(f"{path}/adjudications", decision(uid))
    assert caller.get(f"{path}/disagreements").json()["total"] == 2
    assert costs[0] == costs[1]
