"""Append-only storage of rollouts: COPY for the rows, upserts for the counts. Slices of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from django.db import connection, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from review.accounts.models import Project
from review.core.models import record_event
from review.rollouts.errors import (
    InvalidSliceError,
    SliceConflictError,
    SliceInUseError,
    TooManyCellsError,
)
from review.rollouts.models import Cell, Group, Rollout, Slice
from review.rollouts.segmentation import places, written
from review.rollouts.slices import Conditions, is_storable, length_bin, parse
from review.runs.models import Policy, Prompt, Run

# What stands where a purged rollout's messages stood.
NO_MESSAGES = [{"role": "assistant", "content": ""}]

# Everything statistical costs in proportion to a run's cells: tokens made up anew for each rollout
# are a verifier's mistake.
MOST_CELLS = 10_000
MOST_NAME = 100


class NewRollout(msgspec.Struct, frozen=True, kw_only=True):
    uid: str
    group: str
    prompt: Prompt
    step: int
    policy: Policy
    cell_key: str
    is_accepted: bool
    answer_class: str | None
    messages: list[dict[str, Any]]
    tokens: int | None
    is_truncated: bool
    is_probe_hit: bool
    reward: float | None
    table_version: int | None

    @property
    def text(self) -> str:
        """All that the policy wrote."""
        return "".join(self.messages[at]["content"] for at in written(self.messages))

    @property
    def length_bin(self) -> int:
        return length_bin(self.tokens, self.text if self.tokens is None else "")


def store_rollouts(*, run: Run, rollouts: Sequence[NewRollout]) -> list[int]:
    """Store new rollouts with their groups and counts; their ids, in order.

    The caller holds the run's lock and has left out what is stored already.
    """
    cells = _cells_by_key(run, {new.cell_key for new in rollouts})
    groups = _store_groups(run, rollouts)
    ids = reserve_ids(Rollout, len(rollouts))
    lengths = [new.length_bin for new in rollouts]
    rows = zip(ids, rollouts, lengths, strict=True)
    copy_rows(
        Rollout,
        COLUMNS,
        (_row(run, id_, new, length, groups, cells) for id_, new, length in rows),
    )
    _count_cells(run, rollouts, lengths, cells)
    _summarise_steps(run, rollouts)
    return ids


def reserve_ids(model: type[Any], count: int) -> list[int]:
    """Ids for rows that COPY will write, so that rows which point at them can be written too."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)",
            [model._meta.db_table, count],
        )
        return [id_ for (id_,) in cursor.fetchall()]


def copy_rows(model: type[Any], columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows with COPY, inside the caller's transaction."""
    statement = f"COPY {model._meta.db_table} ({', '.join(columns)}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


COLUMNS = (
    *("id", "run_id", "step", "uid", "group_id", "policy_id", "cell_id", "answer_class"),
    *("messages", "steps", "tokens", "length_bin", "is_truncated", "is_probe_hit"),
    *("reward", "table_version", "received_at"),
)


def _row(
    run: Run,
    id_: int,
    new: NewRollout,
    length: int,
    groups: Mapping[str, int],
    cells: Mapping[str, Cell],
) -> tuple[object, ...]:
    return (
        *(id_, run.pk, new.step, new.uid, groups[new.group], new.policy.pk),
        *(cells[new.cell_key].pk, new.answer_class),
        *(_json(new.messages), _json(places(new.messages, run.segmenter))),
        *(new.tokens, length),
        *(new.is_truncated, new.is_probe_hit, new.reward, new.table_version, "now"),
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _cells_by_key(run: Run, keys: set[str]) -> dict[str, Cell]:
    stored = {cell.key: cell for cell in run.cells.filter(key__in=keys)}
    missing = sorted(keys - stored.keys())
    if missing and run.cells.count() + len(missing) > MOST_CELLS:
        raise TooManyCellsError(fields={"verdicts": f"more than {MOST_CELLS} kinds in the run"})
    for cell in Cell.objects.bulk_create([Cell(run=run, key=key) for key in missing]):
        stored[cell.key] = cell
    return stored


def _store_groups(run: Run, rollouts: Sequence[NewRollout]) -> dict[str, int]:
    first_of = {new.group: new for new in reversed(rollouts)}
    ids = dict(zip(first_of, reserve_ids(Group, len(first_of)), strict=True))
    copy_rows(
        Group,
        ("id", "run_id", "uid", "prompt_id", "step"),
        ((ids[uid], run.pk, uid, new.prompt.pk, new.step) for uid, new in first_of.items()),
    )
    return ids


def _count_cells(
    run: Run, rollouts: Sequence[NewRollout], lengths: Sequence[int], cells: Mapping[str, Cell]
) -> None:
    counts = Counter(
        (
            new.step // run.step_block,
            cells[new.cell_key].pk,
            new.policy.pk,
            new.prompt.source,
            length,
            new.prompt.difficulty,
        )
        for new, length in zip(rollouts, lengths, strict=True)
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO rollouts_cellcount AS kept
                (run_id, block, cell_id, policy_id, source, length_bin, difficulty, rollouts)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT ON CONSTRAINT cell_count_once
            DO UPDATE SET rollouts = kept.rollouts + excluded.rollouts
            """,
            [(run.pk, *key, count) for key, count in counts.items()],
        )


def _summarise_steps(run: Run, rollouts: Sequence[NewRollout]) -> None:
    by_step: dict[int, list[NewRollout]] = {}
    for new in rollouts:
        by_step.setdefault(new.step, []).append(new)
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO rollouts_stepsummary AS kept
                (run_id, step, rollouts, accepted, abstained, table_version)
            VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT ON CONSTRAINT step_summary_once
            DO UPDATE SET rollouts = kept.rollouts + excluded.rollouts,
                          accepted = kept.accepted + excluded.accepted,
                          abstained = kept.abstained + excluded.abstained,
                          table_version = GREATEST(kept.table_version, excluded.table_version)
            """,
            [(run.pk, step, *_summary(rows)) for step, rows in sorted(by_step.items())],
        )


def _summary(rows: Sequence[NewRollout]) -> tuple[int, int, int, int | None]:
    versions = [new.table_version for new in rows if new.table_version is not None]
    accepted = sum(new.is_accepted for new in rows)
    abstained = sum(new.table_version is not None and new.reward is None for new in rows)
    return len(rows), accepted, abstained, max(versions, default=None)


@transaction.atomic
def blank_texts(*, rollout_ids: Sequence[int]) -> None:
    """Leave of the rollouts' texts nothing but that they were there. The rest of the row stays."""
    Rollout.objects.filter(pk__in=rollout_ids).update(
        messages=NO_MESSAGES, steps=[], answer_class=None, purged_at=timezone.now()
    )


def set_answer_classes(*, classes: Mapping[int, str | None]) -> None:
    """Give rollouts, by id, other answer classes; one that was purged meanwhile stays in none."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE rollouts_rollout AS rollout SET answer_class = given.answer_class
            FROM unnest(%s::bigint[], %s::text[]) AS given (id, answer_class)
            WHERE rollout.id = given.id AND rollout.purged_at IS NULL
            """,
            [list(classes), list(classes.values())],
        )


def set_steps(*, steps: Mapping[int, Sequence[Sequence[int]]]) -> None:
    """Give rollouts, by id, other steps; one that was purged meanwhile keeps none."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE rollouts_rollout AS rollout SET steps = given.steps
            FROM unnest(%s::bigint[], %s::jsonb[]) AS given (id, steps)
            WHERE rollout.id = given.id AND rollout.purged_at IS NULL
            """,
            [list(steps), [_json(places) for places in steps.values()]],
        )


@transaction.atomic
def create_slice(*, project: Project, name: str, conditions: Conditions, actor: object) -> Slice:
    """Store a slice; its conditions are refused where they break a rule."""
    if not (name.strip() and len(name) <= MOST_NAME and is_storable(name)):
        raise InvalidSliceError(fields={"name": f"1 to {MOST_NAME} characters"})
    parsed = parse(conditions)
    if not parsed:
        raise InvalidSliceError(fields={"conditions": "at least one"})
    slice_, is_new = Slice.objects.get_or_create(
        project=project,
        name=name,
        defaults={
            "conditions": [condition.to_json() for condition in parsed],
            "created_by": str(actor),
        },
    )
    if not is_new:
        raise SliceConflictError(fields={"name": "is taken"})
    record_event(actor=actor, action="slice created", subject=slice_, name=name)
    return slice_


@transaction.atomic
def delete_slice(*, slice_: Slice, actor: object) -> None:
    """Delete a slice that nothing refers to."""
    record_event(actor=actor, action="slice deleted", subject=slice_, name=slice_.name)
    try:
        slice_.delete()
    except ProtectedError:
        raise SliceInUseError from None
