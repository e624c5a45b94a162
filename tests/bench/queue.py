"""`make bench-queue`: what taking an item and storing its label cost, from 1,000 to 1,000,000 open.

Measured is the time that one client waits for PostgreSQL, over all statements of a take
(`leases.take_next`) and of a commit (`flows.commit_label` of a label that agrees with the verdict,
with the query after it that asks whether the wave is done). Reading the item for the page is
neither; it is measured beside them.

The floor is the least that takes an item and stores a label in the same tables, with psycopg alone:
one transaction of UPDATE ... WHERE id = (SELECT ... FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING, and
one of INSERT and UPDATE. It keeps no history of leases, asks for nobody's rights or other slots,
and is not safe to send twice.

Floor and product take turns, and the sizes too, so that whatever else the machine does meets all of
them; `p95_over_floor` is the worst of the sizes. The database does not wait for the disk: that
would weigh on both sides and bring them nearer to each other. Then a race: 32 threads, killed
connections, doubled requests, ended leases.
"""

import argparse
import json
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median, quantiles
from uuid import uuid4

from django.db import connection, connections

from review.accounts.models import Project, Role, User
from review.flows import labels
from review.labeling.models import Answer, Assignment, AssignmentState, Queue
from review.labeling.queries import assignment_of_reviewer, item_of
from review.labeling.services.judgements import NewLabel
from review.labeling.services.leases import released, take_next
from tests import builders
from tests.bench import queue_shapes as shapes
from tests.bench.database import bench_database
from tests.bench.sql_time import SqlTime
from tests.labeling import bulk
from tests.labeling.race import Outcome, race

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PAIRS = 200
CLIENTS, PAIRS_OF_EACH = 8, 25
OWN_LABELS = 100_000
RACE_ITEMS, RACE_THREADS, RACE_REVIEWERS = 5_000, 32, 24

Timings = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--own-labels", type=int, default=OWN_LABELS)
    parser.add_argument("--race-items", type=int, default=RACE_ITEMS)
    arguments = parser.parse_args()
    sizes = arguments.sizes
    with bench_database():
        project = builders.make_project("Queues")
        reviewers = [builders.make_user(project, Role.REVIEWER) for _ in range(RACE_REVIEWERS)]
        queues, veteran = prepare(project, reviewers[0], sizes, arguments.own_labels)
        alone = measure([*queues, veteran], reviewers[0], arguments.pairs)
        crowd = measure_crowd(queues, reviewers[:CLIENTS])
        picks = measure_picks(queues[-1], reviewers[1])
        report_takes(sizes, alone, crowd)
        report_picks(sizes[-1], picks)
        outcome = run_race(project, reviewers, arguments.race_items)
    print_figures(sizes, alone, picks, outcome)


def prepare(
    project: Project, veteran: User, sizes: Sequence[int], own_labels: int
) -> tuple[list[Queue], Queue]:
    """A queue of each size, and one of which the veteran has answered that many rollouts once."""
    started = time.perf_counter()
    queues = [bulk.open_queue(project) for _ in sizes]
    bulk.make_rollouts(project, max(*sizes, own_labels + sizes[0]))
    for queue, size in zip(queues, sizes, strict=True):
        bulk.fill_queue(queue, size)
    overlapping = bulk.open_queue(project)
    bulk.fill_queue(overlapping, own_labels)
    bulk.fill_queue(overlapping, own_labels, slot=2)
    bulk.label_first_slots(overlapping, veteran)
    bulk.fill_queue(overlapping, sizes[0], skip=own_labels)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    for _ in range(2):
        # The first two make the mark and move it: the work of 100,000 labels, once.
        commit(take(overlapping, veteran), veteran)
    print(f"prepared in {time.perf_counter() - started:.0f} s", flush=True)
    return queues, overlapping


def take(queue: Queue, reviewer: User) -> Assignment:
    item = take_next(queue=queue, reviewer=reviewer)
    assert item is not None
    return item


def commit(item: Assignment, reviewer: User) -> None:
    assert item.lease_token is not None
    label, _ = labels.commit_label(
        assignment=item,
        reviewer=reviewer,
        token=item.lease_token,
        client_key=uuid4(),
        new=NewLabel(answer=Answer.CORRECT),
    )
    assert not label.is_late


def read(item: Assignment, reviewer: User) -> Assignment:
    """As a request does that comes with the item's id, and shows it."""
    found = assignment_of_reviewer(reviewer, item.pk)
    item_of(found)
    return found


def measure(queues: Sequence[Queue], reviewer: User, pairs: int) -> list[Timings]:
    """Seconds of each kind of work of one client, for each queue; all take turns."""
    connection.ensure_connection()
    own, floor = SqlTime(connection.connection), shapes.Floor()
    timings: list[Timings] = [defaultdict(list) for _ in queues]
    for round_ in range(-10, pairs):
        for queue, found in zip(queues, timings, strict=True):
            one_pair(queue, reviewer, own, floor, found if round_ >= 0 else defaultdict(list))
    floor.connection.close()
    connection.close()
    return timings


def one_pair(
    queue: Queue, reviewer: User, own: SqlTime, floor: shapes.Floor, found: Timings
) -> None:
    before, statements = own.seconds, own.statements
    item = take(queue, reviewer)
    found["take"].append(own.seconds - before)
    found["take statements"].append(own.statements - statements)
    before = own.seconds
    item = read(item, reviewer)
    found["read"].append(own.seconds - before)
    before, statements = own.seconds, own.statements
    commit(item, reviewer)
    found["commit"].append(own.seconds - before)
    found["commit statements"].append(own.statements - statements)
    found["both"].append(found["take"][-1] + found["commit"][-1])
    before = floor.time.seconds
    bare = floor.take(queue, reviewer)
    found["floor take"].append(floor.time.seconds - before)
    before = floor.time.seconds
    floor.commit(bare, reviewer)
    found["floor commit"].append(floor.time.seconds - before)
    found["floor both"].append(found["floor take"][-1] + found["floor commit"][-1])


def measure_crowd(queues: Sequence[Queue], reviewers: Sequence[User]) -> list[Timings]:
    """The same by eight clients at once, each a process with a connection of its own."""
    answered = Assignment.objects.filter(queue__in=queues, state=AssignmentState.DONE)
    answered.update(**released())
    connections.close_all()
    processes = multiprocessing.get_context("fork")
    with processes.Pool(len(reviewers)) as pool:
        parts = pool.starmap(in_process, [(queues, reviewer) for reviewer in reviewers], 1)
    return [
        {name: [t for part in of_queue for t in part[name]] for name in of_queue[0]}
        for of_queue in zip(*parts, strict=True)
    ]


def in_process(queues: Sequence[Queue], reviewer: User) -> list[Timings]:
    return [dict(found) for found in measure(queues, reviewer, PAIRS_OF_EACH)]


def measure_picks(queue: Queue, reviewer: User) -> dict[str, float]:
    """Median seconds of the query alone that finds the next item."""
    database = shapes.connect()
    clock = SqlTime(database)
    found = {}
    for name, pick, times in shapes.PICKS:
        seconds = []
        for _ in range(times):
            seconds.append(clock.of(lambda pick=pick: pick(database, queue, reviewer)))
            # Nothing but locks. (A rollback would make psycopg forget what it has prepared.)
            database.commit()
        found[name] = median(seconds)
    database.close()
    return found


def run_race(project: Project, reviewers: Sequence[User], items: int) -> Outcome:
    """A third of the items is reviewed twice."""
    queue = bulk.open_queue(project)
    bulk.fill_queue(queue, items - items // 4)
    bulk.fill_queue(queue, items // 4, slot=2)
    started = time.perf_counter()
    outcome = race(queue, reviewers, threads=RACE_THREADS)
    print(
        f"\nrace: {items:,} items, {RACE_THREADS} threads, {outcome.kills} killed connections, "
        f"{outcome.late} late labels, {time.perf_counter() - started:.0f} s"
    )
    print("  " + ", ".join(f"{name} {count}" for name, count in asdict(outcome).items()))
    return outcome


def p95(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=20)[-1]


COLUMNS = ("take", "floor take", "commit", "floor commit", "both", "floor both", "read")


def report_takes(sizes: Sequence[int], alone: Sequence[Timings], crowd: Sequence[Timings]) -> None:
    """The last of those measured alone is the veteran's."""
    names = [f"{size:,} open" for size in sizes]
    rows = [
        *zip([f"{name}, 1 client" for name in names], alone, strict=False),
        ("many own labels, 1 client", alone[-1]),
        *zip([f"{name}, {CLIENTS} clients" for name in names], crowd, strict=True),
    ]
    print(f"\n{'ms in SQL, p50 / p95':28}" + "".join(f"{name:>15}" for name in COLUMNS))
    for name, found in rows:
        cells = (f"{1e3 * median(found[c]):.2f} /{1e3 * p95(found[c]):6.2f}" for c in COLUMNS)
        print(f"{name:28}" + "".join(f"{cell:>15}" for cell in cells))
    statements = [median(alone[0][f"{what} statements"]) for what in ("take", "commit")]
    print("statements of a take and a commit: {:.0f} and {:.0f}".format(*statements))


def report_picks(size: int, picks: dict[str, float]) -> None:
    print(f"\nthe pick alone, {size:,} open, ms in SQL")
    for name, seconds in picks.items():
        print(f"  {name:20}{1e3 * seconds:10.3f}")


def print_figures(
    sizes: Sequence[int], alone: Sequence[Timings], picks: dict[str, float], outcome: Outcome
) -> None:
    of_sizes = alone[: len(sizes)]
    over_floor = [p95(found["both"]) / p95(found["floor both"]) for found in of_sizes]
    takes = [median(found["take"]) for found in alone]
    commits = [median(found["commit"]) for found in of_sizes]
    figures = {
        "p95_over_floor": round(max(over_floor), 2),
        "take_growth": round(takes[len(sizes) - 1] / takes[0], 2),
        "commit_growth": round(commits[-1] / commits[0], 2),
        "own_labels_growth": round(takes[-1] / takes[0], 2),
        "over_label_studio_shape": round(picks["Label Studio's"] / picks["this one"]),
        "take_p95_ms": round(1e3 * p95(of_sizes[-1]["take"]), 3),
        "commit_p95_ms": round(1e3 * p95(of_sizes[-1]["commit"]), 3),
        "doubled": outcome.doubled,
        "lost": outcome.lost,
        "labelled_too_often": outcome.labelled_too_often,
        "unstored": outcome.unstored,
    }
    print(json.dumps({"bench": "queue", "figures": figures}))


if __name__ == "__main__":
    main()
