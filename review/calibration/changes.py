"""What a reward table would change: tried on groups that the run has stored.

However large the run is, that reads about MOST_ROLLOUTS rollouts of at most MOST_STEPS steps (twice
as many where groups are stored in pieces), by the indexes on run and step and on the group. Where
the steps hold more, the first stored groups of each are taken.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import msgspec
import numpy as np
from django.db.models import QuerySet

from review.calibration.losses import IF_TRUNCATED, Trainer, losses_for, own_loss, trainer_of
from review.calibration.models import RewardRule, RewardTable
from review.rollouts.models import Rollout
from review.rollouts.queries import step_summaries
from review.runs.models import Run
from review.sampling.models import Window
from review.sampling.queries import RunCells
from review.stats.cells import BoolArray
from review.stats.reward_changes import (
    OUTCOMES,
    LossChange,
    PaidRollouts,
    Spread,
    loss_change,
    spread,
)
from trainer.rewards import RewardTable as TrainerTable
from trainer.rewards import raw_reward

MOST_ROLLOUTS = 16_384
MOST_STEPS = 32
# A larger group costs more than it tells.
MOST_IN_A_GROUP = 512
# How far back "the newest steps" go.
NEWEST_STEPS = 16


@dataclass(frozen=True, slots=True)
class TableChanges:
    """What a table would change against the raw verdict, and on which groups that was tried.

    steps: how many steps the groups are of, between first_step and last_step: those of the windows
    that the table was fitted on, and the run's newest. is_sample: not all of their groups.
    passed_over: groups not looked at, because purged texts took their answers with them, or
    because they hold more than MOST_IN_A_GROUP rollouts.
    settled: share of rollouts paid by a settled answer; settled_against: share paid so against
    their verdict. own: the loss of the run's trainer, null where the run's config does not say or
    no such loss is tried; trainer: what the config calls it. sums_channels: it adds other rewards
    before they become advantages, and so what is said here is of correctness alone.
    """

    groups: int
    rollouts: int
    steps: int
    first_step: int | None
    last_step: int | None
    is_sample: bool
    passed_over: int
    spread: Spread
    settled: float
    settled_against: float
    trainer: str | None
    own: str | None
    sums_channels: bool
    losses: tuple[LossChange, ...]


def measured_changes(
    run: Run, windows: Sequence[Window], cells: RunCells, table: TrainerTable
) -> TableChanges:
    """Three queries, whatever the run's size."""
    rule, trainer = RewardRule(table.rule), trainer_of(run.config)
    rows, is_sample = _sampled(run, windows)
    groups = [list(group) for _, group in groupby(rows, key=lambda row: row.group_id)]
    usable = [group for group in groups if _is_usable(group)]
    paid, is_settled_N = _paid(usable, cells, table, trainer)
    is_against_N = is_settled_N & (np.abs(paid.paid_N - paid.raw_N) > 0)
    own = own_loss(trainer, rule)
    steps = {group[0].step for group in usable}
    return TableChanges(
        groups=len(usable),
        rollouts=len(paid.raw_N),
        steps=len(steps),
        first_step=min(steps, default=None),
        last_step=max(steps, default=None),
        is_sample=is_sample,
        passed_over=len(groups) - len(usable),
        spread=spread(paid),
        settled=_share(is_settled_N),
        settled_against=_share(is_against_N),
        trainer=trainer.advantage,
        own=own.key if own else None,
        sums_channels=trainer.sums_channels,
        losses=tuple(loss_change(paid, *losses) for losses in losses_for(trainer, rule)),
    )


def stored(changes: TableChanges) -> dict[str, Any]:
    return asdict(changes)


def changes_of(table: RewardTable) -> TableChanges | None:
    """What was measured when it was built; None of a table from before that was done."""
    found = table.preview.get("changes")
    return None if found is None else msgspec.convert(found, TableChanges)


@dataclass(frozen=True, slots=True)
class _Row:
    group_id: int
    step: int
    cell_id: int
    prompt: str
    answer_class: str | None
    is_truncated: bool
    is_purged: bool


def _sampled(run: Run, windows: Sequence[Window]) -> tuple[list[_Row], bool]:
    """Rollouts group by group, and whether they are only a part of those of their steps."""
    counts = {summary.step: summary.rollouts for summary in step_summaries(run)}
    newest = sorted(counts)[-NEWEST_STEPS:]
    fitted = [
        step
        for step in sorted(counts)
        if any(window.first_step <= step <= window.last_step for window in windows)
    ]
    steps = {*newest, *fitted}
    if sum(counts[step] for step in steps) <= MOST_ROLLOUTS:
        return _rows(run.rollouts.filter(step__in=steps)), False
    older = [step for step in fitted if step not in newest]
    chosen = [*_spread_out(older, MOST_STEPS - len(newest)), *newest]
    first, *others = [
        run.rollouts.filter(step=step).order_by().values("group_id")[: MOST_ROLLOUTS // len(chosen)]
        for step in chosen
    ]
    groups = first.union(*others, all=True).values_list("group_id", flat=True)
    return _rows(run.rollouts.filter(group_id__in=set(groups))), True


def _rows(rollouts: QuerySet[Rollout]) -> list[_Row]:
    """By group, every group whole: of a sample the last group of each step reaches beyond the
    bound. Twice the bound is the end of it, with the group that is cut there."""
    columns = ("group_id", "step", "cell_id", "group__prompt__uid", "answer_class", "is_truncated")
    found = rollouts.order_by("group_id", "pk").values_list(*columns, "purged_at")
    rows = [
        _Row(group_id, step, cell_id, prompt, name, is_truncated, purged_at is not None)
        for group_id, step, cell_id, prompt, name, is_truncated, purged_at in found[
            : 2 * MOST_ROLLOUTS
        ]
    ]
    if len(rows) < 2 * MOST_ROLLOUTS:
        return rows
    return [row for row in rows if row.group_id != rows[-1].group_id]


def _is_usable(group: Sequence[_Row]) -> bool:
    return len(group) <= MOST_IN_A_GROUP and not any(row.is_purged for row in group)


def _spread_out(steps: Sequence[int], most: int) -> list[int]:
    """At most so many of the steps, evenly, the first and the last among them."""
    places = np.linspace(0, len(steps) - 1, min(most, len(steps))).round().astype(int)
    return [steps[place] for place in places]


def _paid(
    groups: Iterable[Sequence[_Row]], cells: RunCells, table: TrainerTable, trainer: Trainer
) -> tuple[PaidRollouts, BoolArray]:
    """The rollouts as the raw verdict and as the table pays them, and whom a settled answer pays.

    Whom a hack probe hit is in no answer class, as in the trainer.
    """
    raw, paid, is_settled, classes = [], [], [], []
    numbers: dict[str, int] = {}
    rows = [(number, row) for number, group in enumerate(groups) for row in group]
    places = [cells.index[row.cell_id] for _, row in rows]
    for (_, row), place in zip(rows, places, strict=True):
        cell = cells.features[place]
        reward = table.reward(cell, prompt=row.prompt, answer_class=row.answer_class)
        instead = IF_TRUNCATED.get(trainer.truncated) if row.is_truncated else None
        raw.append(_number(raw_reward(cell).value) if instead is None else instead)
        paid.append(_number(reward.value) if instead is None else instead)
        is_settled.append(reward.level == "class" and instead is None)
        name = None if cell.probe else row.answer_class
        classes.append(-1 if name is None else numbers.setdefault(name, len(numbers)))
    outcome_M = np.array([OUTCOMES.index(cell.outcome) for cell in cells.features], np.int64)
    cell_N = np.array(places, np.int64)
    return PaidRollouts(
        raw_N=np.array(raw, float),
        paid_N=np.array(paid, float),
        group_N=np.array([number for number, _ in rows], np.int64),
        class_N=np.array(classes, np.int64),
        outcome_N=outcome_M[cell_N],
        cell_N=cell_N,
        cells=tuple(cell.key for cell in cells.features),
    ), np.array(is_settled, np.bool_)


def _number(reward: float | None) -> float:
    return np.nan if reward is None else reward


def _share(is_so: BoolArray) -> float:
    return round(float(is_so.mean()), 6) if len(is_so) else 0.0
