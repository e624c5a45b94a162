"""POST runs, GET and PATCH runs/{id}."""

from typing import Any

import msgspec
import pytest

from review.accounts.models import Project
from review.core.models import AuditEvent
from review.rollouts.models import Rollout
from review.runs.models import Run
from review.verifiers.models import RunVerifier, VerifierVersion
from tests import builders
from tests.api.calls import Caller, refused, rollouts_path

JUDGE = {"name": "boxed-any", "version": "1"}
RUN: dict[str, Any] = {
    "uid": "run",
    "name": "a run",
    "seed": 0,
    "config": {"lr": 1e-5},
    "group_size": 8,
    "normaliser": "number-1",
    "step_block": 1,
    "verifiers": [JUDGE],
}


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def test_a_run_is_registered_once(caller: Caller, project: Project) -> None:
    first, again = caller.post("runs", RUN), caller.post("runs", RUN)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert caller.get(f"runs/{first.json()['id']}").json() == first.json()
    assert Run.objects.count() == RunVerifier.objects.count() == 1
    assert AuditEvent.objects.filter(action="run registered").count() == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"uid": ""}, "uid"),
        ({"name": "n" * 201}, "name"),
        ({"seed": 2**63}, "seed"),
        ({"seed": "bare:" + "9" * 5000}, "seed"),
        ({"group_size": 0}, "group_size"),
        ({"group_size": 10**9}, "group_size"),
        ({"step_block": 0}, "step_block"),
        ({"verifiers": []}, "verifiers"),
        ({"verifiers": [{"name": "boxed-any"}]}, "verifiers[0].version"),
        ({"verifiers": [JUDGE | {"channel": "vibes"}]}, "verifiers[0].channel"),
        ({"verifiers": [JUDGE | {"weight": -1}]}, "verifiers[0].weight"),
        ({"config": []}, "config"),
        ({"config": nested(51)}, "config"),
        ({"config": nested(900)}, "config"),
        ({"config": {"x": "bare:1e999"}}, "config[...]"),
        ({"learning_rate": 1}, "learning_rate"),
    ],
)
def test_a_bad_run_is_refused(
    caller: Caller, project: Project, changes: dict[str, Any], field: str
) -> None:
    refused(caller.post("runs", RUN | changes), 400, "invalid_body", field)
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"normaliser": "number-9"}, "normaliser"),
        ({"verifiers": [JUDGE | {"channel": "format"}]}, "verifiers"),
        ({"verifiers": [JUDGE, JUDGE]}, "verifiers[1]"),
        ({"verifiers": [JUDGE | {"version": str(k)} for k in range(6)]}, "verifiers"),
    ],
)
def test_a_run_that_could_not_be_audited_is_refused(
    caller: Caller, project: Project, changes: dict[str, Any], field: str
) -> None:
    refused(caller.post("runs", RUN | changes), 400, "invalid", field)
    assert not Run.objects.exists()
    assert not VerifierVersion.objects.exists()


MONITOR = {"name": "monitor", "version": "1", "channel": "monitor"}


def test_a_monitor_is_registered_without_weight_in_the_reward(
    caller: Caller, project: Project
) -> None:
    answer = caller.post("runs", RUN | {"verifiers": [JUDGE, MONITOR]})
    assert answer.status_code == 201
    assert [row.weight for row in RunVerifier.objects.order_by("position")] == [1.0, 0.0]
    again = caller.post("runs", RUN | {"verifiers": [JUDGE, MONITOR | {"weight": 0}]})
    assert again.status_code == 200


def test_a_monitor_is_refused_as_a_part_of_the_reward(caller: Caller, project: Project) -> None:
    weighted = RUN | {"verifiers": [JUDGE, MONITOR | {"weight": 0.1}]}
    refused(caller.post("runs", weighted), 400, "invalid", "verifiers[1].weight")
    assert not Run.objects.exists()


def test_a_config_may_hold_what_json_can_hold(caller: Caller, project: Project) -> None:
    config = {"nul\x00": "\x00", "deep": nested(48), "big": 10**400, "small": 5e-324}
    assert caller.post("runs", RUN | {"config": config}).status_code == 201
    stored = Run.objects.get().config
    assert stored == {k.replace("\x00", "\ufffd"): v for k, v in config.items()} | {
        "nul\ufffd": "\ufffd"
    }


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"group_size": 4}, 409, "group_size"),
        ({"normaliser": "squad-1"}, 409, "normaliser"),
        ({"step_block": 5}, 409, "step_block"),
        ({"verifiers": [JUDGE | {"version": "2"}]}, 400, "verifiers"),
        (
            {"verifiers": [JUDGE, {"name": "x", "version": "1", "channel": "probe"}]},
            400,
            "verifiers",
        ),
    ],
)
def test_the_same_uid_with_other_settings_is_refused(
    caller: Caller, project: Project, changes: dict[str, Any], status: int, field: str
) -> None:
    caller.post("runs", RUN)
    code = {400: "invalid", 409: "conflict"}[status]
    refused(caller.post("runs", RUN | changes), status, code, field)
    assert VerifierVersion.objects.count() == 1


def test_a_verifier_keeps_its_channel_in_the_project(caller: Caller, project: Project) -> None:
    caller.post("runs", RUN)
    other = RUN | {
        "uid": "2",
        "verifiers": [{**JUDGE, "channel": "probe"}, {**JUDGE, "version": "2"}],
    }
    refused(caller.post("runs", other), 400, "invalid", "verifiers[0].channel")
    assert Run.objects.count() == 1


def test_steps_are_completed_forwards_only(caller: Caller, run: Run) -> None:
    for step, completed in [(3, 3), (3, 3), (1, 3), (4, 4)]:
        answer = caller.patch(f"runs/{run.pk}", {"completed_step": step})
        assert answer.json()["completed_step"] == completed


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"completed_step": -1}, "completed_step"),
        ({"completed_step": 2**31}, "completed_step"),
        ({"completed_step": "3"}, "completed_step"),
        ({"status": "running"}, "status"),
        ({"name": "other"}, "name"),
    ],
)
def test_a_bad_change_of_a_run_is_refused(
    caller: Caller, run: Run, change: dict[str, Any], field: str
) -> None:
    refused(caller.patch(f"runs/{run.pk}", change), 400, "invalid_body", field)


def test_a_run_ends_once_and_a_change_is_made_whole_or_not_at_all(caller: Caller, run: Run) -> None:
    path = f"runs/{run.pk}"
    answer = caller.patch(path, {"completed_step": 2, "status": "finished"})
    assert (answer.json()["completed_step"], answer.json()["status"]) == (2, "finished")
    assert caller.patch(path, {"status": "finished"}).status_code == 200
    refused(caller.patch(path, {"completed_step": 5, "status": "failed"}), 400, "invalid", "status")
    run.refresh_from_db()
    assert run.completed_step == 2


def test_answers_are_classed_by_another_normaliser(caller: Caller, run: Run) -> None:
    odd = builders.make_rollout(builders.RESPONSES[1])
    caller.post(rollouts_path(run), {"rollouts": [msgspec.to_builtins(odd)]})
    answer = caller.patch(f"runs/{run.pk}", {"normaliser": "squad-1", "completed_step": 2})
    assert (answer.json()["normaliser"], answer.json()["completed_step"]) == ("squad-1", 2)
    assert Rollout.objects.get().answer_class == "150"


def test_an_unknown_normaliser_changes_nothing(caller: Caller, run: Run) -> None:
    change = {"normaliser": "number-9", "completed_step": 2}
    refused(caller.patch(f"runs/{run.pk}", change), 400, "invalid", "normaliser")
    run.refresh_from_db()
    assert (run.normaliser, run.completed_step) == ("number-1", -1)
