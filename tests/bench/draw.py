"""`make bench-draw`: does an audit's work grow with the frame? 1 against 10 million rollouts.

Two runs of about a thousand cells, their rows narrow (no text). In each the product's own services
write the frame, preview a rule, draw 1,000 rollouts and refresh the estimates of 1,000 labels.
Only writing the frame may grow with it: it is timed apart.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from uuid import uuid4

import numpy as np
from django.db import connection, transaction

from review.accounts.models import Role, User
from review.calibration.queries import newest_estimates
from review.calibration.services.estimates import current_beliefs, refresh_estimates
from review.flows import audit
from review.flows.preview import preview_audit
from review.labeling.models import Answer, Assignment, AssignmentState, Label
from review.labeling.services.queues import enqueue_wave
from review.rollouts.models import Cell, Group
from review.runs.models import Policy, Run
from review.sampling.models import Window
from review.sampling.services.rules import NewRule, RuleSettings, start_rule
from review.sampling.services.waves import close_wave, draw_wave
from review.sampling.services.windows import extend_windows, write_frame
from tests import builders
from tests.bench.database import bench_database
from trainer.rewards.cells import Cell as CellFeatures

SIZES = (1_000_000, 10_000_000)
CELLS = 1_000
STEPS, STEP_BLOCK = 100, 10
BUDGET = 1_000
REPEATS = 5


@dataclass(frozen=True)
class Timings:
    """Seconds: of the clock, but for refresh_cpu, which is this process's CPU time."""

    rollouts: int
    write_frame: float
    preview: float
    beliefs: float
    draw: float
    enqueue: float
    refresh: float
    refresh_cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES)
    arguments = parser.parse_args()
    with bench_database():
        project = builders.make_project("Draws")
        reviewer = builders.make_user(project, Role.REVIEWER)
        results = []
        for size in arguments.sizes:
            started = time.perf_counter()
            run = fill_run(builders.make_run(project, step_block=STEP_BLOCK), size)
            print(f"{size:,} rollouts stored in {time.perf_counter() - started:.0f} s", flush=True)
            results.append(measure(run, reviewer, size))
    report(results)


def fill_run(run: Run, size: int) -> Run:
    """Rollouts without text over a thousand cells of very different sizes, and their counts."""
    builders.make_prompt(run)
    group = Group.objects.create(run=run, uid="g", prompt=run.prompts.get(), step=0)
    policy = Policy.objects.create(run=run, uid="p")
    cells = Cell.objects.bulk_create(Cell(run=run, key=key) for key in cell_keys())
    parameters = {
        "run": run.pk,
        "group": group.pk,
        "policy": policy.pk,
        "cells": [cell.pk for cell in cells],
        "n": size,
        "steps": STEPS,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        # The rows point at what is there: no need to look it up ten million times.
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(ROLLOUTS_SQL, parameters)
    with connection.cursor() as cursor:
        cursor.execute(COUNTS_SQL, {"run": run.pk, "block": STEP_BLOCK})
        cursor.execute(SUMMARIES_SQL, {"run": run.pk})
        cursor.execute("VACUUM ANALYZE rollouts_rollout")
    Run.objects.filter(pk=run.pk).update(completed_step=STEPS - 1)
    run.refresh_from_db()
    return run


# The square of a uniform number makes some cells a thousand times as large as others.
ROLLOUTS_SQL = """
INSERT INTO rollouts_rollout
    (run_id, step, uid, group_id, policy_id, cell_id, messages, steps, is_truncated, is_probe_hit,
     length_bin, received_at)
SELECT %(run)s, i * %(steps)s::bigint / %(n)s, 'r' || i, %(group)s, %(policy)s,
       (%(cells)s::bigint[])[1 + floor(1000 * power(random(), 2))::int],
       '[]', '[]', false, false, 0, now()
FROM generate_series(0, %(n)s - 1) AS i
"""

COUNTS_SQL = """
INSERT INTO rollouts_cellcount (run_id, block, cell_id, policy_id, source, length_bin, rollouts)
SELECT run_id, step / %(block)s, cell_id, policy_id, 'made up', length_bin, count(*)
FROM rollouts_rollout WHERE run_id = %(run)s
GROUP BY run_id, step / %(block)s, cell_id, policy_id, length_bin
"""

SUMMARIES_SQL = """
INSERT INTO rollouts_stepsummary (run_id, step, rollouts, accepted, abstained)
SELECT run_id, step, count(*), 0, 0 FROM rollouts_rollout WHERE run_id = %(run)s
GROUP BY run_id, step
"""


def cell_keys() -> list[str]:
    """1,000 cells: five kinds of verdict, ten scores, four shares, five domains."""
    verdicts = [
        *("pass/boxed/integer/1", "pass/boxed/expression/1", "fail/boxed/integer/1"),
        *("fail/none/none/0", "undecided/none/none/0"),
    ]
    return [
        CellFeatures(verdict, score, share, False, domain).key
        for verdict in verdicts
        for score in range(10)
        for share in range(4)
        for domain in ("algebra", "geometry", "code", "logic", "trivia")
    ]


def measure(run: Run, reviewer: User, size: int) -> Timings:
    new = NewRule(
        name="audit",
        first_step=0,
        window_steps=STEPS,
        settings=RuleSettings(
            last_step=STEPS - 1,
            budget=2 * BUDGET,
            waves=2,
            reviews_contradictions=False,
            second_review_share=0,
        ),
    )
    preview_s = repeated(lambda: preview_audit(run=run, new=new))
    rule = start_rule(rule=audit.create_audit(run=run, new=new, actor="bench"), actor="bench")
    (window,) = extend_windows(rule=rule)
    frame_s = timed(lambda: write_frame(window=window))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE sampling_framerow")
    # Once beforehand: the first call imports and fills caches, whatever the size.
    undone(lambda: draw(window))
    beliefs_s = repeated(lambda: current_beliefs(run))
    draw_s = repeated(lambda: draw(window))
    wave = draw(window)
    enqueue_s = timed(lambda: enqueue_wave(wave=wave))
    answer_all(window, reviewer)
    close_wave(wave=wave)
    cpu_s = repeated(lambda: refresh_estimates(run=run, window=window), clock=cpu_seconds)
    refresh_s = repeated(lambda: refresh_estimates(run=run, window=window))
    refresh_estimates(run=run, window=window)
    found = newest_estimates(run, window)
    assert found["accuracy"].labels == BUDGET
    return Timings(size, frame_s, preview_s, beliefs_s, draw_s, enqueue_s, refresh_s, cpu_s)


def draw(window: Window):
    beliefs = current_beliefs(window.rule.run)
    wave = draw_wave(window=window, f_M=beliefs.f_M, q_M=beliefs.q_M)
    assert wave is not None
    assert wave.planned == BUDGET
    return wave


def answer_all(window: Window, reviewer: User) -> None:
    """Labels of every item at once: how they come in is another benchmark's business."""
    rng = np.random.default_rng(0)
    items = list(Assignment.objects.filter(draw__window=window))
    Label.objects.bulk_create(
        Label(
            assignment=item,
            reviewer=reviewer,
            client_key=uuid4(),
            answer=Answer.CORRECT if rng.random() < 0.5 else Answer.INCORRECT,
        )
        for item in items
    )
    Assignment.objects.filter(draw__window=window).update(
        state=AssignmentState.DONE, reviewer=reviewer
    )


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    started = clock()
    work()
    return clock() - started


def undone(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    with transaction.atomic():
        seconds = timed(work, clock)
        transaction.set_rollback(True)
    return seconds


def repeated(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Median of several times, each taken back."""
    return median(undone(work, clock) for _ in range(REPEATS))


def report(results: list[Timings]) -> None:
    small, large = results
    rows = {
        "preview of a rule": "preview",
        "draw of 1,000": "draw",
        "  of it: the working model": "beliefs",
        "fill the queue": "enqueue",
        "refresh 1,000 labels": "refresh",
        "  of it: our CPU": "refresh_cpu",
        "write the frame": "write_frame",
    }
    print(f"\n{'seconds':28}{small.rollouts:>14,}{large.rollouts:>14,}{'growth':>9}")
    for label, name in rows.items():
        before, after = getattr(small, name), getattr(large, name)
        print(f"{label:28}{before:14.3f}{after:14.3f}{after / before:9.2f}")
    figures = {
        "preview_s": round(large.preview, 4),
        "draw_10m_s": round(large.draw, 4),
        "draw_growth": round(large.draw / small.draw, 3),
        "preview_growth": round(large.preview / small.preview, 3),
        "refresh_s": round(large.refresh_cpu, 4),
        "refresh_wall_s": round(large.refresh, 4),
        "refresh_growth": round(large.refresh / small.refresh, 3),
        "write_frame_s": round(large.write_frame, 1),
    }
    print(json.dumps({"bench": "draw", "figures": figures}))


if __name__ == "__main__":
    main()
