"""Server-side scoring: the run's own verifiers, its published table, nothing stored."""

import json
from typing import Any

import pytest
from django.http import HttpResponse

from review.accounts.models import Project
from review.api.v1 import rewards
from review.calibration.models import RewardTable
from review.flows import scoring
from review.runs.models import Run
from review.verifiers.built_in import register_built_in
from tests import builders
from tests.api.calls import Caller, refused
from tests.trainer.test_reward_table import make_entry, make_table
from trainer.verifiers import build

RIGHT, WRONG, HEDGE = r"so \boxed{15}", r"so \boxed{16}", r"maybe \boxed{15} or \boxed{16}"
PASSED = 1005 / 1024
PROMPT = "<|user|>7 + 8<|assistant|>"


def publish(run: Run, **changes: Any) -> None:
    body = json.dumps(make_table(run=str(run.pk), **changes))
    RewardTable.objects.create(
        run=run,
        version=3,
        rule="demote_or_abstain",
        valid_from_step=9,
        valid_to_step=18,
        labels=96,
        body=body,
        digest="0",
        preview={},
        published_at=run.created_at,
    )


def rollout(response: str, **changes: Any) -> dict[str, Any]:
    item = {"prompt": "7 + 8", "response": response, "references": ["15"], "domain": "arithmetic"}
    return item | changes


def score(caller: Caller, run: Run, *rollouts: dict[str, Any]) -> list[dict[str, Any]]:
    answer = caller.post(f"runs/{run.pk}/rewards", {"rollouts": rollouts})
    assert answer.status_code == 200, answer.content
    scored: list[dict[str, Any]] = json.loads(answer.content)["rewards"]
    return scored


def query(*responses: str, labels: Any = None, end: str = "<|im_end|>") -> dict[str, Any]:
    return {
        "query": [PROMPT + response + end for response in responses],
        "prompts": [PROMPT] * len(responses),
        "labels": ["15"] * len(responses) if labels is None else labels,
    }


def lists(answer: HttpResponse) -> dict[str, Any]:
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = json.loads(answer.content)
    return found


def test_without_a_table_a_reward_is_the_raw_verdict(caller: Caller, run: Run) -> None:
    passed, failed, undecided = score(
        caller, run, rollout(RIGHT), rollout(WRONG), rollout(RIGHT, references=[])
    )
    assert (passed["reward"], passed["verdict"], passed["level"]) == (1.0, "pass", "raw")
    assert (failed["reward"], failed["verdict"]) == (0.0, "fail")
    assert (undecided["reward"], undecided["value"]) == (None, 0.0)
    assert undecided["verdict"] == "undecided"
    assert undecided["detail"]
    assert passed["table_version"] is None


def test_rewards_are_the_tables_with_the_share_of_a_group(caller: Caller, run: Run) -> None:
    publish(run)
    group = [rollout(text, group="g") for text in (RIGHT, RIGHT, WRONG, HEDGE)]
    scored = score(caller, run, *group, rollout(RIGHT), rollout(RIGHT, domain="algebra"))
    assert [row["reward"] for row in scored] == [PASSED, PASSED, 0.0, 1 / 1024, 1000 / 1024, 0.75]
    assert scored[0]["cell"] == "pass/boxed/integer/1|s-|a2|p0|arithmetic"
    assert {row["table_version"] for row in scored} == {3}
    assert [row["level"] for row in scored][-2:] == ["model", "verdict-probe"]


def test_a_settled_answer_is_paid_by_its_label(caller: Caller, run: Run) -> None:
    publish(run, classes={"p1": {"15": 0.5}})
    settled, hacked, other = score(
        caller,
        run,
        rollout(RIGHT, prompt_uid="p1"),
        rollout(RIGHT, prompt_uid="p1", probe=True),
        rollout(RIGHT, prompt_uid="p2"),
    )
    assert (settled["reward"], settled["level"]) == (0.5, "class")
    assert hacked["level"] != "class"
    assert "|p1|" in hacked["cell"]
    assert other["level"] != "class"


def test_settled_answers_are_looked_up_in_the_form_of_the_table(caller: Caller, run: Run) -> None:
    publish(run, classes={"p1": {"15": 0.5, "150": 1.0}})
    Run.objects.filter(pk=run.pk).update(normaliser="squad-1")  # to which 15.0 is 150
    (settled,) = score(caller, run, rollout(r"so \boxed{15.0}", prompt_uid="p1"))
    assert (settled["reward"], settled["level"]) == (0.5, "class")


def test_a_table_may_leave_a_rollout_out(caller: Caller, run: Run) -> None:
    entry = make_entry(0.0, level="verdict", abstain=True)
    publish(run, fallback={"pass": entry, "fail": entry, "undecided": entry}, cells={})
    (row,) = score(caller, run, rollout(RIGHT))
    assert (row["reward"], row["value"], row["verdict"]) == (None, 0.0, "pass")


def test_openrlhf_is_answered_in_its_own_words(caller: Caller, run: Run) -> None:
    path = f"runs/{run.pk}/rewards?domain=arithmetic"
    publish(run)
    answer = lists(caller.post(path, query(RIGHT, WRONG, HEDGE)))
    assert answer == {
        "rewards": [1000 / 1024, 0.0, 1 / 1024],
        "scores": [1.0, 0.0, 1.0],
        "extra_logs": {
            "undecided": [0.0] * 3,
            "abstained": [0.0] * 3,
            "table_version": [3.0] * 3,
        },
    }
    labels: list[Any] = [15, ["16", "15"], None]
    assert lists(caller.post(path, query(RIGHT, RIGHT, RIGHT, labels=labels)))["scores"] == [
        1,
        1,
        0,
    ]


def test_a_query_that_is_not_its_prompts_is_undecided(caller: Caller, run: Run) -> None:
    body = query(RIGHT) | {"prompts": ["another prompt"]}
    answer = lists(caller.post(f"runs/{run.pk}/rewards", body))
    assert (answer["rewards"], answer["extra_logs"]["undecided"]) == ([0.0], [1.0])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "rollouts"),
        ({"query": ["a"], "prompts": ["a"]}, "rollouts"),
        (query(RIGHT) | {"labels": []}, "query"),
        (query(RIGHT) | {"rollouts": []}, "rollouts"),
        (query(RIGHT, labels=[{"a": 1}]), "labels[0]"),
        (query(RIGHT, labels=[True]), "labels[0]"),
        (query(RIGHT) | {"url": "http://x"}, "url"),
        ({"rollouts": [rollout(RIGHT, domain="a|b")]}, "rollouts[0].domain"),
        ({"rollouts": [rollout(RIGHT, domain="a\n")]}, "rollouts[0].domain"),
        ({"rollouts": [rollout("x" * 1_000_001)]}, "rollouts[0].response"),
        ({"rollouts": [rollout(RIGHT)] * 1_001}, "rollouts"),
        ({"rollouts": [rollout(RIGHT, references=[[]])]}, "rollouts[0].references[0]"),
        ({"rollouts": [rollout(RIGHT, verifier="judge")]}, "rollouts[0].verifier"),
        ({"rollouts": [rollout(RIGHT, prompt_uid="")]}, "rollouts[0].prompt_uid"),
    ],
)
def test_what_is_no_rollout_is_refused(
    caller: Caller, run: Run, body: dict[str, Any], field: str
) -> None:
    refused(caller.post(f"runs/{run.pk}/rewards", body), 400, "invalid_body", field)


@pytest.mark.parametrize("number", ["1" * 5_000, "-1" + "0" * 400, "1e999", "NaN", "1e-999"])
def test_a_label_is_no_number_that_nobody_can_spell(caller: Caller, run: Run, number: str) -> None:
    body = query(RIGHT, labels=[f"bare:{number}"])
    answer = caller.post(f"runs/{run.pk}/rewards", body)
    assert answer.status_code in {200, 400}, answer.content


def test_a_domain_that_no_cell_has_is_refused(caller: Caller, run: Run) -> None:
    path = f"runs/{run.pk}/rewards?domain=a%7Cp1"
    refused(caller.post(path, query(RIGHT)), 400, "invalid_body", "domain")


def test_a_group_is_of_one_prompt(caller: Caller, run: Run) -> None:
    body = {"rollouts": [rollout(RIGHT, group="g"), rollout(RIGHT, group="g", prompt="8 + 8")]}
    path = f"runs/{run.pk}/rewards"
    refused(caller.post(path, body), 400, "invalid", "rollouts[0].group")


def test_texts_are_bounded_together(caller: Caller, run: Run) -> None:
    body = {"rollouts": [rollout("x" * 900_000)] * 5}
    refused(caller.post(f"runs/{run.pk}/rewards", body), 413, "too_large", "body")


@pytest.mark.parametrize(
    "text", ["\0", "\u202e\u200b", r"\boxed{" * 5_000, "<|im_end|>" * 5_000, "\U0010ffff", ""]
)
def test_hostile_texts_get_a_verdict(caller: Caller, run: Run, text: str) -> None:
    publish(run)
    (row,) = score(caller, run, rollout(text))
    assert row["verdict"] in {"fail", "undecided"}
    answer = lists(caller.post(f"runs/{run.pk}/rewards", query(text)))
    assert answer["scores"] == [0.0]


def test_a_table_of_other_software_is_refused(caller: Caller, run: Run) -> None:
    publish(run, cell_version=99)
    body = {"rollouts": [rollout(RIGHT)]}
    fields = refused(caller.post(f"runs/{run.pk}/rewards", body), 409, "unusable_table", "table")
    assert fields["table"].startswith("cell_version")


@pytest.mark.parametrize("name", ["judge", "code", "learned", "judge-local", "somebody's own"])
def test_a_verifier_that_is_not_quick_is_refused_by_name(
    caller: Caller, project: Project, name: str
) -> None:
    run = builders.make_run(project, verifier=f"{name}@1")
    body = {"rollouts": [rollout(RIGHT)]}
    answer = caller.post(f"runs/{run.pk}/rewards", body)
    fields = refused(answer, 409, "verifier_elsewhere", f"{name}@1")
    assert "trainer/integrations" in fields[f"{name}@1"]


def test_parameters_that_nobody_told_the_server_are_refused(
    caller: Caller, project: Project
) -> None:
    verifier = build("math", timeout_s=2.0)
    run = builders.make_run(project, verifier=f"math@{verifier.version}")
    path, body = f"runs/{run.pk}/rewards", {"rollouts": [rollout(RIGHT)]}
    refused(caller.post(path, body), 409, "verifier_elsewhere", f"math@{verifier.version}")
    register_built_in(project=project, name="math", params={"timeout_s": 2.0}, actor="test")
    assert score(caller, run, rollout(RIGHT))[0]["verdict"] == "pass"


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("math", {"timeout_s": 60.0}),
        ("hybrid", {"members": [{"name": "boxed-any"}, {"name": "code"}]}),
        (
            "hybrid",
            {"members": [{"name": "boxed-any"}, {"name": "math", "params": {"timeout_s": 60.0}}]},
        ),
    ],
)
def test_slow_parameters_and_slow_members_are_refused(
    caller: Caller, project: Project, name: str, params: dict[str, Any]
) -> None:
    version = register_built_in(project=project, name=name, params=params, actor="test")
    run = builders.make_run(project, verifier=str(version))
    path, body = f"runs/{run.pk}/rewards", {"rollouts": [rollout(RIGHT)]}
    refused(caller.post(path, body), 409, "verifier_elsewhere", str(version))


def test_a_hybrid_of_quick_verifiers_scores(caller: Caller, project: Project) -> None:
    members = {"members": [{"name": "boxed-any"}, {"name": "last-number"}]}
    version = register_built_in(project=project, name="hybrid", params=members, actor="test")
    run = builders.make_run(project, verifier=str(version))
    assert score(caller, run, rollout(RIGHT))[0]["verdict"] == "pass"


def test_what_is_not_judged_in_time_is_undecided(
    caller: Caller, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "SECONDS", -1.0)
    (row,) = score(caller, run, rollout(RIGHT))
    assert (row["reward"], row["verdict"]) == (None, "undecided")
    assert "send fewer" in row["detail"]


def test_nothing_is_stored(caller: Caller, run: Run) -> None:
    score(caller, run, rollout(RIGHT, prompt_uid="p1", group="g"))
    assert not run.rollouts.exists()


def test_a_caller_that_may_not_is_refused(project: Project, run: Run) -> None:
    secret = builders.make_token(project, "ingest", "label", "lead")
    refused(Caller(secret).post(f"runs/{run.pk}/rewards", query(RIGHT)), 403, "not_allowed")
    assert rewards.RunRewards.scopes == {"POST": {"table"}}
