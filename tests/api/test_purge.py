"""POST runs/{id}/purge."""

from typing import Any

import pytest

from review.rollouts.models import Rollout
from review.runs.models import Run
from tests.api.calls import Caller, group, refused, rollouts_path


@pytest.fixture
def path(caller: Caller, run: Run) -> str:
    """Of a run with the stored rollouts g-0 .. g-3."""
    caller.post(rollouts_path(run), {"rollouts": group("g")})
    return f"runs/{run.pk}/purge"


def test_a_purge_sent_twice_answers_the_same(caller: Caller, path: str) -> None:
    for _ in range(2):
        answer = caller.post(path, {"rollouts": ["g-1", "g-0", "g-1"]})
        assert answer.json() == {"purged": 2}
    purged = Rollout.objects.exclude(purged_at=None).order_by("uid")
    assert [(row.uid, row.messages[-1]["content"]) for row in purged] == [("g-0", ""), ("g-1", "")]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "invalid_body", "rollouts"),
        ({"rollouts": "g-0"}, "invalid_body", "rollouts"),
        ({"rollouts": ["g-0", 7]}, "invalid_body", "rollouts[1]"),
        ({"rollouts": ["g-0"] * 10_001}, "invalid_body", "rollouts"),
        ({"rollouts": ["g-0", "g-9"]}, "unknown_rollout", "rollouts[1]"),
    ],
)
def test_a_bad_purge_is_refused_and_nothing_is_lost(
    caller: Caller, path: str, body: dict[str, Any], code: str, field: str
) -> None:
    refused(caller.post(path, body), 400, code, field)
    assert not Rollout.objects.exclude(purged_at=None).exists()
