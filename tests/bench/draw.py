"""`make bench-draw`: does an audit's work grow with the frame? 1 against 10 million rollouts.

Two runs of about a thousand cells, their rows narrow (no text). In each the product's own services
write the frame, preview a rule, draw 1,000 rollouts and refresh the estimates of 1,000 labels.
Only writing the frame may grow with it: it is timed apart.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from uuid import uuid4

import numpy as np
from django.db import connection, transaction

from review.accounts.models import Project, Role, User
from review.calibration.queries import newest_estimates
from review.calibration.services.estimates import current_beliefs, refresh_estimates
from review.flows import audit
from review.flows.preview import preview_audit
from review.labeling.models import Answer, Assignment, AssignmentState, Label
from review.labeling.services.queues import enqueue_wave
from review.rollouts.models import Cell, Group
from review.runs.models import Policy, Run
from review.sampling.models import Wave, Window
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
REPEATS = 9


@dataclass(frozen=True)
class Subject:
    """A run with an open window, and what its frame took to write."""

    run: Run
    new: NewRule
    window: Window
    write_frame: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES)
    arguments = parser.parse_args()
    with bench_database():
        project = builders.make_project("Draws")
        reviewer = builders.make_user(project, Role.REVIEWER)
        subjects = [prepare(project, size) for size in arguments.sizes]
        timings = measure(subjects, reviewer)
    report(arguments.sizes, timings)


def prepare(project: Project, size: int) -> Subject:
    started = time.perf_counter()
    run = fill_run(builders.make_run(project, step_block=STEP_BLOCK), size)
    print(f"{size:,} rollouts stored in {time.perf_counter() - started:.0f} s", flush=True)
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
    rule = start_rule(rule=audit.create_audit(run=run, new=new, actor="bench"), actor="bench")
    (window,) = extend_windows(rule=rule)
    seconds = timed(lambda: write_frame(window=window))
    print(f"{size:,} frame rows written in {seconds:.0f} s", flush=True)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE sampling_framerow")
    return Subject(run, new, window, seconds)


def measure(subjects: Sequence[Subject], reviewer: User) -> dict[str, list[float]]:
    """Seconds of each kind of work, for each subject; their turns alternate."""
    found = {
        "preview of a rule": alternately(
            subjects, lambda each: preview_audit(run=each.run, new=each.new)
        ),
        "the working model": alternately(subjects, lambda each: current_beliefs(each.run)),
        "draw of 1,000 with it": alternately(subjects, draw),
        "fill the queue": [fill_queue(each) for each in subjects],
    }
    for each in subjects:
        answer_all(each.window, reviewer)
        close_wave(wave=each.window.waves.get())
    found["refresh of 1,000 labels"] = alternately(subjects, refresh)
    found["  its CPU in this process"] = alternately(subjects, refresh, clock=cpu_seconds)
    for each in subjects:
        refresh(each)
        assert newest_estimates(each.run, each.window)["accuracy"].labels == BUDGET
    found["write the frame"] = [each.write_frame for each in subjects]
    return found


def fill_queue(subject: Subject) -> float:
    wave = draw(subject)
    return timed(lambda: enqueue_wave(wave=wave))


def refresh(subject: Subject) -> None:
    refresh_estimates(run=subject.run, window=subject.window)


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


def draw(subject: Subject) -> Wave:
    beliefs = current_beliefs(subject.run)
    wave = draw_wave(window=subject.window, f_M=beliefs.f_M, q_M=beliefs.q_M)
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


def alternately(
    subjects: Sequence[Subject],
    work: Callable[[Subject], object],
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Median of several times for each subject, each taken back; the first round warms up."""
    rounds = [
        [undone(lambda each=each: work(each), clock) for each in subjects]
        for _ in range(1 + REPEATS)
    ]
    return [median(times) for times in zip(*rounds[1:], strict=True)]


def report(sizes: Sequence[int], timings: dict[str, list[float]]) -> None:
    print(f"\n{'seconds':28}" + "".join(f"{size:>14,}" for size in sizes) + f"{'growth':>9}")
    for label, (small, large) in timings.items():
        print(f"{label:28}{small:14.3f}{large:14.3f}{large / small:9.2f}")
    preview, refreshed = timings["preview of a rule"], timings["refresh of 1,000 labels"]
    draws = timings["draw of 1,000 with it"]
    figures = {
        "preview_s": round(preview[1], 4),
        "preview_growth": round(preview[1] / preview[0], 3),
        "draw_10m_s": round(draws[1], 4),
        "draw_growth": round(draws[1] / draws[0], 3),
        "refresh_s": round(timings["  its CPU in this process"][1], 4),
        "refresh_wall_s": round(refreshed[1], 4),
        "refresh_growth": round(refreshed[1] / refreshed[0], 3),
        "write_frame_s": round(timings["write the frame"][1], 1),
    }
    print(json.dumps({"bench": "draw", "figures": figures}))


if __name__ == "__main__":
    main()
