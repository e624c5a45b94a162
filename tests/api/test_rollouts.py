"""POST runs/{id}/rollouts: what is refused, and that a repeat is harmless."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from django.db import connection, connections
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from review.accounts.models import Project
from review.rollouts.models import CellCount, Group, Rollout, StepSummary
from review.runs.models import Run
from review.verifiers.models import Verdict
from tests import builders
from tests.api.calls import Caller, group, json_bytes, refused, rollout, rollouts_path

VERDICT = rollout()["verdicts"][0]

BAD_ROLLOUTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown prompt": ({"prompt": "p2"}, "unknown_prompt", "prompt"),
    "number for a uid": ({"uid": 7}, "invalid_body", "uid"),
    "empty uid": ({"uid": ""}, "invalid_body", "uid"),
    "long uid": ({"uid": "u" * 201}, "invalid_body", "uid"),
    "text for a step": ({"step": "1"}, "invalid_body", "step"),
    "negative step": ({"step": -1}, "invalid_body", "step"),
    "step beyond all counting": ({"step": 10**12}, "invalid_body", "step"),
    "whole float for a step": ({"step": 1.0}, "invalid_body", "step"),
    "huge integer": ({"tokens": "bare:" + "9" * 5000}, "invalid_body", "tokens"),
    "unknown field": ({"advantage": 1.0}, "invalid_body", "advantage"),
    "no message": ({"messages": []}, "invalid_body", "messages"),
    "message without content": (
        {"messages": [{"role": "a"}]},
        "invalid_body",
        "messages[0].content",
    ),
    "reward out of range": ({"reward": "bare:1e999"}, "invalid_body", "reward"),
    "reward as text": ({"reward": "1.0"}, "invalid_body", "reward"),
    "table version 0": ({"table_version": 0}, "invalid_body", "table_version"),
    "no verdict": ({"verdicts": []}, "missing_verdict", "verdicts"),
    "verdict of another version": (
        {"verdicts": [VERDICT | {"version": "2"}]},
        "unknown_verifier",
        "verdicts[0].verifier",
    ),
    "verdict twice": ({"verdicts": [VERDICT, VERDICT]}, "unknown_verifier", "verdicts"),
    "unknown outcome": (
        {"verdicts": [VERDICT | {"outcome": "maybe"}]},
        "invalid_body",
        "verdicts[0].outcome",
    ),
    "score over 1": ({"verdicts": [VERDICT | {"score": 1.5}]}, "invalid_body", "verdicts[0].score"),
    "path with a line's end": (
        {"verdicts": [VERDICT | {"path": "boxed\n"}]},
        "invalid_body",
        "verdicts[0].path",
    ),
    "form with a separator": (
        {"verdicts": [VERDICT | {"form": "a|b"}]},
        "invalid_body",
        "verdicts[0].form",
    ),
}


@pytest.mark.parametrize("name", BAD_ROLLOUTS)
def test_a_bad_rollout_is_named_and_nothing_of_its_batch_is_stored(
    caller: Caller, run: Run, name: str
) -> None:
    changes, code, field = BAD_ROLLOUTS[name]
    batch = [rollout(group="good"), rollout(**changes)]

    response = caller.post(rollouts_path(run), {"rollouts": batch})

    refused(response, 400, code, f"rollouts[1].{field}")
    assert not Rollout.objects.exists()
    assert not Group.objects.exists()


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_reward_that_is_no_number_is_refused(caller: Caller, run: Run, number: str) -> None:
    batch = [rollout(), rollout(reward=f"bare:{number}")]
    response = caller.post(rollouts_path(run), {"rollouts": batch})
    refused(response, 400, "invalid_body", "body")
    assert not Rollout.objects.exists()


@pytest.mark.parametrize("missing", ["uid", "prompt", "group", "step", "policy", "messages"])
def test_a_rollout_without_one_of_its_fields_is_refused(
    caller: Caller, run: Run, missing: str
) -> None:
    batch = [rollout(), rollout()]
    del batch[1][missing]
    response = caller.post(rollouts_path(run), {"rollouts": batch})
    refused(response, 400, "invalid_body", f"rollouts[1].{missing}")
    assert not Rollout.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "rollouts"),
        ({"rollouts": None}, "rollouts"),
        ({"rollouts": {}}, "rollouts"),
        ({"rollouts": [], "dry_run": True}, "dry_run"),
        ([], "body"),
    ],
)
def test_a_body_of_another_shape_is_refused(
    caller: Caller, run: Run, body: object, field: str
) -> None:
    refused(caller.post(rollouts_path(run), body), 400, "invalid_body", field)


def test_an_unknown_run_is_refused(caller: Caller, run: Run) -> None:
    response = caller.post(f"runs/{uuid4()}/rollouts", {"rollouts": [rollout()]})
    refused(response, 404, "not_found")


def test_another_projects_run_is_refused_and_its_prompts_do_not_exist_here(
    caller: Caller, run: Run
) -> None:
    theirs = builders.make_run()
    builders.make_prompt(theirs, uid="theirs")

    refused(caller.post(rollouts_path(theirs), {"rollouts": [rollout()]}), 404, "not_found")
    response = caller.post(rollouts_path(run), {"rollouts": [rollout(prompt="theirs")]})
    refused(response, 400, "unknown_prompt", "rollouts[0].prompt")
    assert not Rollout.objects.exists()


def test_a_uid_twice_in_a_batch_is_refused(caller: Caller, run: Run) -> None:
    response = caller.post(rollouts_path(run), {"rollouts": [rollout(uid="r"), rollout(uid="r")]})
    refused(response, 400, "duplicate_uid", "uid")
    assert not Rollout.objects.exists()


@pytest.mark.parametrize("changes", [{"step": 2}, {"prompt": "p2"}])
def test_a_group_of_two_prompts_or_steps_is_refused(
    caller: Caller, run: Run, changes: dict[str, Any]
) -> None:
    builders.make_prompt(run, uid="p2")
    response = caller.post(rollouts_path(run), {"rollouts": [rollout(), rollout(**changes)]})
    refused(response, 400, "split_group", "rollouts[1].group")
    assert not Rollout.objects.exists()


def test_the_rest_of_a_stored_group_is_refused(caller: Caller, run: Run) -> None:
    whole = group("g")
    assert caller.post(rollouts_path(run), {"rollouts": whole[:2]}).status_code == 200
    response = caller.post(rollouts_path(run), {"rollouts": whole})
    refused(response, 400, "split_group", "rollouts[2].group")
    assert Rollout.objects.count() == 2


def test_a_new_rollout_of_a_complete_step_is_refused_and_a_repeated_one_is_not(
    caller: Caller, run: Run
) -> None:
    first = {"rollouts": group("g", step=3)}
    assert caller.post(rollouts_path(run), first).status_code == 200
    assert caller.patch(f"runs/{run.pk}", {"completed_step": 3}).status_code == 200

    response = caller.post(rollouts_path(run), {"rollouts": group("late", step=3)})

    refused(response, 409, "step_closed", "rollouts[0].step")
    assert caller.post(rollouts_path(run), first).json() == {"received": 4}
    assert Rollout.objects.count() == 4


def test_lines_of_json_are_taken_and_a_bad_line_is_named(caller: Caller, run: Run) -> None:
    lines = [json_bytes(row) for row in group("g")]

    def post(*lines: bytes) -> Any:
        data = b"\n".join(lines)
        return caller.send("POST", rollouts_path(run), data, content_type="application/x-ndjson")

    refused(post(*lines, b"{oops}"), 400, "invalid_body", "rollouts[4]")
    refused(post(*lines, b"", b'{"uid": 1}'), 400, "invalid_body", "rollouts[5].uid")
    assert not Rollout.objects.exists()
    assert post(*lines, b"").json() == {"received": 4}
    assert Rollout.objects.count() == 4


def test_nul_characters_are_stored_as_replacement_characters(caller: Caller, run: Run) -> None:
    text = "a\x00b \\u0000 \\\x00"
    verdict = VERDICT | {"extracted": "1\x005", "detail": "\x00"}
    row = rollout(
        uid="nul\x00", messages=[{"role": "us\x00er", "content": text}], verdicts=[verdict]
    )

    assert caller.post(rollouts_path(run), {"rollouts": [row]}).status_code == 200

    stored = Rollout.objects.get()
    assert stored.uid == "nul\ufffd"
    assert stored.messages == [{"role": "us\ufffder", "content": "a\ufffdb \\u0000 \\\ufffd"}]
    assert stored.verdicts.get().extracted == "1\ufffd5"


@pytest.mark.parametrize("escape", [rb"\ud800", rb"\udc00", rb"\ud800\ud800", rb"\ud800x"])
def test_a_lone_surrogate_is_refused(caller: Caller, run: Run, escape: bytes) -> None:
    data = json_bytes({"rollouts": [rollout(policy="HERE")]}).replace(b"HERE", escape + b"abcdefgh")
    response = caller.send("POST", rollouts_path(run), data)
    refused(response, 400, "invalid_body")
    assert not Rollout.objects.exists()


def test_a_batch_sent_twice_is_stored_once_and_answered_the_same(caller: Caller, run: Run) -> None:
    batch = {"rollouts": group("a") + group("b")}
    answers = [caller.post(rollouts_path(run), batch) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json() == {"received": 8}
    assert Rollout.objects.count() == Verdict.objects.count() == 8
    assert_counts_are_exact(run)


def test_of_an_overlapping_batch_the_new_groups_are_stored(caller: Caller, run: Run) -> None:
    caller.post(rollouts_path(run), {"rollouts": group("a") + group("b")})
    response = caller.post(rollouts_path(run), {"rollouts": group("b") + group("c", step=2)})
    assert response.json() == {"received": 8}
    assert Rollout.objects.count() == 12
    assert set(Group.objects.values_list("uid", flat=True)) == {"a", "b", "c"}
    assert_counts_are_exact(run)


@pytest.mark.django_db(transaction=True)
def test_the_same_batch_from_four_threads_at_once_is_stored_once(caller: Caller, run: Run) -> None:
    batches = [{"rollouts": group(f"g{k}", step=k)} for k in range(5)]

    def send_all(_: int) -> list[tuple[int, Any]]:
        try:
            answers = [caller.post(rollouts_path(run), batch) for batch in batches]
            return [(answer.status_code, answer.json()) for answer in answers]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        answers = [answer for part in threads.map(send_all, range(4)) for answer in part]

    assert answers == [(200, {"received": 4})] * 20
    assert Rollout.objects.count() == Verdict.objects.count() == 20
    assert_counts_are_exact(run)


def assert_counts_are_exact(run: Run) -> None:
    """The kept counts say what counting the rollouts says."""
    stored = Rollout.objects.filter(run=run)
    assert CellCount.objects.filter(run=run).aggregate(n=Sum("rollouts"))["n"] == stored.count()
    for row in CellCount.objects.filter(run=run):
        counted = stored.filter(
            step__gte=row.block * run.step_block,
            step__lt=(row.block + 1) * run.step_block,
            cell=row.cell,
            policy=row.policy,
        )
        assert row.rollouts == counted.count()
    for summary in StepSummary.objects.filter(run=run):
        of_step = stored.filter(step=summary.step)
        assert summary.rollouts == of_step.count()
        assert summary.accepted == of_step.filter(cell__key__startswith="pass").count()
        left_out = of_step.filter(table_version__isnull=False, reward=None)
        assert summary.abstained == left_out.count()


def test_the_counts_are_exact_over_several_batches_blocks_and_policies(
    caller: Caller, project: Project
) -> None:
    run = builders.make_run(project, step_block=2)
    builders.make_prompt(run)
    for step in range(5):
        rows = [
            builders.make_rollout(text, group=f"g{step}", step=step, policy=f"step-{step // 3}")
            for text in builders.RESPONSES
        ]
        batch = [msgspec.to_builtins(row) for row in rows]
        batch[0] |= {"reward": None, "table_version": step + 1}
        assert caller.post(rollouts_path(run), {"rollouts": batch}).status_code == 200
    assert_counts_are_exact(run)
    assert StepSummary.objects.filter(run=run, abstained=1).count() == 5
    assert StepSummary.objects.get(run=run, step=4).table_version == 5


def queries_of(call: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as queries:
        call()
    return len(queries)


def test_twenty_groups_cost_as_many_queries_as_two(caller: Caller, run: Run) -> None:
    def store(groups: range) -> None:
        rows = [row for number in groups for row in group(f"g{number}")]
        assert caller.post(rollouts_path(run), {"rollouts": rows}).status_code == 200

    store(range(1))
    few = queries_of(lambda: store(range(10, 12)))
    many = queries_of(lambda: store(range(20, 40)))
    assert few == many
