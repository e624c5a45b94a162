"""Estimates and reward tables over HTTP."""

import json
from typing import Any

import pytest

from review.accounts.models import Project, User
from review.calibration.models import RewardTable
from review.flows import audit
from review.runs.models import Run
from tests.api.calls import Caller, refused
from tests.labeling import items
from trainer.rewards import RewardTable as TrainerTable

TABLE = {"valid_from_step": 3, "valid_to_step": 9}


@pytest.fixture
def audited(project: Project, ben: User) -> Run:
    """A run whose one window is labelled and closed."""
    queue = items.open_queue(project, budget=32, waves=1)
    items.answer_all(queue, ben)
    audit.advance_window(window=queue.rule.windows.get())
    return queue.rule.run


@pytest.fixture
def published(caller: Caller, audited: Run) -> str:
    """Where the trainer finds version 1."""
    table = caller.post(f"runs/{audited.pk}/reward-tables", TABLE).json()
    caller.post(f"reward-tables/{table['id']}/publish")
    return f"runs/{audited.pk}/reward-table"


def test_without_labels_there_is_no_table(caller: Caller, run: Run) -> None:
    refused(caller.post(f"runs/{run.pk}/reward-tables", TABLE), 409, "no_labels")
    refused(caller.get(f"runs/{run.pk}/reward-table"), 404, "no_reward_table")
    assert caller.get(f"runs/{run.pk}/estimates").json() == {"estimates": []}


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"valid_to_step": 2}, "invalid_table", "valid_to_step"),
        ({"valid_from_step": -1}, "invalid_body", "valid_from_step"),
        ({"valid_from_step": 10**10}, "invalid_body", "valid_from_step"),
        ({"rule": "majority"}, "invalid_body", "rule"),
        ({"version": 3}, "invalid_body", "version"),
    ],
)
def test_a_bad_table_is_refused(
    caller: Caller, run: Run, changes: dict[str, Any], code: str, field: str
) -> None:
    response = caller.post(f"runs/{run.pk}/reward-tables", TABLE | changes)
    refused(response, 400, code, field)
    assert not RewardTable.objects.exists()


def test_a_draft_is_not_given_to_trainers(caller: Caller, audited: Run) -> None:
    draft = caller.post(f"runs/{audited.pk}/reward-tables", TABLE)
    assert (draft.status_code, draft.json()["state"], draft.json()["version"]) == (201, "draft", 1)
    refused(caller.get(f"runs/{audited.pk}/reward-table"), 404, "no_reward_table")
    refused(caller.get(f"runs/{audited.pk}/reward-table?version=1"), 404, "no_reward_table")


def test_a_published_table_is_the_newest_until_the_next(
    caller: Caller, published: str, audited: Run
) -> None:
    first = caller.get(published)
    table = TrainerTable.from_json(first.content.decode())
    assert (table.version, first["X-Assay-Table-Version"]) == (1, "1")
    draft = caller.post(f"runs/{audited.pk}/reward-tables", TABLE).json()
    assert caller.get(published).content == first.content
    for _ in range(2):
        answer = caller.post(f"reward-tables/{draft['id']}/publish").json()
        assert answer["state"] == "published"
    assert json.loads(caller.get(published).content)["version"] == 2
    assert caller.get(f"{published}?version=1").content == first.content
    refused(caller.get(f"{published}?version=3"), 404, "no_reward_table")


def test_an_unchanged_table_is_not_sent_again(caller: Caller, published: str) -> None:
    etag = caller.get(published)["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = caller.get(published, If_None_Match=known)
        assert (answer.status_code, answer.content, answer["ETag"]) == (304, b"", etag)
    for unknown in ('"other"', etag.strip('"'), "x" * 10_000, ""):
        assert caller.get(published, If_None_Match=unknown).status_code == 200


@pytest.mark.parametrize("version", ["0", "-1", "1.0", "x", "", "\u0663", "9" * 5000, "01"])
def test_a_version_that_is_no_number_is_refused(caller: Caller, run: Run, version: str) -> None:
    refused(
        caller.get(f"runs/{run.pk}/reward-table?version={version}"), 400, "invalid_body", "version"
    )


def test_estimates_come_with_their_intervals(caller: Caller, audited: Run) -> None:
    estimates = caller.get(f"runs/{audited.pk}/estimates").json()["estimates"]
    accuracy = [row for row in estimates if row["estimand"] == "accuracy"]
    assert [row["window"] is None for row in accuracy] == [True, False]
    for row in accuracy:
        assert row["low"] <= row["point"] <= row["high"]
        assert row["n"] == 32


def test_what_it_changes_is_said_before_it_is_published(caller: Caller, audited: Run) -> None:
    draft = caller.post(f"runs/{audited.pk}/reward-tables", TABLE).json()
    assert "changes" not in draft["preview"]
    changes = draft["changes"]
    assert (changes["groups"], changes["own"], changes["is_sample"]) == (
        *(audited.groups.count(), None, False),
    )
    assert [change["loss"] for change in changes["losses"]] == [
        *("group", "group-0.3", "centred", "leave-one-out", "expected")
    ]
    for change in changes["losses"]:
        assert change["is_no_op"] == (change["rollouts"] == 0) == (change["reason"] is not None)
    assert caller.get(f"reward-tables/{draft['id']}").json() == draft
    published = caller.post(f"reward-tables/{draft['id']}/publish").json()
    assert published["changes"] == changes


def test_a_table_from_before_changes_were_measured_has_none(caller: Caller, audited: Run) -> None:
    draft = caller.post(f"runs/{audited.pk}/reward-tables", TABLE).json()
    RewardTable.objects.filter(pk=draft["id"]).update(preview={"groups": 3})
    answer = caller.get(f"reward-tables/{draft['id']}").json()
    assert (answer["changes"], answer["preview"]) == (None, {"groups": 3})
