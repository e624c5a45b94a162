"""POST runs/{id}/verdicts: what another verifier says of stored rollouts."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from review.runs.models import Run
from review.verifiers.models import Verdict, VerifierVersion
from tests import builders
from tests.api.calls import Caller, group, refused, rollout, rollouts_path

VERDICT: dict[str, Any] = rollout()["verdicts"][0] | {"verifier": "strict", "version": "2"}


@pytest.fixture
def path(caller: Caller, run: Run) -> str:
    """Of a run with the stored rollouts g-0 .. g-3."""
    caller.post(rollouts_path(run), {"rollouts": group("g")})
    return f"runs/{run.pk}/verdicts"


def batch(*uids: str, **changes: Any) -> dict[str, Any]:
    rows = [{"rollout": uid, "verdict": VERDICT | changes} for uid in uids]
    return {"channel": "correctness", "verdicts": rows}


def test_a_repeat_is_harmless_and_keeps_what_was_said_first(caller: Caller, path: str) -> None:
    assert caller.post(path, batch("g-0", "g-1")).json() == {"received": 2}
    assert caller.post(path, batch("g-0", "g-1", "g-1", outcome="fail")).json() == {"received": 3}
    stored = Verdict.objects.filter(verifier__name="strict")
    assert sorted(stored.values_list("rollout__uid", "outcome")) == [
        ("g-0", "pass"),
        ("g-1", "pass"),
    ]


def test_the_runs_own_verdicts_stay_as_the_ingest_gave_them(caller: Caller, path: str) -> None:
    body = batch("g-0", verifier="boxed-any", version="1", outcome="fail")
    assert caller.post(path, body).status_code == 200
    assert Verdict.objects.get(rollout__uid="g-0").outcome == "pass"


def test_an_unknown_rollout_is_refused_and_named(caller: Caller, path: str) -> None:
    refused(caller.post(path, batch("g-0", "g-9")), 400, "invalid", "verdicts[1].rollout")
    assert not VerifierVersion.objects.filter(name="strict").exists()


def test_another_runs_rollout_is_refused(caller: Caller, path: str, run: Run) -> None:
    other = builders.make_run(run.project)
    caller.post(rollouts_path(other), {"rollouts": group("other")})
    refused(caller.post(path, batch("other-0")), 400, "invalid", "verdicts[0].rollout")


def test_a_verifier_of_another_channel_is_refused(caller: Caller, path: str) -> None:
    body = batch("g-0", verifier="boxed-any", version="1") | {"channel": "probe"}
    assert refused(caller.post(path, body), 400, "invalid", "channel")["channel"] == (
        "is correctness in this project"
    )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"outcome": None}, "outcome"),
        ({"seconds": -1}, "seconds"),
        ({"candidates": -1}, "candidates"),
        ({"verifier": ""}, "verifier"),
        ({"form": "Integer"}, "form"),
    ],
)
def test_a_bad_verdict_is_named_and_nothing_is_stored(
    caller: Caller, path: str, changes: dict[str, Any], field: str
) -> None:
    body = batch("g-0")
    body["verdicts"] += batch("g-1", **changes)["verdicts"]
    refused(caller.post(path, body), 400, "invalid_body", f"verdicts[1].verdict.{field}")
    assert Verdict.objects.count() == 4


def test_many_verdicts_cost_as_many_queries_as_few(caller: Caller, path: str) -> None:
    caller.post(path, batch("g-0"))
    costs = []
    for uids in (["g-1"], ["g-2", "g-3"]):
        with CaptureQueriesContext(connection) as queries:
            caller.post(path, batch(*uids))
        costs.append(len(queries))
    assert costs[0] == costs[1]
