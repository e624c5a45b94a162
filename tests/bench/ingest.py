"""`make bench-ingest`: how fast does a file of rollouts go in, beside a raw COPY of the same rows?

A file of JSON lines (groups of eight completions of some 600 characters, one verifier) is imported
by the product's own service. In turns with it, the rows that it leaves are put by COPY into copies
of the tables: same rows, same indexes, same constraints, nothing else. What an import spends its
time on is measured by a smaller one with a clock around each part. Labels out are measured beside.
"""

import argparse
import json
import math
import random
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.db import connection, transaction

from review.accounts.models import Role
from review.flows import imports as flow
from review.flows import ingest
from review.rollouts import imports, services
from review.rollouts.importers import jsonl
from review.rollouts.importers.mapping import ColumnMapping
from review.rollouts.models import Import, ImportState
from tests import builders
from tests.bench import labels_out
from tests.bench.database import bench_database
from tests.labeling import items

ROWS = 1_000_000
TIMED_ROWS = 40_000
MOST_LABELS = 200_000
GROUP, GROUPS_A_STEP = 8, 128
PROBLEMS = 5_000
WORDS = "the a of we then add get value so 12 7 15 x y hence both sides equals with"
PIECE = 256 * 1024
# In the order of their foreign keys.
TABLES = (
    *("runs_prompt", "runs_policy", "rollouts_cell", "rollouts_group", "rollouts_rollout"),
    "verifiers_verdict",
)
# Kept up to date as rows come in: they are copied once, at the end.
COUNTS = ("rollouts_cellcount", "rollouts_stepsummary")
SLICE_SECONDS = 10
PARTS: dict[str, tuple[Any, str]] = {
    "map columns": (flow.Chunks, "_add"),
    "names, extraction, verdicts": (flow.Naming, "group"),
    "cells": (ingest, "cells_of_group"),
    "segment": (services, "places"),
    "encode as JSON": (services, "_json"),
    "COPY": (services, "copy_rows"),
    "prompts": (flow, "store_prompts"),
    "counts": (services, "_count_cells"),
    "step summaries": (services, "_summarise_steps"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-ingest-") as folder, bench_database():
        settings.UPLOADS_DIR = folder
        settings.CELERY_TASK_ALWAYS_EAGER = False
        split(min(TIMED_ROWS, arguments.rows))
        measured = measure(Path(folder), arguments.rows)
        report(arguments.rows, measured, labels_out_share(min(MOST_LABELS, arguments.rows)))


def measure(folder: Path, rows: int) -> dict[str, float]:
    empty_tables()
    raw = RawTables(folder)
    import_ = started(rows)
    seconds = 0.0
    is_over = False
    while not is_over:
        began = time.perf_counter()
        is_over = flow.run_import(import_=import_, seconds=SLICE_SECONDS)
        seconds += time.perf_counter() - began
        import_.refresh_from_db()
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        # In turns, so that a busy machine is busy for both.
        raw.take_over(TABLES)
    raw.take_over(COUNTS)
    assert import_.rows_stored == rows, import_.problem
    print(f"imported in {seconds:.1f} s; COPY of the same rows in {raw.seconds:.1f} s", flush=True)
    return {"seconds": seconds, "raw": raw.seconds, "peak_mib": peak_mib}


class RawTables:
    """Tables like the product's, with all indexes and constraints, into which rows are copied."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds = 0.0
        self.last = dict.fromkeys(TABLES + COUNTS, 0)
        with connection.cursor() as cursor:
            cursor.execute("CREATE SCHEMA raw")
            for table in TABLES + COUNTS:
                cursor.execute(f"CREATE TABLE raw.{table} (LIKE public.{table} INCLUDING ALL)")
            # A foreign key names its table without a schema: here that is the raw one.
            cursor.execute("SET search_path = raw, public")
            for table in TABLES + COUNTS:
                cursor.execute(FOREIGN_KEYS, [f"public.{table}"])
                for (definition,) in cursor.fetchall():
                    unqualified = definition.replace("public.", "")
                    cursor.execute(f"ALTER TABLE raw.{table} ADD {unqualified}")
            cursor.execute("SET search_path = public")

    def take_over(self, tables: Sequence[str]) -> None:
        """Copy what is new, in one transaction. Taking it out before is not counted."""
        for table in tables:
            self._take_out(table)
        began = time.perf_counter()
        with transaction.atomic():
            for table in tables:
                _copy_in(self.folder / table, f"raw.{table}")
        self.seconds += time.perf_counter() - began

    def _take_out(self, table: str) -> None:
        after = self.last[table]
        rows = f"SELECT * FROM public.{table} WHERE id > {after} ORDER BY id"  # noqa: S608  (ours)
        with (
            (self.folder / table).open("wb") as file,
            connection.cursor() as cursor,
            cursor.copy(f"COPY ({rows}) TO STDOUT (FORMAT BINARY)") as copy,
        ):
            for piece in copy:
                file.write(piece)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT coalesce(max(id), 0) FROM public.{table}")  # noqa: S608
            (self.last[table],) = cursor.fetchone()


FOREIGN_KEYS = """
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'f' AND conrelid = %s::regclass
"""


def _copy_in(path: Path, table: str) -> None:
    with (
        path.open("rb") as file,
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy,
    ):
        while piece := file.read(PIECE):
            copy.write(piece)


def timed_import(rows: int) -> float:
    import_ = started(rows)
    began = time.perf_counter()
    assert flow.run_import(import_=import_, seconds=math.inf)
    seconds = time.perf_counter() - began
    import_.refresh_from_db()
    assert import_.state == ImportState.DONE, import_.problem
    return seconds


def started(rows: int) -> Import:
    upload = imports.uploads_dir() / "new"
    write_file(upload, rows)
    import_ = flow.accept_upload(
        project=builders.make_project("Imports"),
        upload=upload,
        file_name="rollouts.jsonl",
        digest=imports.digest_of(upload),
        actor="bench",
    )
    columns = ColumnMapping.parse(flow.plan_of(import_).columns)
    with patch.object(flow.tasks.import_task, "delay"):
        return flow.start_import(
            import_=import_,
            columns=columns,
            run=None,
            run_name="bench",
            is_finishing=True,
            actor="bench",
        )


def write_file(path: Path, rows: int) -> None:
    rng = random.Random(0)
    words = WORDS.split()
    with path.open("w", encoding="utf-8") as file:
        for group in range(rows // GROUP):
            a, b = group % PROBLEMS, rng.randrange(100)
            for _ in range(GROUP):
                steps = [" ".join(rng.choices(words, k=38)) + "." for _ in range(3)]
                answer = rng.choice((a + b, a + b, a - b))
                text = "\n\n".join(steps) + f"\n\nSo the answer is \\boxed{{{answer}}}"
                row = {
                    "step": group // GROUPS_A_STEP,
                    "prompt": f"What is {a} + {b}? Think step by step.",
                    "completion": text,
                    "answer": str(a + b),
                    "score": float(answer == a + b),
                }
                file.write(json.dumps(row) + "\n")


def empty_tables() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(TABLES + COUNTS)} CASCADE")


def split(rows: int) -> None:
    """Where the time of an import goes. The clocks themselves make it slower."""
    spent: dict[str, float] = defaultdict(float)
    with ExitStack() as clocks:
        for label, (owner, name) in PARTS.items():
            clocks.enter_context(clocked(spent, label, owner, name))
        clocks.enter_context(
            patch.object(jsonl, "decoded", timed(spent, "read and parse", jsonl.decoded))
        )
        seconds = timed_import(rows)
    # COPY pulls its rows: what is made meanwhile is not its own.
    spent["COPY"] -= spent["segment"] + spent["encode as JSON"]
    spent["commit, checks and all else"] = seconds - sum(spent.values())
    print(f"an import of {rows:,} rows, with clocks in it: {seconds:.1f} s")
    for label, part in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"  {label:32}{1e6 * part / rows:8.1f} µs a row{100 * part / seconds:6.0f} %")


@contextmanager
def clocked(spent: dict[str, float], label: str, owner: Any, name: str) -> Iterator[None]:
    with patch.object(owner, name, timed(spent, label, getattr(owner, name))):
        yield


def timed(spent: dict[str, float], label: str, work: Callable[..., Any]) -> Callable[..., Any]:
    def timed_work(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            spent[label] += time.perf_counter() - started

    return timed_work


def labels_out_share(labels: int) -> float:
    """As `tests.bench.labels_out` has it: JSON lines against COPY of the same join."""
    empty_tables()
    project = builders.make_project("Labels out")
    builders.make_user(project, Role.REVIEWER)
    run = items.open_queue(project).rule.run
    labels_out.fill(run, labels)
    times = labels_out.fastest(run, ["jsonl"])
    print(f"{labels:,} labels out in {times['jsonl']:.1f} s, by COPY in {times['COPY']:.1f} s")
    return times["COPY"] / times["jsonl"]


def report(rows: int, measured: dict[str, float], labels_out: float) -> None:
    figures = {
        "rows_per_s": round(rows / measured["seconds"]),
        "share_of_copy": round(measured["raw"] / measured["seconds"], 3),
        "peak_mib": round(measured["peak_mib"]),
        "labels_out_share_of_copy": round(labels_out, 3),
    }
    print(json.dumps({"bench": "ingest", "figures": figures}))


if __name__ == "__main__":
    main()
