"""Audit rules over HTTP."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from review.accounts.models import Project, User
from review.labeling.models import Queue
from review.runs.models import Run
from review.sampling.models import AuditRule
from tests import builders
from tests.api.calls import Caller, refused
from tests.labeling import items

AUDIT: dict[str, Any] = {"name": "a", "first_step": 1, "window_steps": 8, "budget": 96}


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"name": ""}, "invalid_body", "name"),
        ({"first_step": -1}, "invalid_body", "first_step"),
        ({"first_step": 2**31}, "invalid_body", "first_step"),
        ({"window_steps": 0}, "invalid_body", "window_steps"),
        ({"window_steps": 10**12}, "invalid_body", "window_steps"),
        ({"budget": 7}, "invalid_rule", "budget"),
        ({"budget": 10**12}, "invalid_body", "budget"),
        ({"waves": 0}, "invalid_body", "waves"),
        ({"waves": 51}, "invalid_body", "waves"),
        ({"last_step": 0}, "invalid_rule", "last_step"),
        ({"focus": {"recall": -1}}, "invalid_body", "focus.recall"),
        ({"focus": {"recall": 1e308}}, "invalid_body", "focus.recall"),
        ({"focus": {"precision": 1}}, "invalid_body", "focus.precision"),
        (
            {"focus": {"recall": 0, "fpr": 0, "accuracy": 0, "hack_rate": 0}},
            "invalid_body",
            "focus",
        ),
        ({"shows_reference": "no"}, "invalid_body", "shows_reference"),
        ({"size": 1}, "invalid_body", "size"),
    ],
)
def test_a_bad_audit_is_refused(
    caller: Caller, run: Run, changes: dict[str, Any], code: str, field: str
) -> None:
    refused(caller.post(f"runs/{run.pk}/audits", AUDIT | changes), 400, code, field)
    assert not AuditRule.objects.exists()
    assert not Queue.objects.exists()


def test_an_audit_is_a_draft_until_it_is_started_and_is_started_once(
    caller: Caller, run: Run
) -> None:
    draft = caller.post(f"runs/{run.pk}/audits", AUDIT)
    assert (draft.status_code, draft.json()["state"]) == (201, "draft")
    path = f"audits/{draft.json()['id']}"
    assert caller.get(path).json() == draft.json()
    assert caller.post(f"{path}/start").json()["state"] == "active"
    refused(caller.post(f"{path}/start"), 409, "conflict")
    assert caller.get(path).json()["state"] == "active"


def test_an_audit_shows_its_windows_and_waves(caller: Caller, project: Project, ben: User) -> None:
    queue = items.open_queue(project, budget=16)
    items.commit(items.take(queue, ben), ben)
    (window,) = caller.get(f"audits/{queue.rule.pk}").json()["windows"]
    assert (window["first_step"], window["last_step"], window["state"]) == (1, 2, "open")
    assert window["frame_size"] == 64
    assert window["waves"] == [
        {"number": 1, "state": "open", "planned": 16, "labelled": 1, "skipped": 0}
    ]


def test_a_list_of_audits_costs_as_many_queries_for_ten_as_for_two(
    caller: Caller, project: Project
) -> None:
    run = items.open_queue(project).rule.run
    costs = []
    caller.get(f"runs/{run.pk}")
    for total in (2, 10):
        while AuditRule.objects.filter(run=run).count() < total:
            builders.make_audit(run)
        with CaptureQueriesContext(connection) as queries:
            assert len(caller.get(f"runs/{run.pk}/audits").json()["audits"]) == total
        costs.append(len(queries))
    assert costs[0] == costs[1]
