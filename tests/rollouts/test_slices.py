"""Slices: what may be said, what it selects, and that counts and rollouts agree on it."""

import random
from typing import Any

import msgspec
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from review.accounts.models import Project
from review.core.errors import MissingError
from review.core.models import AuditEvent
from review.flows import ingest
from review.flows.ingest import IncomingMessage
from review.rollouts.errors import InvalidSliceError, SliceConflictError
from review.rollouts.models import Slice
from review.rollouts.queries import (
    counts_per_cell,
    rollouts_inside,
    slice_in_project,
    slices_of,
)
from review.rollouts.services import create_slice, delete_slice
from review.rollouts.slices import FIELDS, cell_mask, describe, has_row_conditions, parse
from review.runs.models import Run
from review.runs.services import NewPrompt, store_prompts
from tests import builders
from trainer.rewards.cells import Cell


def condition(field: str, op: str, value: object) -> dict[str, object]:
    return {"field": field, "op": op, "value": value}


ALGEBRA = condition("domain", "is", "algebra")

REFUSED: dict[str, tuple[object, str]] = {
    "no list": ({"field": "domain"}, "conditions"),
    "a text": ("domain", "conditions"),
    "too many": ([ALGEBRA] * 21, "conditions"),
    "no object": ([ALGEBRA, "domain"], "conditions[1]"),
    "unknown key": ([ALGEBRA | {"or": []}], "conditions[0].or"),
    "key that is no text": ([{**ALGEBRA, 7: 1}], "conditions[0].7"),
    "without a value": ([{"field": "domain", "op": "is"}], "conditions[0].value"),
    "unknown field": ([condition("messages", "is", "x")], "conditions[0].field"),
    "path into the database": ([condition("run__project", "is", "x")], "conditions[0].field"),
    "field that is a list": ([condition(["domain"], "is", "x")], "conditions[0].field"),
    "operator of others": ([condition("path", "in", ["boxed"])], "conditions[0].op"),
    "unknown operator": ([condition("domain", "regex", ".*")], "conditions[0].op"),
    "operator that is an object": ([condition("domain", {}, "x")], "conditions[0].op"),
    "number for a text": ([condition("domain", "is", 7)], "conditions[0].value"),
    "long text": ([condition("domain", "is", "d" * 61)], "conditions[0].value"),
    "NUL": ([condition("policy", "is", "a\0")], "conditions[0].value"),
    "lone surrogate": ([condition("policy", "is", "\ud800")], "conditions[0].value"),
    "list for one": ([condition("domain", "is", ["algebra"])], "conditions[0].value"),
    "one for a list": ([condition("domain", "in", "algebra")], "conditions[0].value"),
    "empty list": ([condition("domain", "in", [])], "conditions[0].value"),
    "huge list": ([condition("domain", "in", ["d"] * 51)], "conditions[0].value"),
    "list of numbers": ([condition("domain", "in", ["d", 1])], "conditions[0].value"),
    "unknown outcome": ([condition("outcome", "is", "maybe")], "conditions[0].value"),
    "number for a probe": ([condition("probe", "is", 1)], "conditions[0].value"),
    "truth for a bin": ([condition("share_bin", "is", True)], "conditions[0].value"),
    "bin beyond the last": ([condition("length_bin", "is", 6)], "conditions[0].value"),
    "negative bin": ([condition("score_bin", "at_least", -1)], "conditions[0].value"),
    "fraction": ([condition("difficulty", "at_least", 0.5)], "conditions[0].value"),
    "step beyond all counting": ([condition("step", "at_most", 10**12)], "conditions[0].value"),
    "one step": ([condition("step", "is", 3)], "conditions[0].op"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_table_does_not_hold_is_refused_and_named(name: str) -> None:
    conditions, field = REFUSED[name]
    with pytest.raises(InvalidSliceError) as refusal:
        parse(conditions)
    assert list(refusal.value.fields) == [field]
    assert all(refusal.value.fields.values())


def test_what_a_client_wrote_is_not_repeated_at_length() -> None:
    with pytest.raises(InvalidSliceError) as refusal:
        parse([ALGEBRA | {"x" * 10_000: 1}])
    assert len(next(iter(refusal.value.fields))) < 100


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ([], "every rollout"),
        (
            [ALGEBRA, condition("length_bin", "at_least", 3)],
            "domain is algebra and length at least 1,024 tokens",
        ),
        ([condition("length_bin", "is", 1)], "length at least 64 and under 256 tokens"),
        ([condition("length_bin", "is", 0)], "length under 64 tokens"),
        ([condition("length_bin", "at_most", 5)], "any length"),
        ([condition("share_bin", "at_most", 1)], "answer share under 35 %"),
        ([condition("share_bin", "is", 3)], "answer share at least 65 %"),
        ([condition("score_bin", "is", 9)], "score at least 0.9"),
        ([condition("score_bin", "is", 4)], "score at least 0.4 and under 0.5"),
        ([condition("source", "in", ["a", "b"])], "source is a or b"),
        ([condition("source", "is", "")], "source is empty"),
        ([condition("outcome", "is_not", "pass")], "verdict is not pass"),
        ([condition("form", "is", "integer")], "answer form is integer"),
        ([condition("probe", "is", True)], "hit by a probe"),
        ([condition("probe", "is", False)], "not hit by a probe"),
        ([condition("difficulty", "at_least", 7)], "difficulty at least 7"),
        ([condition("step", "at_most", 1999)], "step at most 1,999"),
    ],
)
def test_conditions_are_said_in_words(conditions: list[dict[str, object]], words: str) -> None:
    assert describe(conditions) == words


CELLS = [
    Cell("pass/boxed/integer/1&fail/text/none/0", 9, 2, False, "algebra"),
    Cell("fail/last-line/text/2+", None, None, True, "algebra"),
    Cell("undecided/boxed/none/0", 3, 0, False, "logic"),
]


@pytest.mark.parametrize(
    ("field", "op", "value", "mask"),
    [
        ("domain", "is", "algebra", [True, True, False]),
        ("domain", "is_not", "algebra", [False, False, True]),
        ("domain", "in", ["logic", "other"], [False, False, True]),
        ("signature", "is", "fail/last-line/text/2+", [False, True, False]),
        ("outcome", "is", "pass", [True, False, False]),
        ("outcome", "is_not", "pass", [False, True, True]),
        ("path", "is", "boxed", [True, False, True]),
        ("path", "is", "text", [False, False, False]),
        ("form", "is_not", "integer", [False, True, True]),
        ("probe", "is", True, [False, True, False]),
        ("probe", "is", False, [True, False, True]),
        ("score_bin", "at_most", 9, [True, False, True]),
        ("score_bin", "is", 9, [True, False, False]),
        ("share_bin", "at_least", 0, [True, False, True]),
        ("share_bin", "at_least", 1, [True, False, False]),
        ("source", "is", "nowhere", [True, True, True]),
    ],
)
def test_a_condition_on_cells_selects_cells(
    field: str, op: str, value: object, mask: list[bool]
) -> None:
    assert cell_mask([condition(field, op, value)], CELLS) == mask


def test_all_conditions_must_hold() -> None:
    conditions = [ALGEBRA, condition("probe", "is", False)]
    assert cell_mask(conditions, CELLS) == [True, False, False]
    assert cell_mask([], CELLS) == [True, True, True]


def test_only_a_condition_on_rows_cuts_a_cell() -> None:
    assert not has_row_conditions([ALGEBRA])
    assert has_row_conditions([ALGEBRA, condition("difficulty", "at_least", 3)])


# Over stored rollouts

DOMAINS, SOURCES, POLICIES = ("algebra", "logic"), ("", "a", "b"), ("step-0", "step-5")


def random_run(project: Project, rng: random.Random, step_block: int) -> Run:
    """Nine steps of groups that differ in every field of the table."""
    run = builders.make_run(project, step_block=step_block)
    prompts = [
        NewPrompt(
            uid=f"p{number}",
            text="7 + 8",
            references=["15"],
            domain=rng.choice(DOMAINS),
            source=rng.choice(SOURCES),
            licence="",
            released_on=None,
            split="train",
            difficulty=rng.choice([None, 0, 3, 100]),
        )
        for number in range(5)
    ]
    store_prompts(run=run, prompts=prompts)
    for step in range(9):
        prompt = rng.choice(prompts)
        rows = [random_rollout(rng, prompt.uid, step) for _ in range(rng.randint(1, 5))]
        ingest.store_batch(run=run, batch=rows)
    return run


def random_rollout(rng: random.Random, prompt: str, step: int) -> ingest.IncomingRollout:
    response = rng.choice(builders.RESPONSES)
    verdict = builders.make_verdict(response)
    scored = {"score": rng.choice([None, 0.0, 0.31, 1.0])}
    return builders.make_rollout(
        messages=[IncomingMessage(role="assistant", content=response * rng.randint(1, 40))],
        prompt=prompt,
        group=f"g{step}",
        step=step,
        policy=rng.choice(POLICIES),
        tokens=rng.choice([None, 63, 64, 5000, 20_000]),
        probe=rng.random() < 0.3,
        verdicts=[msgspec.structs.replace(verdict, **scored)],
    )


TEXTS: dict[str, tuple[Any, ...]] = {
    "domain": DOMAINS,
    "source": SOURCES,
    "policy": POLICIES,
    "signature": ("pass/boxed/integer/1", "fail/boxed/integer/1"),
    "path": ("boxed", "last-line"),
    "form": ("integer", "decimal"),
}


def random_condition(rng: random.Random, name: str, step_block: int) -> dict[str, object]:
    field = FIELDS[name]
    op = rng.choice(field.ops)
    value: object
    if name == "step":
        value = rng.randrange(0, 12, step_block) + (step_block - 1) * (op == "at_most")
    elif field.high is not None:
        value = rng.choice([0, 1, 3, field.high])
    elif field.choices:
        value = rng.choice(field.choices)
    else:
        value = list(TEXTS[name]) if op == "in" else rng.choice(TEXTS[name])
    return condition(name, op, value)


@pytest.mark.parametrize("seed", range(4))
def test_counts_and_rollouts_agree_on_every_slice(project: Project, seed: int) -> None:
    rng = random.Random(seed)
    step_block = rng.choice([1, 2, 3])
    run = random_run(project, rng, step_block)
    steps = dict(run.rollouts.values_list("pk", "step"))
    sizes = set()
    for _ in range(60):
        fields = rng.sample(sorted(FIELDS), rng.randint(0, 3))
        conditions = [random_condition(rng, name, step_block) for name in fields]
        inside = rollouts_inside(run, list(steps), conditions)
        # Some of these ranges cut blocks.
        for first, last in [(0, 11), (0, 2), (3, 5), (1, 4), (7, 8)]:
            expected = sum(first <= steps[pk] <= last for pk in inside)
            counts = counts_per_cell(run, first, last, conditions)
            assert sum(counts.values()) == expected, (conditions, first, last)
        of_cells = run.rollouts.filter(pk__in=inside).values_list("cell", flat=True)
        assert counts_per_cell(run, 0, 11, conditions).keys() == set(of_cells)
        sizes.add(len(inside))
    assert len(sizes) > 5


def test_a_slice_cuts_no_block_of_the_runs_counts(project: Project) -> None:
    run = builders.make_run(project, step_block=5)
    for op, step, nearest in [
        ("at_least", 7, "5 or 10"),
        ("at_most", 7, "4 or 9"),
        ("at_most", 2, "4"),
    ]:
        conditions = [ALGEBRA, condition("step", op, step)]
        for applied in (
            lambda given=conditions: counts_per_cell(run, 0, 9, given),
            lambda given=conditions: rollouts_inside(run, [], given),
        ):
            with pytest.raises(InvalidSliceError) as refusal:
                applied()
            assert refusal.value.fields == {"conditions[1].value": f"for this run {nearest}"}
    for op, step in [("at_least", 5), ("at_most", 4)]:
        assert counts_per_cell(run, 0, 9, [condition("step", op, step)]) == {}


def test_another_runs_rollouts_are_not_inside(project: Project) -> None:
    run, other = builders.make_run(project), builders.make_run(project)
    for one in (run, other):
        builders.make_prompt(one)
        ingest.store_batch(run=one, batch=[builders.make_rollout()])
    (theirs,) = other.rollouts.values_list("pk", flat=True)
    assert rollouts_inside(run, [theirs], []) == set()


def test_counting_a_slice_reads_no_rollout(project: Project) -> None:
    run = random_run(project, random.Random(0), 1)
    conditions = [ALGEBRA, condition("difficulty", "at_least", 1)]
    with CaptureQueriesContext(connection) as queries:
        counts_per_cell(run, 0, 8, conditions)
    assert len(queries) == 2
    assert not any("rollouts_rollout" in query["sql"] for query in queries.captured_queries)


# Stored


def test_a_slice_is_stored_and_deleted(project: Project) -> None:
    slice_ = create_slice(project=project, name="Algebra", conditions=[ALGEBRA], actor="ada")
    assert (slice_.conditions, slice_.created_by) == ([ALGEBRA], "ada")
    assert slice_in_project(project, slice_.pk) == slice_
    delete_slice(slice_=slice_, actor="ada")
    assert list(slices_of(project)) == []
    assert set(AuditEvent.objects.values_list("action", flat=True)) == {
        "slice created",
        "slice deleted",
    }


def test_a_name_is_taken_once_in_each_project(project: Project) -> None:
    other = builders.make_project()
    for place in (project, other):
        create_slice(project=place, name="Algebra", conditions=[ALGEBRA], actor="ada")
    with pytest.raises(SliceConflictError):
        create_slice(
            project=project,
            name="Algebra",
            conditions=[condition("domain", "is", "logic")],
            actor="ada",
        )
    assert [slice_.conditions for slice_ in slices_of(project)] == [[ALGEBRA]]


@pytest.mark.parametrize(
    ("name", "conditions", "field"),
    [
        ("", [ALGEBRA], "name"),
        ("  ", [ALGEBRA], "name"),
        ("n" * 101, [ALGEBRA], "name"),
        ("a\0", [ALGEBRA], "name"),
        ("nothing said", [], "conditions"),
        ("wrong", [condition("domain", "is", 1)], "conditions[0].value"),
    ],
)
def test_a_bad_slice_is_refused(
    project: Project, name: str, conditions: list[dict[str, object]], field: str
) -> None:
    with pytest.raises(InvalidSliceError) as refusal:
        create_slice(project=project, name=name, conditions=conditions, actor="ada")
    assert list(refusal.value.fields) == [field]
    assert not Slice.objects.exists()


def test_another_projects_slice_does_not_exist_here(project: Project) -> None:
    slice_ = create_slice(project=project, name="Algebra", conditions=[ALGEBRA], actor="ada")
    with pytest.raises(MissingError):
        slice_in_project(builders.make_project(), slice_.pk)
