"""Rollouts of several turns, with tool calls, and with steps of the source's own."""

from typing import Any

import pytest

from review.accounts.models import Project
from review.core.models import AuditEvent
from review.labeling.services.resegmentation import recut
from review.rollouts.models import Rollout
from review.rollouts.queries import last_words, steps_of, turns_of
from review.runs.models import Run
from tests import builders
from tests.api.calls import Caller, refused, rollout, rollouts_path
from tests.api.test_runs import RUN
from tests.trainer import payloads
from trainer.wire import MessagePayload, ToolCallPayload

CALL = {"id": "c1", "name": "python", "arguments": '{"code": "print(7 + 8)"}'}
TURNS: list[dict[str, Any]] = [
    {"role": "system", "content": "Be terse.\n\nUse tools."},
    {"role": "user", "content": "7 + 8"},
    {"role": "assistant", "content": "I add.\n\nThen I look.", "tool_calls": [CALL]},
    {"role": "tool", "name": "python", "call_id": "c1", "content": "15\n\n"},
    {"role": "assistant", "content": "So \\boxed{15}"},
]


def store(caller: Caller, run: Run, **changes: Any) -> Rollout:
    response = caller.post(rollouts_path(run), {"rollouts": [rollout(uid="r", **changes)]})
    assert response.status_code == 200, response.content
    return Rollout.objects.get(uid="r")


def test_steps_are_numbered_through_what_the_assistant_wrote(caller: Caller, run: Run) -> None:
    stored = store(caller, run, messages=TURNS)
    assert stored.messages == TURNS
    assert [(step.number, step.text) for step in steps_of(stored)] == [
        (1, "I add."),
        (2, "Then I look."),
        (3, "So \\boxed{15}"),
    ]
    _, _, asks, answers, _ = turns_of(stored)
    assert [(call.id, call.name) for call in asks.tool_calls] == [("c1", "python")]
    assert (answers.name, answers.call_id, answers.steps) == ("python", "c1", [])


def test_what_the_trainers_client_sends_of_a_conversation_is_stored_as_it_was(
    caller: Caller, run: Run
) -> None:
    call = ToolCallPayload(name="python", arguments='{"code": "print(7 + 8)"}', id="c1")
    sent = payloads.make_rollout(
        messages=(
            MessagePayload("assistant", "I add. Then I look.", tool_calls=(call,)),
            MessagePayload("tool", "15", name="python", call_id="c1"),
            MessagePayload("assistant", "So \\boxed{15}"),
        ),
        steps=("I add. ", "Then I look.", "So \\boxed{15}"),
    ).to_json()
    run.segmenter = "source"
    run.save()
    stored = store(caller, run, messages=sent["messages"], steps=sent["steps"])
    asks, answers, _ = turns_of(stored)
    assert [(made.id, made.name) for made in asks.tool_calls] == [("c1", "python")]
    assert (answers.name, answers.call_id) == ("python", "c1")
    assert [step.text for step in steps_of(stored)] == ["I add.", "Then I look.", "So \\boxed{15}"]


def test_the_answer_is_the_assistants_last_word(caller: Caller, run: Run) -> None:
    after = {"role": "tool", "content": "the sandbox is closed \\boxed{7}"}
    assert last_words(store(caller, run, messages=[*TURNS, after])) == "So \\boxed{15}"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tool_calls": [CALL | {"name": ""}]}, "tool_calls[0].name"),
        ({"tool_calls": [CALL | {"arguments": {"code": 1}}]}, "tool_calls[0].arguments"),
        ({"tool_calls": [CALL | {"arguments": "x" * 200_001}]}, "tool_calls[0].arguments"),
        ({"tool_calls": [CALL | {"type": "function"}]}, "tool_calls[0].type"),
        ({"tool_calls": [CALL] * 101}, "tool_calls"),
        ({"call_id": "c" * 201}, "call_id"),
        ({"name": "n" * 201}, "name"),
    ],
)
def test_a_bad_call_of_a_tool_is_named(
    caller: Caller, run: Run, changes: dict[str, Any], field: str
) -> None:
    bad = rollout(messages=[TURNS[2] | changes])
    response = caller.post(rollouts_path(run), {"rollouts": [bad]})
    refused(response, 400, "invalid_body", f"rollouts[0].messages[0].{field}")


def test_a_conversation_without_end_is_refused(caller: Caller, run: Run) -> None:
    response = caller.post(rollouts_path(run), {"rollouts": [rollout(messages=TURNS * 101)]})
    refused(response, 400, "invalid_body", "rollouts[0].messages")


def test_the_sources_own_steps_are_kept_and_used_where_the_run_says_so(
    caller: Caller, project: Project
) -> None:
    run = Run.objects.get(pk=caller.post("runs", RUN | {"segmenter": "source"}).json()["id"])
    builders.make_prompt(run)
    own = ["I add.\n\nThen", "I look.", "So", "\\boxed{15}"]
    stored = store(caller, run, messages=TURNS, steps=own)
    assert [step.text for step in steps_of(stored)] == own
    path = f"runs/{run.pk}"
    changed = caller.patch(path, {"segmenter": "blank_line"}).json()
    assert (changed["segmenter"], changed["rollouts_to_recut"]) == ("blank_line", 1)
    assert recut(run=run)
    stored.refresh_from_db()
    assert len(steps_of(stored)) == 3
    caller.patch(path, {"segmenter": "source"})
    assert recut(run=run)
    stored.refresh_from_db()
    assert [step.text for step in steps_of(stored)] == own
    assert caller.get(path).json()["rollouts_to_recut"] == 0


def test_a_rollout_without_steps_of_its_own_is_cut_all_the_same(
    caller: Caller, project: Project
) -> None:
    run = builders.make_run(project, segmenter="source")
    builders.make_prompt(run)
    assert len(steps_of(store(caller, run, messages=TURNS))) == 3


@pytest.mark.parametrize(
    ("own", "field"),
    [
        (["I add."], "steps"),
        (["I add.", "Then we look.", "So \\boxed{15}"], "steps[1]"),
        (["I add.", "\n", "Then I look.", "So \\boxed{15}"], "steps[1]"),
        (["I add.\n\nThen I look. So \\boxed{15}"], "steps[0]"),
    ],
)
def test_steps_that_are_not_the_text_are_refused_and_nothing_is_stored(
    caller: Caller, run: Run, own: list[str], field: str
) -> None:
    batch = [rollout(group="good"), rollout(messages=TURNS, steps=own)]
    response = caller.post(rollouts_path(run), {"rollouts": batch})
    refused(response, 400, "invalid_steps", f"rollouts[1].{field}")
    assert not Rollout.objects.exists()


def test_too_many_steps_are_refused(caller: Caller, run: Run) -> None:
    bad = rollout(messages=[{"role": "assistant", "content": "a " * 1_001}], steps=["a"] * 1_001)
    response = caller.post(rollouts_path(run), {"rollouts": [bad]})
    refused(response, 400, "invalid_body", "rollouts[0].steps")


def test_an_unknown_rule_is_refused_at_registration_and_later(caller: Caller, run: Run) -> None:
    refused(caller.post("runs", RUN | {"segmenter": "words"}), 400, "invalid_body", "segmenter")
    response = caller.patch(f"runs/{run.pk}", {"segmenter": "words"})
    refused(response, 400, "invalid_body", "segmenter")


def test_the_same_rule_again_says_nothing_new(caller: Caller, run: Run) -> None:
    answer = caller.patch(f"runs/{run.pk}", {"segmenter": "auto"}).json()
    assert answer["rollouts_to_recut"] == 0
    assert not AuditEvent.objects.filter(action="segmenter changed").exists()
