"""POST runs/{id}/audits/preview."""

from typing import Any

import pytest

from review.accounts.models import Project, Role, User
from review.runs.models import Run
from review.sampling.models import AuditRule
from tests import builders
from tests.api.calls import Caller, make_slice

AUDIT: dict[str, Any] = {"name": "a", "first_step": 1, "window_steps": 2, "budget": 40}
ESTIMANDS = {"recall", "fpr", "precision", "rejected_correct", "accuracy", "hack_rate"}


@pytest.fixture
def trained(project: Project) -> Run:
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2], groups=16)
    return run


def preview(caller: Caller, run: Run, **changes: Any) -> dict[str, Any]:
    answer = caller.post(f"runs/{run.pk}/audits/preview", AUDIT | changes)
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def test_a_preview_says_what_half_all_and_double_would_give(caller: Caller, trained: Run) -> None:
    body = preview(caller, trained)
    assert (body["first_step"], body["last_step"], body["is_stand_in"]) == (1, 2, False)
    assert (body["frame_size"], body["is_pace_measured"]) == (128, False)
    assert 1 <= body["strata"] <= body["cells"]
    assert [(part["budget"], part["labels"]) for part in body["outlooks"]] == [
        ("half", 20),
        ("all", 40),
        ("double", 80),
    ]
    half, whole, double = (part["intervals"] for part in body["outlooks"])
    assert half.keys() == ESTIMANDS
    assert (half["accuracy"]["point"], half["accuracy"]["low"]) == (None, 0)
    assert half["accuracy"]["reason"]
    widths = [part["accuracy"]["high"] - part["accuracy"]["low"] for part in (whole, double)]
    assert widths[0] > widths[1] > 0
    assert whole["accuracy"]["n"] == pytest.approx(40)
    assert not AuditRule.objects.exists()


def test_a_preview_counts_reviews_gold_and_hours(
    caller: Caller, trained: Run, project: Project, ben: User
) -> None:
    builders.make_user(project, Role.REVIEWER)
    settings = {"second_reviews": {"share": 0.5}, "gold_share": 0.1}
    whole = preview(caller, trained, **settings)["outlooks"][1]
    assert (whole["second_reviews"], whole["gold"]) == (pytest.approx(20), 4)
    assert whole["hours"] == pytest.approx((40 + 20 + 4) / 60)


def test_a_preview_has_a_part_for_each_slice(
    caller: Caller, trained: Run, project: Project
) -> None:
    part = make_slice(project, "outcome", "is", "pass")
    whole = preview(caller, trained, slices=[str(part.pk)])["outlooks"][1]
    (found,) = whole["slices"]
    assert (found["slice"], found["name"]) == (str(part.pk), part.name)
    assert found["intervals"].keys() == ESTIMANDS
    assert found["intervals"]["accuracy"]["n"] < 40


def test_steps_that_are_to_come_are_stood_in_for(caller: Caller, trained: Run) -> None:
    body = preview(caller, trained, first_step=9)
    assert (body["first_step"], body["last_step"], body["is_stand_in"]) == (1, 2, True)


def test_a_run_without_rollouts_can_be_looked_ahead_to(caller: Caller, run: Run) -> None:
    body = preview(caller, run)
    assert (body["frame_size"], body["cells"], body["strata"]) == (0, 0, 0)
    assert [part["labels"] for part in body["outlooks"]] == [0, 0, 0]
    assert body["outlooks"][1]["intervals"]["recall"]["point"] is None
