"""POST audits/{id}/picks."""

from typing import Any
from uuid import uuid4

import pytest

from review.accounts.models import Project
from review.flows import ingest
from review.labeling.models import Assignment, Queue
from review.rollouts.models import Rollout
from review.sampling.models import Pick, RuleState, Wave, WaveState
from tests import builders
from tests.api.calls import Caller, make_slice, refused
from tests.labeling import items


@pytest.fixture
def queue(project: Project) -> Queue:
    """Of an audit with one open window of 64 rollouts, 16 of them drawn."""
    return items.open_queue(project, budget=16, waves=1)


@pytest.fixture
def path(queue: Queue) -> str:
    return f"audits/{queue.rule.pk}/picks"


def undrawn(queue: Queue) -> list[str]:
    rows = Rollout.objects.filter(run=queue.rule.run, draws=None).order_by("pk")
    return list(rows.values_list("uid", flat=True))


def test_picks_join_the_queue_and_what_is_taken_is_left_out(
    caller: Caller, queue: Queue, path: str
) -> None:
    builders.store_steps(queue.rule.run, [3], groups=1)
    outside = Rollout.objects.filter(step=3).values_list("uid", flat=True)[0]
    drawn = Rollout.objects.exclude(draws=None).values_list("uid", flat=True)[0]
    first, second, *_ = undrawn(queue)
    uids = [first, second, drawn, outside, first]
    answer = caller.post(path, {"cause": "lead", "rollouts": uids, "note": "odd\x00"})
    assert answer.json() == {"picked": 2, "left_out": 2}
    again = caller.post(path, {"cause": "lead", "rollouts": uids})
    assert again.json() == {"picked": 0, "left_out": 4}
    picks = Pick.objects.order_by("rollout")
    assert [(pick.rollout.uid, pick.cause, pick.note) for pick in picks] == [
        (first, "lead", "odd\ufffd"),
        (second, "lead", "odd\ufffd"),
    ]
    assert Assignment.objects.filter(cause="pick").count() == 2


def test_an_appeal_may_come_from_a_trainer_and_nothing_else_may(
    queue: Queue, path: str, project: Project
) -> None:
    trainer = Caller(builders.make_token(project, "ingest"))
    body = {"rollouts": undrawn(queue)[:1]}
    assert trainer.post(path, body | {"cause": "appeal"}).json() == {"picked": 1, "left_out": 0}
    refused(trainer.post(path, body | {"cause": "lead"}), 403, "not_allowed")
    refused(trainer.post(path, {"cause": "reward", "n": 1}), 403, "not_allowed")
    assert Pick.objects.get().cause == "appeal"


def test_the_newest_of_a_slice_are_picked(
    caller: Caller, queue: Queue, path: str, project: Project
) -> None:
    part = make_slice(project, "outcome", "is", "pass")
    body = {"cause": "lead", "slice": str(part.pk), "n": 3}
    assert caller.post(path, body).json() == {"picked": 3, "left_out": 0}
    passed = Rollout.objects.filter(verdicts__outcome="pass", draws=None).order_by("-step", "-pk")
    picked = set(Pick.objects.values_list("rollout", flat=True))
    assert picked == set(passed.values_list("pk", flat=True)[:3])
    rest = passed.count() - 3
    assert caller.post(path, body | {"n": 1000}).json() == {"picked": rest, "left_out": 0}
    assert caller.post(path, body).json() == {"picked": 0, "left_out": 0}


def test_a_slice_that_cuts_the_runs_blocks_is_refused(caller: Caller, project: Project) -> None:
    run = builders.make_run(project, step_block=2)
    builders.store_steps(run, [2, 3])
    rule = builders.open_audit(run, first_step=2, last_step=3)
    part = make_slice(project, "step", "at_least", 3)
    body = {"cause": "lead", "slice": str(part.pk), "n": 3}
    refused(caller.post(f"audits/{rule.pk}/picks", body), 400, "invalid_slice", "slice")


def test_the_reward_steers_only_once_chance_has_drawn_enough(
    caller: Caller, queue: Queue, path: str
) -> None:
    refused(caller.post(path, {"cause": "reward", "n": 5}), 409, "too_few_labels")


def test_what_is_worth_most_to_the_reward_is_chosen_by_the_server(
    caller: Caller, project: Project
) -> None:
    run = builders.make_run(project)
    for uid in (f"p{number}" for number in range(20)):
        builders.make_prompt(run, uid=uid)
        rollouts = [
            builders.make_rollout(text, prompt=uid, group=uid) for text in builders.RESPONSES
        ]
        ingest.store_batch(run=run, batch=rollouts)
    ingest.finish_step(run=run, step=1)
    rule = builders.open_audit(run, window_steps=1, last_step=1, budget=8, waves=1)
    Wave.objects.update(state=WaveState.CLOSED, planned=300)
    answer = caller.post(f"audits/{rule.pk}/picks", {"cause": "reward", "n": 3})
    assert answer.json() == {"picked": 3, "left_out": 0}
    assert set(Pick.objects.values_list("cause", flat=True)) == {"reward"}


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"rollouts": ["x"]}, "invalid_body", "cause"),
        ({"cause": "cancelled", "rollouts": ["x"]}, "invalid_body", "cause"),
        ({"cause": "lead"}, "invalid_body", "rollouts"),
        ({"cause": "lead", "rollouts": []}, "invalid_body", "rollouts"),
        ({"cause": "lead", "rollouts": "x"}, "invalid_body", "rollouts"),
        ({"cause": "lead", "rollouts": ["x"] * 1001}, "invalid_body", "rollouts"),
        ({"cause": "lead", "rollouts": ["x", "y" * 201]}, "invalid_body", "rollouts[1]"),
        ({"cause": "lead", "rollouts": ["x"]}, "unknown_rollout", "rollouts[0]"),
        ({"cause": "lead", "rollouts": ["x"], "n": 1}, "invalid_body", "n"),
        (
            {"cause": "lead", "rollouts": ["x"], "slice": str(uuid4()), "n": 1},
            "invalid_body",
            "slice",
        ),
        ({"cause": "lead", "slice": str(uuid4())}, "invalid_body", "n"),
        ({"cause": "lead", "slice": str(uuid4()), "n": 0}, "invalid_body", "n"),
        ({"cause": "lead", "slice": str(uuid4()), "n": 1001}, "invalid_body", "n"),
        ({"cause": "lead", "slice": str(uuid4()), "n": 1}, "invalid_body", "slice"),
        ({"cause": "lead", "slice": "x", "n": 1}, "invalid_body", "slice"),
        ({"cause": "reward"}, "invalid_body", "n"),
        ({"cause": "reward", "rollouts": ["x"], "n": 1}, "invalid_body", "rollouts"),
        ({"cause": "lead", "rollouts": ["x"], "note": "n" * 10_001}, "invalid_body", "note"),
    ],
)
def test_a_bad_pick_is_refused(
    caller: Caller, path: str, body: dict[str, Any], code: str, field: str
) -> None:
    refused(caller.post(path, body), 400, code, field)
    assert not Pick.objects.exists()


def test_another_projects_slice_and_rollouts_do_not_exist_here(caller: Caller, path: str) -> None:
    theirs = builders.make_run()
    builders.store_steps(theirs, [1], groups=1)
    part = make_slice(theirs.project, "probe", "is", False)
    body = {"cause": "lead", "slice": str(part.pk), "n": 1}
    refused(caller.post(path, body), 400, "invalid_body", "slice")
    body = {"cause": "lead", "rollouts": [theirs.rollouts.earliest("pk").uid]}
    refused(caller.post(path, body), 400, "unknown_rollout", "rollouts[0]")


def test_nothing_is_picked_of_an_audit_that_does_not_go_on(
    caller: Caller, queue: Queue, path: str
) -> None:
    body = {"cause": "lead", "rollouts": undrawn(queue)[:1]}
    for state in (RuleState.DRAFT, RuleState.FINISHED):
        queue.rule.state = state
        queue.rule.save()
        refused(caller.post(path, body), 409, "conflict")
