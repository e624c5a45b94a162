"""Replays over the API: added with a cost, started, followed, cancelled."""

from typing import Any

import pytest
from pytest_django.fixtures import Settings

from review.accounts.models import Project
from review.flows.replays import go_on
from review.runs.models import Run
from review.verifiers.models import Replay, Verdict, VerifierVersion
from tests import builders
from tests.api.calls import Caller, group, refused, rollouts_path
from tests.verifiers import toys
from trainer.verifiers import BUILT_IN


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, "contains", toys.contains())


@pytest.fixture
def path(caller: Caller, run: Run) -> str:
    """Of a run with the stored rollouts g-0 .. g-3."""
    caller.post(rollouts_path(run), {"rollouts": group("g")})
    return f"runs/{run.pk}/replays"


def work(id_: str) -> None:
    assert go_on(replay=Replay.objects.get(pk=id_))


def test_a_verifier_is_added_its_cost_read_and_its_verdicts_stored(
    caller: Caller, path: str
) -> None:
    body = {"verifier": "contains", "params": {"text": "15", "least": 1}}
    added = caller.post(path, body)
    assert added.status_code == 201
    replay: dict[str, Any] = added.json()
    assert (replay["state"], replay["rollouts"]) == ("measuring", None)
    assert replay["params"]["least"] == 1.0
    work(replay["id"])
    waiting = caller.get(f"replays/{replay['id']}").json()
    assert (waiting["state"], waiting["rollouts"], waiting["calls"]) == ("waiting", 4, None)
    assert waiting["seconds"] >= 0
    assert caller.post(f"replays/{replay['id']}/start").json()["state"] == "running"
    work(replay["id"])
    (listed,) = caller.get(path).json()["replays"]
    assert (listed["state"], listed["judged"], listed["undecided"]) == ("done", 4, 0)
    assert Verdict.objects.filter(verifier__name="contains").count() == 4


def test_a_replay_is_cancelled_once(caller: Caller, path: str) -> None:
    id_ = caller.post(path, {"verifier": "contains"}).json()["id"]
    assert caller.post(f"replays/{id_}/cancel").json()["state"] == "cancelled"
    refused(caller.post(f"replays/{id_}/cancel"), 409, "replay_state")
    refused(caller.post(f"replays/{id_}/start"), 409, "replay_state")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"verifier": "nowhere"}, "verifier"),
        ({"verifier": "contains", "params": {"least": 2}}, "params.least"),
        ({"verifier": "contains", "params": {"beauty": 2}}, "params.beauty"),
        ({"verifier": "contains", "params": {"url": "http://10.0.0.1/v1"}}, "params.url"),
        ({"verifier": "contains", "params": {"text": "x" * 70_000}}, "params"),
        (
            {
                "verifier": "contains",
                "params": {"words": [[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]},
            },
            "params",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_by_its_field(
    caller: Caller, path: str, body: dict[str, Any], field: str
) -> None:
    refused(caller.post(path, body), 400, "unusable_verifier", field)
    assert not VerifierVersion.objects.filter(name="contains").exists()
    assert not Replay.objects.exists()


def test_another_projects_replay_does_not_exist(caller: Caller, path: str) -> None:
    id_ = caller.post(path, {"verifier": "contains"}).json()["id"]
    stranger = Caller(builders.make_token(builders.make_project(), "lead"))
    refused(stranger.get(f"replays/{id_}"), 404, "not_found")
    refused(stranger.post(f"replays/{id_}/start"), 404, "not_found")
    refused(stranger.post(f"replays/{id_}/cancel"), 404, "not_found")
    refused(stranger.get(path), 404, "not_found")


def test_what_a_judge_was_asked_and_said_comes_with_a_verdict(
    caller: Caller, path: str, run: Run, project: Project, settings: Settings
) -> None:
    verdict = group("g")[0]["verdicts"][0] | {"verifier": "judge", "version": "1"}
    record = {"prompt": "Is it right?", "raw": "yes \x00", "tokens": [3, 1]}
    rows = [{"rollout": "g-0", "verdict": verdict | {"record": record}}]
    url = f"runs/{run.pk}/verdicts"
    assert caller.post(url, {"channel": "correctness", "verdicts": rows}).status_code == 200
    stored = Verdict.objects.get(verifier__name="judge").record
    assert stored == record | {"raw": "yes \ufffd"}
    with_rollouts = group("h")
    with_rollouts[0]["verdicts"][0]["record"] = record
    assert caller.post(rollouts_path(run), {"rollouts": with_rollouts}).status_code == 200
    assert Verdict.objects.get(rollout__uid="h-0").record["prompt"] == "Is it right?"

    deep: Any = []
    for _ in range(60):
        deep = [deep]
    for large in ({"raw": "x" * 70_000}, {"raw": deep}):
        rows = [{"rollout": "g-1", "verdict": verdict | {"record": large}}]
        answer = caller.post(url, {"channel": "correctness", "verdicts": rows})
        refused(answer, 400, "invalid", "verdicts[0].verdict.record")
        new = group("i")
        new[1]["verdicts"][0]["record"] = large
        answer = caller.post(rollouts_path(run), {"rollouts": new})
        refused(answer, 400, "invalid", "rollouts[1].verdicts[0].record")
    assert not Verdict.objects.filter(
        rollout__uid__in=["g-1", "i-0"], record__isnull=False
    ).exists()
