"""Audit rules over HTTP."""

from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from review.accounts.models import Project, Role, User
from review.flows import audit
from review.labeling.models import Queue
from review.runs.models import Run
from review.sampling.models import AuditRule
from tests import builders
from tests.api.calls import Caller, make_slice, refused
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
        ({"budget_per": "week"}, "invalid_body", "budget_per"),
        ({"ranking": "yes"}, "invalid_body", "ranking"),
        ({"ranking": True, "verifiers": ["boxed-any@1"] * 2}, "invalid_rule", "verifiers"),
        ({"floor": 1.1}, "invalid_body", "floor"),
        ({"floor": "bare:NaN"}, "invalid_body", "body"),
        ({"verifiers": "boxed-any@1"}, "invalid_body", "verifiers"),
        ({"verifiers": ["boxed-any@2"]}, "invalid_rule", "verifiers"),
        ({"verifiers": ["boxed-any"]}, "invalid_rule", "verifiers"),
        ({"verifiers": ["boxed-any@1", "\x00'--"]}, "invalid_rule", "verifiers"),
        ({"verifiers": ["v@1"] * 21}, "invalid_body", "verifiers"),
        ({"slices": ["all"]}, "invalid_body", "slices[0]"),
        ({"slices": [str(uuid4())]}, "invalid_rule", "slices"),
        ({"second_reviews": True}, "invalid_body", "second_reviews"),
        ({"second_reviews": {"share": 1.5}}, "invalid_body", "second_reviews.share"),
        ({"second_reviews": {"all": True}}, "invalid_body", "second_reviews.all"),
        ({"gold_share": 0.6}, "invalid_body", "gold_share"),
        ({"reviewers": ["nobody"]}, "invalid_rule", "reviewers"),
        ({"reviewers": ["\x00"]}, "invalid_rule", "reviewers"),
    ],
)
def test_a_bad_audit_is_refused(
    caller: Caller, run: Run, changes: dict[str, Any], code: str, field: str
) -> None:
    for path in ("audits", "audits/preview"):
        refused(caller.post(f"runs/{run.pk}/{path}", AUDIT | changes), 400, code, field)
    assert not AuditRule.objects.exists()
    assert not Queue.objects.exists()


@pytest.mark.parametrize("second", [{"contradictions": True}, {"share": 0.1}])
def test_second_reviews_need_two_reviewers(
    run: Run, ada: User, ben: User, second: dict[str, Any]
) -> None:
    caller = Caller(builders.make_token(run.project, "lead", owner=ada))
    body = AUDIT | {"second_reviews": second}
    for path in ("audits", "audits/preview"):
        refused(caller.post(f"runs/{run.pk}/{path}", body), 400, "invalid_rule", "second_reviews")


def test_who_reviews_elsewhere_is_nobody_here(caller: Caller, run: Run) -> None:
    builders.make_user(builders.make_project(), Role.REVIEWER, name="dan")
    fields = refused(
        caller.post(f"runs/{run.pk}/audits", AUDIT | {"reviewers": ["dan"]}), 400, "invalid_rule"
    )
    assert fields == refused(
        caller.post(f"runs/{run.pk}/audits", AUDIT | {"reviewers": ["nobody"]}), 400, "invalid_rule"
    )


def test_a_slice_that_cuts_the_runs_blocks_is_refused(caller: Caller, project: Project) -> None:
    """Also where the steps are still to come."""
    run = builders.make_run(project, step_block=2)
    part = make_slice(project, "step", "at_least", 3)
    body = AUDIT | {"first_step": 2, "window_steps": 2, "slices": [str(part.pk)]}
    for path in ("audits", "audits/preview"):
        refused(caller.post(f"runs/{run.pk}/{path}", body), 400, "invalid_rule", "slices")
    builders.store_steps(run, [2, 3])
    refused(caller.post(f"runs/{run.pk}/audits", body), 400, "invalid_rule", "slices")


SETTINGS: dict[str, Any] = {
    "budget": 64,
    "last_step": 2,
    "budget_per": "day",
    "waves": 3,
    "focus": {"recall": 2.0, "fpr": 0.0, "accuracy": 1.0, "hack_rate": 0.5},
    "ranking": False,
    "floor": 0.25,
    "verifiers": ["boxed-any@1"],
    "second_reviews": {"contradictions": True, "share": 0.2},
    "gold_share": 0.1,
    "shows_reference": False,
    "reviewers": ["ben", "eve"],
}


def test_an_audit_answers_every_setting_as_it_was_given(
    caller: Caller, project: Project, ben: User
) -> None:
    builders.make_user(project, Role.REVIEWER, name="eve")
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2])
    part = make_slice(project, "probe", "is", False)
    settings = SETTINGS | {"slices": [str(part.pk)]}
    made = caller.post(
        f"runs/{run.pk}/audits", {"name": "a", "first_step": 1, "window_steps": 2} | settings
    )
    assert made.status_code == 201, made.content
    answer = made.json()
    assert {name: answer[name] for name in settings} == settings
    assert (answer["version"], answer["first_step"], answer["window_steps"]) == (1, 1, 2)


def test_what_is_not_given_is_as_it_was_in_the_first_version_of_the_api(
    caller: Caller, run: Run
) -> None:
    answer = caller.post(f"runs/{run.pk}/audits", AUDIT).json()
    assert answer["second_reviews"] == {"contradictions": False, "share": 0.0}
    assert answer["focus"] == {"recall": 1.0, "fpr": 1.0, "accuracy": 1.0, "hack_rate": 1.0}
    assert (answer["waves"], answer["last_step"], answer["budget_per"]) == (4, None, "window")
    assert (answer["gold_share"], answer["ranking"], answer["shows_reference"]) == (0, False, True)
    assert answer["verifiers"] == answer["slices"] == answer["reviewers"] == []


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
    assert window["is_ended_early"] is False
    assert window["waves"] == [
        {
            "number": 1,
            "version": 1,
            "state": "open",
            "planned": 16,
            "labelled": 1,
            "skipped": 0,
            "second_reviews_pending": 0,
        }
    ]


def test_a_wave_counts_the_second_reviews_that_are_to_come(
    caller: Caller, project: Project, ben: User
) -> None:
    eve = builders.make_user(project, Role.REVIEWER)
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2])
    rule = builders.open_audit(run, budget=16, waves=1, second_review_share=1.0)
    for reviewer, done in ((ben, 1), (eve, 2)):
        for _ in range(done):
            items.commit(items.take(rule.queue, reviewer), reviewer)
    (window,) = caller.get(f"audits/{rule.pk}").json()["windows"]
    (wave,) = window["waves"]
    assert (wave["labelled"], wave["second_reviews_pending"]) == (3, 16)


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


# Changes


@pytest.fixture
def draft(caller: Caller, run: Run) -> str:
    """The path of a draft."""
    answer = caller.post(f"runs/{run.pk}/audits", AUDIT | {"last_step": 16}).json()
    return f"audits/{answer['id']}"


def test_a_change_leaves_what_is_not_given(caller: Caller, draft: str) -> None:
    before = caller.get(draft).json()
    changes = {"focus": {"fpr": 0.5}, "second_reviews": {"share": 0.0}, "budget": 48}
    answer = caller.patch(draft, changes)
    assert answer.status_code == 200, answer.content
    assert answer.json() == before | {
        "version": 2,
        "budget": 48,
        "focus": before["focus"] | {"fpr": 0.5},
    }
    assert caller.patch(draft, {"last_step": None}).json()["last_step"] is None
    assert caller.get(draft).json()["version"] == 3


def test_a_change_that_is_sent_twice_is_one_version(caller: Caller, draft: str) -> None:
    for body in ({"floor": 0.3}, {"floor": 0.3}, {}):
        assert caller.patch(draft, body).json()["version"] == 2


def test_the_versions_of_an_audit_are_kept(caller: Caller, draft: str) -> None:
    caller.patch(draft, {"waves": 2})
    newest, first = caller.get(f"{draft}/versions").json()["versions"]
    assert (newest["number"], newest["waves"]) == (2, 2)
    assert (first["number"], first["waves"]) == (1, 4)
    assert first["created_by"].startswith("token (")
    assert first["created_at"] < newest["created_at"]


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"name": "b"}, "invalid_body", "name"),
        ({"first_step": 2}, "invalid_body", "first_step"),
        ({"window_steps": 4}, "invalid_body", "window_steps"),
        ({"budget": None}, "invalid_body", "budget"),
        ({"budget": 7}, "invalid_rule", "budget"),
        ({"last_step": 0}, "invalid_rule", "last_step"),
        ({"waves": 51}, "invalid_body", "waves"),
        ({"focus": {"precision": 1}}, "invalid_body", "focus.precision"),
        (
            {"focus": {"recall": 0, "fpr": 0, "accuracy": 0, "hack_rate": 0}},
            "invalid_body",
            "focus",
        ),
        ({"second_reviews": {"share": -0.1}}, "invalid_body", "second_reviews.share"),
        ({"verifiers": ["x@1"]}, "invalid_rule", "verifiers"),
        ({"slices": [str(uuid4())]}, "invalid_rule", "slices"),
        ({"reviewers": ["nobody"]}, "invalid_rule", "reviewers"),
    ],
)
def test_a_bad_change_is_refused(
    caller: Caller, draft: str, changes: dict[str, Any], code: str, field: str
) -> None:
    refused(caller.patch(draft, changes), 400, code, field)
    assert caller.get(draft).json()["version"] == 1


def test_the_next_wave_follows_the_change_and_the_open_one_stays(
    caller: Caller, project: Project
) -> None:
    queue = items.open_queue(project, budget=32, waves=2)
    path = f"audits/{queue.rule.pk}"
    caller.patch(path, {"budget": 48})
    caller.post(f"windows/{queue.rule.windows.get().pk}/cancel-wave")
    audit.advance_window(window=queue.rule.windows.get())
    (window,) = caller.get(path).json()["windows"]
    assert [(wave["version"], wave["state"], wave["planned"]) for wave in window["waves"]] == [
        (1, "cancelled", 16),
        (2, "open", 24),
    ]


def test_a_window_that_collects_follows_a_change_of_the_last_step_at_once(
    caller: Caller, project: Project
) -> None:
    run = builders.make_stored_run(project)
    path = f"audits/{builders.open_audit(run, last_step=4, window_steps=6).pk}"
    for last_step, expected in ((4, 4), (None, 6), (2, 2)):
        (window,) = caller.patch(path, {"last_step": last_step}).json()["windows"]
        assert (window["state"], window["last_step"]) == ("collecting", expected)


def test_versions_cost_as_many_queries_for_ten_as_for_two(caller: Caller, draft: str) -> None:
    costs = []
    for total in (2, 10):
        while len(caller.get(f"{draft}/versions").json()["versions"]) < total:
            caller.patch(draft, {"budget": 40 + AuditRule.objects.get().versions.count()})
        with CaptureQueriesContext(connection) as queries:
            caller.get(f"{draft}/versions")
        costs.append(len(queries))
    assert costs[0] == costs[1]


# Ends


def test_an_audit_is_ended_once_for_all(caller: Caller, project: Project, ben: User) -> None:
    queue = items.open_queue(project)
    items.commit(items.take(queue, ben), ben)
    path = f"audits/{queue.rule.pk}"
    for _ in range(2):
        answer = caller.post(f"{path}/end").json()
        assert answer["state"] == "finished"
        (window,) = answer["windows"]
        assert (window["state"], window["is_ended_early"]) == ("closed", True)
        assert window["waves"][0]["state"] == "cancelled"
    refused(caller.patch(path, {"budget": 64}), 409, "conflict")
    refused(caller.post(f"{path}/start"), 409, "conflict")


def test_an_open_wave_is_cancelled_once(caller: Caller, project: Project) -> None:
    queue = items.open_queue(project)
    path = f"windows/{queue.rule.windows.get().pk}/cancel-wave"
    (window,) = caller.post(path).json()["windows"]
    assert (window["state"], window["waves"][0]["state"]) == ("open", "cancelled")
    refused(caller.post(path), 409, "conflict")


def test_an_open_window_is_ended_once(caller: Caller, project: Project) -> None:
    queue = items.open_queue(project)
    path = f"windows/{queue.rule.windows.get().pk}/end"
    answer = caller.post(path).json()
    (window,) = answer["windows"]
    assert (window["state"], window["is_ended_early"]) == ("closed", True)
    assert answer["state"] == "finished"
    refused(caller.post(path), 409, "conflict")


def test_a_window_that_is_not_open_yet_is_not_ended(caller: Caller, project: Project) -> None:
    run = builders.make_run(project)
    builders.store_steps(run, [1])
    rule = builders.open_audit(run)
    refused(caller.post(f"windows/{rule.windows.get().pk}/end"), 409, "conflict")


@pytest.mark.parametrize("call", ["end", "start"])
def test_a_call_without_a_body_takes_none(caller: Caller, draft: str, call: str) -> None:
    refused(caller.post(f"{draft}/{call}", {"at": "once"}), 400, "invalid_body", "at")
