"""The counts that the ingest keeps, and what the migrations make of rows stored before."""

from importlib import import_module

import pytest
from django.db import connection

from review.accounts.models import Project
from review.flows import ingest
from review.flows.ingest import IncomingMessage
from review.rollouts.models import CellCount, Rollout
from review.rollouts.slices import LENGTH_EDGES, length_bin
from review.runs.services import NewPrompt, store_prompts
from tests import builders


@pytest.mark.parametrize(
    ("tokens", "text", "expected"),
    [
        (0, "x" * 9999, 0),
        (63, "", 0),
        (64, "", 1),
        (16_383, "", 4),
        (2**31 - 1, "", 5),
        (None, "", 0),
        (None, "é" * 255, 0),
        (None, "é" * 256, 1),
    ],
)
def test_a_length_is_in_tokens_or_a_quarter_of_the_characters(
    tokens: int | None, text: str, expected: int
) -> None:
    assert length_bin(tokens, text) == expected


def test_rollouts_stored_before_get_the_length_bin_that_ingest_gives(project: Project) -> None:
    run = builders.make_run(project)
    builders.make_prompt(run)
    lengths = [0, 1, *(edge + by for edge in LENGTH_EDGES for by in (-1, 0))]
    rows = [builders.make_rollout(tokens=tokens) for tokens in lengths]
    rows += [
        builders.make_rollout(
            messages=[
                IncomingMessage(role="user", content="7 + 8"),
                IncomingMessage(
                    role="assistant",
                    content="é\n\N{MATHEMATICAL ITALIC SMALL X}" + "y" * (4 * tokens - 3),
                ),
            ]
        )
        for tokens in lengths[1:]
    ]
    ingest.store_batch(run=run, batch=rows)
    given = dict(Rollout.objects.values_list("uid", "length_bin"))
    assert set(given.values()) == {0, 1, 2, 3, 4, 5}
    Rollout.objects.update(length_bin=0)
    with connection.cursor() as cursor:
        cursor.execute(import_module("review.rollouts.migrations.0002_slices").FILL_LENGTH_BINS)
    assert dict(Rollout.objects.values_list("uid", "length_bin")) == given


def test_rollouts_are_counted_by_difficulty_and_by_none(project: Project) -> None:
    run = builders.make_run(project)
    for uid, difficulty in [("easy", 0), ("hard", 90), ("unknown", None)]:
        store_prompts(
            run=run,
            prompts=[
                NewPrompt(
                    uid=uid,
                    text=uid,
                    references=["15"],
                    domain="arithmetic",
                    source="",
                    licence="",
                    released_on=None,
                    split="train",
                    difficulty=difficulty,
                )
            ],
        )
    for batch in range(2):
        rows = [
            builders.make_rollout(prompt=uid, group=f"{batch}-{uid}")
            for uid in ("easy", "hard", "unknown")
        ]
        ingest.store_batch(run=run, batch=rows)
    counts = CellCount.objects.values_list("difficulty", "rollouts")
    assert set(counts) == {(0, 2), (90, 2), (None, 2)}


def test_going_back_merges_counts_that_differ_in_difficulty_alone(project: Project) -> None:
    test_rollouts_are_counted_by_difficulty_and_by_none(project)
    with connection.cursor() as cursor:
        cursor.execute(import_module("review.rollouts.migrations.0002_slices").MERGE_COUNTS)
    assert [row.rollouts for row in CellCount.objects.all()] == [6]
