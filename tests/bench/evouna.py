"""`make bench-evouna`: audits of EVOUNA through the services, over and over, against the truth.

Each replicate is an audit of its own on the same answers: a new secret, 4 waves, labels from
`human_correct`, all taken back at its end, so that no replicate knows another's labels. Frames,
draws, queues and estimates are the services' own; the labels are stored all at once. Held against
the truth: the coverage of the intervals, of the whole and by policy; and the mean squared error
against that of a uniform sample of as many labels.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import numpy as np
from django.db import connection, transaction
from numpy.typing import NDArray

from review.accounts.models import Role, User
from review.calibration.queries import audited_windows, newest_estimates
from review.calibration.readings import reading_of
from review.calibration.services.estimates import current_beliefs, refresh_estimates
from review.flows import audit, ingest
from review.flows.ingest import IncomingMessage, IncomingRollout, IncomingVerdict
from review.labeling.models import PENDING, Answer, Assignment, AssignmentState, Label
from review.labeling.services.queues import enqueue_wave
from review.runs.models import Run
from review.runs.services import NewPrompt, NewRun, store_prompts
from review.sampling.models import Window
from review.sampling.queries import open_wave
from review.sampling.services.waves import close_wave, draw_wave
from review.stats.design import COMPROMISE, RECALL_ONLY, Focus
from review.stats.estimands import Estimand
from review.stats.estimators import estimate_all
from review.stats.intervals import wilson
from review.verifiers.services import NewVerifier
from tests import builders, evouna
from tests.bench.database import bench_database

BATCH = 1000
FOCUSES = {"compromise": COMPROMISE, "recall": RECALL_ONLY}
SETTINGS = [(300, "compromise"), (1000, "compromise"), (300, "recall"), (1000, "recall")]
# Policies with fewer events of an estimand say nothing about its coverage.
EVENTS = 15
SLICED = ("recall", "fpr")


@dataclass(frozen=True)
class Truth:
    accepted: NDArray[np.bool_]
    correct: NDArray[np.bool_]

    @property
    def values(self) -> dict[str, float]:
        accepted, correct = self.accepted, self.correct
        return {
            "recall": float(accepted[correct].mean()),
            "fpr": float(accepted[~correct].mean()),
            "accuracy": float(correct.mean()),
            "precision": float(correct[accepted].mean()),
            "rejected_correct": float(correct[~accepted].mean()),
            "hack_rate": 0.0,
        }

    @property
    def events(self) -> dict[str, int]:
        """How often the verifier is wrong, in either way."""
        return {
            "recall": int((self.correct & ~self.accepted).sum()),
            "fpr": int((~self.correct & self.accepted).sum()),
        }

    def of(self, chosen: NDArray[np.bool_]) -> "Truth":
        return Truth(self.accepted[chosen], self.correct[chosen])


# Of one replicate: "recall" or "recall/<policy>" -> point (None: none), low, high.
Result = dict[str, tuple[float | None, float, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--settings", type=int, nargs="*", default=range(len(SETTINGS)))
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not evouna.FILE.exists():
        sys.exit(f"{evouna.FILE} is not here: nothing to measure")
    if arguments.into:
        replicate(arguments.replicates, arguments.settings, arguments.into)
        return
    answers = list(evouna.completions())
    results = in_processes(arguments.replicates, arguments.jobs, arguments.settings)
    report(results, answers)


def in_processes(replicates: int, jobs: int, settings: Sequence[int]) -> dict[int, list[Result]]:
    """Each process has a database of its own: audits of one run wait for one another."""
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{job}.json" for job in range(jobs)]
        counts = [replicates * (j + 1) // jobs - replicates * j // jobs for j in range(jobs)]
        running = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.bench.evouna", "--replicates", str(count)),
                    *("--into", str(file), "--settings", *map(str, settings)),
                ]
            )
            for file, count in zip(files, counts, strict=True)
        ]
        if any(process.wait() for process in running):
            sys.exit("a process of the benchmark failed")
        parts = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return {number: [r for part in parts for r in part[str(number)]] for number in settings}


def replicate(replicates: int, settings: Sequence[int], into: Path) -> None:
    with bench_database():
        answers = list(evouna.completions())
        run, reviewer = import_run(answers)
        correct = {a.uid: a.is_correct for a in answers}
        policies = sorted({a.policy for a in answers})
        results: dict[int, list[Result]] = {}
        for number in settings:
            budget, focus = SETTINGS[number]
            started = time.perf_counter()
            results[number] = [
                audit_once(run, reviewer, correct, policies, budget, FOCUSES[focus])
                for _ in range(replicates)
            ]
            seconds = time.perf_counter() - started
            print(f"{replicates} audits of {budget}, {focus}: {seconds:.0f} s", flush=True)
    into.write_text(json.dumps(results), encoding="utf-8")


def import_run(answers: list[evouna.Completion]) -> tuple[Run, User]:
    project = builders.make_project("TriviaQA")
    reviewer = builders.make_user(project, Role.REVIEWER)
    run, _ = ingest.open_run(
        project=project,
        new=NewRun(
            uid="evouna",
            name="TriviaQA, five systems",
            seed=0,
            config={},
            group_size=5,
            normaliser="squad-1",
            step_block=1,
        ),
        verifiers=[
            NewVerifier(
                name="alias-contained",
                version=evouna.VERIFIER.version,
                channel="correctness",
                weight=1.0,
            )
        ],
        actor="bench",
    )
    prompts = {
        a.prompt: NewPrompt(
            uid=a.prompt,
            text=a.problem,
            references=[a.reference],
            domain="trivia",
            source="EVOUNA TriviaQA",
            licence="Apache-2.0",
            released_on=None,
            split="train",
        )
        for a in answers
    }
    store_prompts(run=run, prompts=list(prompts.values()))
    started = time.perf_counter()
    for start in range(0, len(answers), BATCH):
        ingest.store_batch(
            run=run,
            batch=[
                IncomingRollout(
                    uid=a.uid,
                    prompt=a.prompt,
                    group=a.prompt,
                    step=0,
                    policy=a.policy,
                    messages=[IncomingMessage(role="assistant", content=a.text)],
                    verdicts=[
                        IncomingVerdict(
                            verifier="alias-contained",
                            version=evouna.VERIFIER.version,
                            outcome=a.verdict.outcome,
                            path=a.verdict.path,
                            form=a.verdict.form,
                            candidates=a.verdict.candidates,
                            extracted=a.verdict.extracted,
                        )
                    ],
                )
                for a in answers[start : start + BATCH]
            ],
        )
    rate = len(answers) / (time.perf_counter() - started)
    print(f"{len(answers)} answers imported, {rate:,.0f} a second", flush=True)
    ingest.finish_step(run=run, step=0)
    run.refresh_from_db()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return run, reviewer


def audit_once(
    run: Run,
    reviewer: User,
    correct: dict[str, bool],
    policies: Sequence[str],
    budget: int,
    focus: Focus,
) -> Result:
    with transaction.atomic():
        rule = builders.make_audit(
            run, first_step=0, last_step=0, window_steps=1, budget=budget, waves=4, focus=focus
        )
        audit.start_audit(rule=rule, actor="bench")
        audit.open_windows(run=run)
        window = rule.windows.select_related("rule__run").get()
        while wave := open_wave(window):
            answer_wave(window, reviewer, correct)
            close_wave(wave=wave)
            beliefs = current_beliefs(run)
            if drawn := draw_wave(window=window, f_M=beliefs.f_M, q_M=beliefs.q_M):
                enqueue_wave(wave=drawn)
        refresh_estimates(run=run, window=window)
        found: Result = {
            name: (row.point, row.low, row.high)
            for name, row in newest_estimates(run, window).items()
        }
        found |= by_policy(run, window, policies)
        transaction.set_rollback(True)
    return found


def answer_wave(window: Window, reviewer: User, correct: dict[str, bool]) -> None:
    items = Assignment.objects.filter(draw__window=window, state__in=PENDING)
    uids = items.values_list("pk", "rollout__uid")
    Label.objects.bulk_create(
        Label(
            assignment_id=pk,
            reviewer=reviewer,
            client_key=uuid4(),
            answer=Answer.CORRECT if correct[uid] else Answer.INCORRECT,
        )
        for pk, uid in uids
    )
    items.update(state=AssignmentState.DONE)


def by_policy(run: Run, window: Window, policies: Sequence[str]) -> Result:
    audited = audited_windows(run, [window])
    found: Result = {}
    for policy in policies:
        reading = reading_of(
            run, audited, conditions=[{"field": "policy", "op": "is", "value": policy}]
        )
        estimates = estimate_all(reading.windows, slices=reading.slices, accepted=reading.accepted)
        for name in SLICED:
            row = estimates[Estimand(name)]
            found[f"{name}/{policy}"] = (row.point, row.low, row.high)
    return found


@dataclass(frozen=True)
class Uniform:
    """A simple random sample of as many labels, with Wilson's interval."""

    squared_error: dict[str, float]
    width: dict[str, float]


def uniform(truth: Truth, budget: int, samples: int = 4000) -> Uniform:
    rng = np.random.default_rng(0)
    errors: dict[str, list[float]] = {"recall": [], "fpr": [], "accuracy": []}
    widths: dict[str, list[float]] = {name: [] for name in errors}
    for _ in range(samples):
        chosen = rng.choice(len(truth.correct), budget, replace=False)
        accepted, correct = truth.accepted[chosen], truth.correct[chosen]
        hits = {
            "recall": (accepted[correct].sum(), correct.sum()),
            "fpr": (accepted[~correct].sum(), (~correct).sum()),
            "accuracy": (correct.sum(), budget),
        }
        for name, (k, n) in hits.items():
            interval = wilson(int(k), int(n))
            errors[name].append((k / n - truth.values[name]) ** 2)
            widths[name].append(interval.high - interval.low)
    return Uniform(
        {name: float(np.mean(values)) for name, values in errors.items()},
        {name: float(np.mean(values)) for name, values in widths.items()},
    )


def report(results: dict[int, list[Result]], answers: list[evouna.Completion]) -> None:
    truth = Truth(
        accepted=np.array([a.verdict.outcome == "pass" for a in answers]),
        correct=np.array([a.is_correct for a in answers]),
    )
    policy = np.array([a.policy for a in answers])
    truths = {name: truth.of(policy == name) for name in sorted(set(policy))}
    figures: dict[str, float] = {}
    for number, rows in results.items():
        budget, focus = SETTINGS[number]
        figures |= report_setting(rows, truth, truths, budget, focus)
    print(json.dumps({"bench": "evouna", "figures": figures}))


def report_setting(
    rows: list[Result], truth: Truth, truths: dict[str, Truth], budget: int, focus: str
) -> dict[str, float]:
    plain = uniform(truth, budget)
    key = f"{focus}_{budget}"
    figures: dict[str, float] = {f"replicates_{key}": len(rows)}
    print(f"\n{budget} labels, {focus}, {len(rows)} audits")
    print(
        f"{'':34}{'truth':>8}{'mean':>8}{'covers':>8}{'width':>8}{'/uniform':>9}{'efficiency':>11}"
    )
    for name, value in truth.values.items():
        known = [row[name] for row in rows if row[name][0] is not None]
        points = np.array([point for point, _, _ in known], float)
        covers = coverage(rows, name, value)
        width = float(np.mean([high - low for _, low, high in known]))
        line = f"{name:34}{value:8.4f}{points.mean():8.4f}{covers:8.3f}{width:8.4f}"
        figures[f"coverage_{name}_{key}"] = round(covers, 4)
        if name in plain.width:
            efficiency = plain.squared_error[name] / float(np.mean((points - value) ** 2))
            line += f"{width / plain.width[name]:9.2f}{efficiency:11.2f}"
            figures[f"efficiency_{name}_{key}"] = round(efficiency, 3)
            figures[f"width_ratio_{name}_{key}"] = round(width / plain.width[name], 3)
        if name == "rejected_correct":
            figures[f"reject_rate_bias_{key}"] = round(float(points.mean()) - value, 4)
        print(line)
    sliced = []
    for name in SLICED:
        for policy, part in truths.items():
            covers = coverage(rows, f"{name}/{policy}", part.values[name])
            events = part.events[name]
            note = "" if events >= EVENTS else f"   ({events} events: too few to judge)"
            label = f"  {name} of {policy}"
            print(f"{label:34}{part.values[name]:8.4f}{'':8}{covers:8.3f}{note}")
            sliced += [covers] if events >= EVENTS else []
    figures[f"slice_coverage_mean_{key}"] = round(float(np.mean(sliced)), 4)
    figures[f"slice_coverage_min_{key}"] = round(float(np.min(sliced)), 4)
    return figures


def coverage(rows: list[Result], name: str, value: float) -> float:
    """Intervals that hold the truth; where there is no point, the interval is [0, 1]."""
    return float(np.mean([low <= value <= high for _, low, high in (row[name] for row in rows)]))


if __name__ == "__main__":
    main()
