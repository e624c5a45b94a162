from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Count, Max, Q, QuerySet, Sum

from review.accounts.models import Project
from review.core.errors import MissingError
from review.rollouts.errors import InvalidSliceError
from review.rollouts.models import Group, Rollout, Slice, StepSummary
from review.rollouts.segmentation import step_id, written
from review.rollouts.slices import (
    Conditions,
    cell_mask,
    has_cell_conditions,
    rows_of_counts,
    rows_of_rollouts,
)
from review.runs.models import Run
from trainer.rewards.cells import Cell as CellFeatures


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered step of a completion, as a reviewer reads it. Its id outlives a new cut."""

    number: int
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of a completion; steps: those that it holds, none where it is not cut.

    name: the speaker's or the tool's. call_id: of the call that a tool's message answers.
    """

    role: str
    text: str
    steps: list[Step]
    name: str = ""
    call_id: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


def stored_uids(run: Run, uids: Iterable[str]) -> set[str]:
    rows = Rollout.objects.filter(run=run, uid__any_of=uids)
    return set(rows.values_list("uid", flat=True))


def stored_groups(run: Run, uids: Iterable[str]) -> set[str]:
    rows = Group.objects.filter(run=run, uid__any_of=uids)
    return set(rows.values_list("uid", flat=True))


def turns_of(rollout: Rollout) -> list[Turn]:
    """The completion's messages, its steps numbered through."""
    steps: dict[int, list[Step]] = defaultdict(list)
    for number, (message, start, end) in enumerate(rollout.steps, start=1):
        text = rollout.messages[message]["content"][start:end]
        steps[message].append(Step(number, step_id(message, start, text), text))
    return [_turn(message, steps[position]) for position, message in enumerate(rollout.messages)]


def _turn(message: Mapping[str, Any], steps: list[Step]) -> Turn:
    return Turn(
        role=message["role"],
        text=message["content"],
        steps=steps,
        name=message.get("name", ""),
        call_id=message.get("call_id", ""),
        tool_calls=tuple(
            ToolCall(call.get("id", ""), call["name"], call["arguments"])
            for call in message.get("tool_calls", ())
        ),
    )


def steps_of(rollout: Rollout) -> list[Step]:
    return [step for turn in turns_of(rollout) for step in turn.steps]


def number_in(rollout: Rollout, id_: str) -> int:
    """The number of the step of this id; where it is cut otherwise, of the one that it is in."""
    message, start, _ = id_.split(".")
    starts = [(message, start) for message, start, _ in rollout.steps]
    return max(bisect_right(starts, (int(message), int(start))), 1)


def last_words(rollout: Rollout) -> str:
    """The last message of the policy: where it says its answer."""
    words: str = rollout.messages[written(rollout.messages)[-1]]["content"]
    return words


def rollouts_to_recut(run: Run) -> int:
    """How many may still be cut by an earlier segmenter."""
    if run.recut_after is None:
        return 0
    return run.rollouts.filter(pk__gt=run.recut_after, purged_at=None).count()


def rollouts_per_cell(run: Run) -> dict[str, int]:
    """Rollouts of the run per cell key."""
    rows = run.cell_counts.values_list("cell__key").annotate(total=Sum("rollouts"))
    return dict(rows)


@dataclass(frozen=True, slots=True)
class RunTotals:
    rollouts: int = 0
    latest_step: int | None = None


def run_totals(project: Project) -> dict[UUID, RunTotals]:
    """Rollouts and newest step of each of the project's runs that has any."""
    rows = (
        StepSummary.objects.filter(run__project=project)
        .values_list("run_id")
        .annotate(total=Sum("rollouts"), newest=Max("step"))
    )
    return {run_id: RunTotals(total, newest) for run_id, total, newest in rows}


def step_summaries(run: Run) -> list[StepSummary]:
    return list(run.step_summaries.order_by("step"))


def slices_of(project: Project) -> QuerySet[Slice]:
    return Slice.objects.filter(project=project).order_by("name")


def slice_in_project(project: Project, slice_id: UUID) -> Slice:
    """The slice, if it is the project's; another project's slice does not exist here."""
    slice_ = Slice.objects.filter(project=project, pk=slice_id).first()
    if slice_ is None:
        raise MissingError("There is no such slice in this project.")
    return slice_


def why_uncountable(run: Run, conditions: Conditions) -> str | None:
    """Why the conditions cannot be counted in this run: a step among them cuts a block of it."""
    try:
        rows_of_counts(conditions, step_block=run.step_block)
    except InvalidSliceError as error:
        return error.message
    return None


def counts_per_cell(
    run: Run, first_step: int, last_step: int, conditions: Conditions = ()
) -> dict[int, int]:
    """Rollouts of the steps, both included, that meet the conditions: by cell, where any.

    Reads the kept counts. Steps that cut a block of the run are counted rollout by rollout.
    """
    cells = cells_inside(run, conditions)
    if blocks := blocks_between(run, first_step, last_step):
        inside = blocks & rows_of_counts(conditions, step_block=run.step_block)
        counts = run.cell_counts.filter(inside, cells).values_list("cell")
        return {cell: int(total) for cell, total in counts.annotate(total=Sum("rollouts"))}
    inside = rows_of_rollouts(conditions, step_block=run.step_block)
    rows = run.rollouts.filter(inside, cells, step__range=(first_step, last_step))
    return dict(rows.values_list("cell").annotate(total=Count("pk")))


def blocks_between(run: Run, first_step: int, last_step: int, *, at: str = "") -> Q | None:
    """The steps as whole blocks of the run's counts; None if they are not."""
    if first_step % run.step_block or (last_step + 1) % run.step_block:
        return None
    blocks = (first_step // run.step_block, last_step // run.step_block)
    return Q((f"{at}block__range", blocks))


def cells_inside(run: Run, conditions: Conditions, *, at: str = "") -> Q:
    """The conditions on cells, for rows that have one (or that point at such, under `at`)."""
    if not has_cell_conditions(conditions):
        return Q()
    cells = list(run.cells.values_list("pk", "key"))
    mask = cell_mask(conditions, [CellFeatures.parse(key) for _, key in cells])
    inside = [pk for (pk, _), is_inside in zip(cells, mask, strict=True) if is_inside]
    return Q((f"{at}cell__in", inside))


def rollouts_inside(run: Run, rollout_ids: Collection[int], conditions: Conditions) -> set[int]:
    """Those of the run's rollouts that meet all conditions."""
    selected = rows_of_rollouts(conditions, step_block=run.step_block)
    rows = run.rollouts.filter(selected, pk__in=rollout_ids).values_list("pk", "cell__key")
    keys = {key: CellFeatures.parse(key) for key in {key for _, key in rows}}
    mask = cell_mask(conditions, list(keys.values()))
    inside = {key for key, is_inside in zip(keys, mask, strict=True) if is_inside}
    return {pk for pk, key in rows if key in inside}
