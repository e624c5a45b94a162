"""`make bench-evouna`: audits of EVOUNA through the services, over and over, against the truth.

Each replicate is an audit of its own on the same answers: a new secret, 4 waves, 300 labels from
`human_correct`, all taken back at its end, so that no replicate knows another's labels. Its
intervals are held against the truth, and their widths against a uniform sample of as many labels
with Wilson's interval.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from uuid import uuid4

import numpy as np
from django.db import connection, transaction
from numpy.typing import NDArray

from review.accounts.models import Role, User
from review.calibration.queries import newest_estimates
from review.flows import audit, ingest, labels
from review.flows.ingest import IncomingMessage, IncomingRollout, IncomingVerdict
from review.labeling.models import Answer
from review.labeling.services.labels import NewLabel
from review.labeling.services.leases import take_next
from review.runs.models import Run
from review.runs.services import NewPrompt, NewRun, store_prompts
from review.sampling.models import WindowState
from review.stats.intervals import wilson
from review.verifiers.services import NewVerifier
from tests import builders, evouna
from tests.bench.database import bench_database

BUDGET = 300
BATCH = 1000


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


@dataclass(frozen=True)
class Result:
    point: float
    low: float
    high: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=100)
    parser.add_argument("--budget", type=int, default=BUDGET)
    arguments = parser.parse_args()
    if not evouna.FILE.exists():
        sys.exit(f"{evouna.FILE} is not here: nothing to measure")
    with bench_database():
        answers = list(evouna.completions())
        truth = Truth(
            accepted=np.array([a.verdict.outcome == "pass" for a in answers]),
            correct=np.array([a.is_correct for a in answers]),
        )
        run, reviewer = import_run(answers)
        correct = {a.uid: a.is_correct for a in answers}
        started = time.perf_counter()
        results = []
        for replicate in range(arguments.replicates):
            results.append(audit_once(run, reviewer, correct, arguments.budget))
            if (replicate + 1) % 10 == 0:
                print(f"{replicate + 1} audits, {time.perf_counter() - started:.0f} s", flush=True)
        report(results, truth, arguments.budget)


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
            NewVerifier(name="alias-contained", version="1", channel="correctness", weight=1.0)
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
                            version="1",
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
    run: Run, reviewer: User, correct: dict[str, bool], budget: int
) -> dict[str, Result]:

    with transaction.atomic():
        rule = builders.make_audit(
            run, first_step=0, last_step=0, window_steps=1, budget=budget, waves=4
        )
        audit.start_audit(rule=rule, actor="bench")
        audit.open_windows(run=run)
        window = rule.windows.get()
        while window.state == WindowState.OPEN:
            while assignment := take_next(queue=rule.queue, reviewer=reviewer):
                is_correct = correct[assignment.rollout.uid]
                assert assignment.lease_token
                labels.commit_label(
                    assignment=assignment,
                    reviewer=reviewer,
                    token=assignment.lease_token,
                    client_key=uuid4(),
                    new=NewLabel(answer=Answer.CORRECT if is_correct else Answer.INCORRECT),
                )
            audit.advance_window(window=window)
            window.refresh_from_db()
        found = newest_estimates(run, window)
        transaction.set_rollback(True)
    return {
        name: Result(row.point, row.low, row.high)
        for name, row in found.items()
        if row.point is not None
    }


def uniform_widths(truth: Truth, budget: int, samples: int = 2000) -> dict[str, float]:
    """Mean widths of Wilson's interval from simple random samples of the same size."""

    rng = np.random.default_rng(0)
    widths: dict[str, list[float]] = {"recall": [], "fpr": []}
    for _ in range(samples):
        chosen = rng.choice(len(truth.correct), budget, replace=False)
        accepted, correct = truth.accepted[chosen], truth.correct[chosen]
        for name, among in (("recall", correct), ("fpr", ~correct)):
            interval = wilson(int(accepted[among].sum()), int(among.sum()))
            widths[name].append(interval.high - interval.low)
    return {name: float(np.mean(values)) for name, values in widths.items()}


def report(results: list[dict[str, Result]], truth: Truth, budget: int) -> None:
    uniform = uniform_widths(truth, budget)
    figures: dict[str, float] = {"replicates": len(results), "budget": budget}
    print(f"\n{'estimand':18}{'truth':>8}{'mean':>8}{'covers':>8}{'width':>8}{'/uniform':>10}")
    for name, value in truth.values.items():
        rows = [result[name] for result in results if name in result]
        covers = float(np.mean([row.low <= value <= row.high for row in rows]))
        mean = float(np.mean([row.point for row in rows]))
        width = float(np.mean([row.high - row.low for row in rows]))
        ratio = f"{width / uniform[name]:10.2f}" if name in uniform else ""
        print(f"{name:18}{value:8.4f}{mean:8.4f}{covers:8.2f}{width:8.4f}{ratio}")
        figures[f"coverage_{name}"] = covers
        if name in uniform:
            figures[f"width_ratio_{name}"] = round(width / uniform[name], 3)
        if name == "rejected_correct":
            figures["reject_rate_bias"] = round(mean - value, 4)
    print(json.dumps({"bench": "evouna", "figures": figures}))


if __name__ == "__main__":
    main()
