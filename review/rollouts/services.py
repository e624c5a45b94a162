"""Append-only storage of rollouts: COPY for the rows, upserts for the counts."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.db import connection

from review.rollouts.errors import TooManyCellsError
from review.rollouts.models import Cell, Group, Rollout
from review.rollouts.segmentation import segment
from review.runs.models import Policy, Prompt, Run

# Upper edges of the length bins, in tokens (a quarter of the characters where tokens are unknown).
LENGTH_EDGES = (64, 256, 1024, 4096, 16384)


# Everything statistical costs in proportion to a run's cells: tokens made up anew for each rollout
# are a verifier's mistake.
MOST_CELLS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRollout:
    uid: str
    group: str
    prompt: Prompt
    step: int
    policy: Policy
    cell_key: str
    is_accepted: bool
    answer_class: str | None
    messages: list[dict[str, str]]
    tokens: int | None
    is_truncated: bool
    is_probe_hit: bool
    reward: float | None
    table_version: int | None

    @property
    def text(self) -> str:
        return self.messages[-1]["content"]

    @property
    def length_bin(self) -> int:
        length = self.tokens if self.tokens is not None else len(self.text) // 4
        return sum(length >= edge for edge in LENGTH_EDGES)


def store_rollouts(*, run: Run, rollouts: Sequence[NewRollout]) -> list[int]:
    """Store new rollouts with their groups and counts; their ids, in order.

    The caller holds the run's lock and has left out what is stored already.
    """
    cells = _cells_by_key(run, {new.cell_key for new in rollouts})
    groups = _store_groups(run, rollouts)
    ids = reserve_ids(Rollout, len(rollouts))
    copy_rows(
        Rollout,
        COLUMNS,
        (_row(run, id_, new, groups, cells) for id_, new in zip(ids, rollouts, strict=True)),
    )
    _count_cells(run, rollouts, cells)
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
    *("messages", "steps", "tokens", "is_truncated", "is_probe_hit", "reward"),
    *("table_version", "received_at"),
)


def _row(
    run: Run, id_: int, new: NewRollout, groups: Mapping[str, Group], cells: Mapping[str, Cell]
) -> tuple[object, ...]:
    return (
        *(id_, run.pk, new.step, new.uid, groups[new.group].pk, new.policy.pk),
        *(cells[new.cell_key].pk, new.answer_class),
        *(_json(new.messages), _json(segment(new.text)), new.tokens),
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


def _store_groups(run: Run, rollouts: Sequence[NewRollout]) -> dict[str, Group]:
    first_of = {new.group: new for new in reversed(rollouts)}
    groups = Group.objects.bulk_create(
        [Group(run=run, uid=uid, prompt=new.prompt, step=new.step) for uid, new in first_of.items()]
    )
    return {group.uid: group for group in groups}


def _count_cells(run: Run, rollouts: Sequence[NewRollout], cells: Mapping[str, Cell]) -> None:
    counts = Counter(
        (
            new.step // run.step_block,
            cells[new.cell_key].pk,
            new.policy.pk,
            new.prompt.source,
            new.length_bin,
        )
        for new in rollouts
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO rollouts_cellcount AS kept
                (run_id, block, cell_id, policy_id, source, length_bin, rollouts)
            VALUES (%s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT ON CONSTRAINT cell_count_once
            DO UPDATE SET rollouts = kept.rollouts + excluded.rollouts
            """,
            [(run.pk, *key, count) for key, count in sorted(counts.items())],
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
