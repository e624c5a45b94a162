"""GET runs/{id}/scorecard."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from review.accounts.models import Project, User
from review.calibration.services.scorecard import refresh_run
from review.runs.models import Run
from tests import builders
from tests.api.calls import Caller, make_slice
from tests.calibration.criteria import judge_by_criteria, make_criteria_run


@pytest.fixture
def audited(project: Project, ben: User) -> Run:
    """A run whose one window is labelled."""
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2], groups=16)
    rule = builders.open_audit(run, budget=64, waves=1)
    builders.label_audit(rule, ben)
    return run


def rows(caller: Caller, run: Run) -> list[dict[str, Any]]:
    answer = caller.get(f"runs/{run.pk}/scorecard")
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["rows"]
    return found


def test_without_audits_there_is_no_scorecard(caller: Caller, run: Run) -> None:
    assert rows(caller, run) == []


def test_a_scorecard_has_every_verifier_on_every_slice(
    caller: Caller, audited: Run, project: Project
) -> None:
    part = make_slice(project, "outcome", "is", "pass")
    refresh_run(run=audited)
    found = {
        (row["estimand"], row["slice"] and row["slice"]["id"]): row for row in rows(caller, audited)
    }
    whole, inside = found["accuracy", None], found["accuracy", str(part.pk)]
    assert inside["slice"]["name"] == part.name
    for row in (whole, inside):
        assert (row["verifier"], row["policy"], row["window"]) == ("boxed-any@1", None, None)
        assert row["low"] <= row["point"] <= row["high"]
        assert row["unanswered_share"] == 0
    assert whole["worst_low"] <= whole["point"] <= whole["worst_high"]
    assert inside["n"] < whole["n"] == 64


def test_a_scorecard_costs_as_many_queries_for_five_slices_as_for_one(
    caller: Caller, audited: Run, project: Project
) -> None:
    caller.get(f"runs/{audited.pk}")
    costs = []
    for bins in (range(1), range(1, 5)):
        for length_bin in bins:
            make_slice(project, "length_bin", "at_most", length_bin)
        refresh_run(run=audited)
        with CaptureQueriesContext(connection) as queries:
            rows(caller, audited)
        costs.append(len(queries))
    assert costs[0] == costs[1]


def test_a_rubrics_criteria_have_rows_of_their_own(
    caller: Caller, project: Project, ben: User
) -> None:
    run = make_criteria_run(builders.make_run(project), ben)
    judge_by_criteria(run)
    refresh_run(run=run)
    found = {(row["criterion"], row["estimand"]): row for row in rows(caller, run)}
    recall = found["commits", "criterion_recall"]
    assert (recall["verifier"], recall["point"], recall["n"]) == (
        "rubric@1",
        pytest.approx(1 / 3),
        64,
    )
    assert found[None, "recall"]["verifier"] in ("boxed-any@1", "rubric@1")
    unknown = found["Is kind", "criterion_fpr"]
    assert (unknown["point"], unknown["low"], unknown["high"]) == (None, 0, 1)
    assert unknown["reason"] == "the verifier judges no criterion of this name"
    other = make_criteria_run(builders.make_run(builders.make_project()), ben)
    assert caller.get(f"runs/{other.pk}/scorecard").status_code == 404
