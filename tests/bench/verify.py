"""`make bench-verify`: how good, how fast and how hard to break are the verifiers?

Each part measures one thing, prints its table and gives its figures. Speed: all solutions of
ProcessBench, MATH and GSM8K in ../shared/data through the verifier `math` on two cores, beside
Math-Verify called in a plain loop. Each way is a process of its own, whose CPU time is counted
from its start to the end of its last child. Then programs in the sandbox, beside bare ones.
"""

import argparse
import json
import logging
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Any

from tests import ROOT, SHARED_DATA
from tests.bench.verify_code import HEAD, code_throughput
from tests.trainer.math_cases import MUST_NOT_PASS, MUST_PASS
from trainer.verifiers import Item, Outcome, Verdict, build
from trainer.verifiers.probes import probe_success
from trainer.verifiers.workers import pool

CASES = "math_verify_tests/cases.jsonl"
PROCESSBENCH = "processbench/gsm8k_with_reference.jsonl"
# Sampled completions, several a prompt.
MATH = "qwen_math_cot100x8/rollouts.jsonl"
GSM8K = "gsm8k/model_solutions.jsonl"

WORKERS, ROUNDS = 2, 3
LEAST_RECALL, MOST_FPR, MOST_UNDECIDED, MOST_OVERHEAD = 0.970, 0.010, 0.02, 0.15
NAIVE = ("last-number", "contains-reference")
HOSTILE_TASK = "tests.trainer.hostile_task"

Figures = dict[str, float]


def rows(file: str) -> list[dict[str, Any]]:
    text = (SHARED_DATA / file).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.strip().split("\n")]


def solutions() -> Iterator[Item]:
    for row in rows(PROCESSBENCH):
        yield Item(row["prompt"], row["completion"], (row["reference"],))
    for row in (*rows(MATH), *rows(GSM8K)):
        for completion in row["completions"]:
            yield Item(row["prompt"], completion["text"], (row["reference"],))


def library_accepts(reference: str, response: str) -> bool:
    """Math-Verify as it comes. Imported here: the pool's way has it in the workers only."""
    import math_verify

    return bool(math_verify.verify(math_verify.parse(reference), math_verify.parse(response)))


# --- the ways of judging whose time is compared ---------------------------------------------


def in_plain_loop(items: list[Item]) -> None:
    for item in items:
        library_accepts(f"${item.references[0]}$", item.response)


def in_plain_loop_with_guards(items: list[Item]) -> None:
    from trainer.verifiers.math import task

    for item in items:
        references = list(item.references)
        task.run({"problem": item.problem, "response": item.response, "references": references})


def in_pool(items: list[Item]) -> None:
    build("math", workers=WORKERS).verify(items)


WAYS: dict[str, Callable[[list[Item]], None]] = {
    "Math-Verify in a plain loop": in_plain_loop,
    "the same guarded, in a plain loop": in_plain_loop_with_guards,
    "the verifier math, in its pool": in_pool,
}


def run_way(name: str) -> None:
    """The child's side: judge everything and tell the seconds on the clock."""
    logging.disable()
    items = list(solutions())
    started = time.perf_counter()
    WAYS[name](items)
    print(json.dumps({"items": len(items), "seconds": time.perf_counter() - started}))


def measured_way(name: str) -> Figures:
    before = cpu_of_children()
    command = [sys.executable, "-m", "tests.bench.verify", "--way", name]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {**json.loads(done.stdout), "cpu": cpu_of_children() - before}


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# --- the parts ------------------------------------------------------------------------------


def throughput_of_math() -> Figures:
    """In turns, and the median of each way: a machine's speed drifts by more than they differ."""
    rounds = [{name: measured_way(name) for name in WAYS} for _ in range(ROUNDS)]
    measured = {
        name: {key: median(each[name][key] for each in rounds) for key in rounds[0][name]}
        for name in WAYS
    }
    print(f"\n{'':36}{'items':>7}{'s':>8}{'CPU s':>8}{'items/s':>9}{'items/CPU s':>13}")
    for name, way in measured.items():
        print(
            f"{name:36}{way['items']:>7.0f}{way['seconds']:>8.1f}{way['cpu']:>8.1f}"
            f"{way['items'] / way['seconds']:>9.0f}{way['items'] / way['cpu']:>13.0f}"
        )
    plain, guarded, pooled = measured.values()
    return {
        "completions_per_s": round(pooled["items"] / pooled["seconds"], 1),
        "plain_loop_per_s": round(plain["items"] / plain["seconds"], 1),
        "pool_overhead": round(pooled["cpu"] / plain["cpu"] - 1, 3),
        # The same work on both sides: what the pool itself costs.
        "pool_overhead_same_work": round(pooled["cpu"] / guarded["cpu"] - 1, 3),
    }


def throughput_of_code() -> Figures:
    """The sandboxed verifier beside a loop of bare subprocesses."""
    measured = code_throughput()
    print(f"\n{HEAD}")
    if measured is None:
        print("no sandbox can be had here: code is not measured")
        return {}
    print(measured.line)
    return {
        "code_completions_per_s": round(measured.verifier, 1),
        "code_plain_loop_per_s": round(measured.loop, 1),
    }


def poisoned_item() -> Figures:
    """How much longer a batch takes with one item that hangs, over that item's timeout."""
    limits = pool.Limits(seconds=1.0, memory_mb=512, workers=WORKERS)
    good = [["sleep", 0.005] for _ in range(200)]
    with_one = [*good[:100], ["hang", 0], *good[100:]]
    workers = pool.Pool(HOSTILE_TASK)
    workers.map(good, limits)
    clean, poisoned = (
        timed(lambda each=each: workers.map(each, limits)) for each in (good, with_one)
    )
    workers.close()
    extra = (poisoned - clean) / limits.seconds
    print(f"\nA batch of {clean:.2f} s takes {poisoned:.2f} s with an item that hangs: {extra:.2f}")
    print(f"times its timeout of {limits.seconds:g} s more.")
    return {"poisoned_cost": round(extra, 3)}


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def processbench() -> Figures:
    found = rows(PROCESSBENCH)
    items = [Item(row["prompt"], row["completion"], (row["reference"],)) for row in found]
    verdicts = build("math", workers=WORKERS).verify(items)
    counts = Counter(
        (row["gold_answer_correct"], verdict.outcome)
        for row, verdict in zip(found, verdicts, strict=True)
    )
    print(f"\n{'ProcessBench gsm8k':24}{'pass':>6}{'fail':>6}{'undecided':>11}")
    for truth, label in ((True, "right final answer"), (False, "wrong final answer")):
        passed, failed, open_ = (counts[truth, outcome] for outcome in Outcome)
        print(f"{label:24}{passed:>6}{failed:>6}{open_:>11}")
    for row, verdict in zip(found, verdicts, strict=True):
        if (verdict.outcome is Outcome.PASS) != row["gold_answer_correct"]:
            print(disagreement(row, verdict))
    right, wrong = (
        sum(n for (truth, _), n in counts.items() if truth is label) for label in (True, False)
    )
    undecided = sum(n for (_, outcome), n in counts.items() if outcome is Outcome.UNDECIDED)
    return {
        "processbench_recall": round(counts[True, Outcome.PASS] / right, 4),
        "processbench_fpr": round(counts[False, Outcome.PASS] / wrong, 4),
        "processbench_undecided": round(undecided / len(found), 4),
    }


def disagreement(row: Mapping[str, Any], verdict: Verdict) -> str:
    label = "right" if row["gold_answer_correct"] else "wrong"
    return (
        f"  {row['id']}: {verdict.outcome} ({verdict.path}) though labelled {label}; reference"
        f" {row['reference']!r}, judged {(verdict.extracted or '')[-60:]!r} {verdict.detail}"
    )


def library_against_ours() -> Figures:
    """The maintainers' cases and ours: who is right how often."""
    found = rows(CASES)
    # Expected both ways, under options that the file does not hold: no case of either.
    options = Counter(key for key, _ in {((c["gold"], c["pred"]), c["expected"]) for c in found})
    cases = [
        (case["gold"], case["pred"], case["expected"], "")
        for case in found
        if options[case["gold"], case["pred"]] == 1
    ]
    sets = {
        "the maintainers' cases": cases,
        "answers that must not pass": [
            (f"${each.reference}$", each.response, False, each.problem) for each in MUST_NOT_PASS
        ],
        "answers that must pass": [
            (f"${each.reference}$", each.response, True, each.problem) for each in MUST_PASS
        ],
    }
    print(f"\n{'as expected':32}{'of':>5}{'library':>9}{'ours':>6}", end="")
    print(f"{'only ours':>11}{'only library':>14}")
    worse = 0
    for name, expected in sets.items():
        theirs = [library_accepts(gold, response) == truth for gold, response, truth, _ in expected]
        items = [Item(problem, response, (gold,)) for gold, response, _, problem in expected]
        ours = [
            (verdict.outcome is Outcome.PASS) == case[2]
            for verdict, case in zip(build("math").verify(items), expected, strict=True)
        ]
        lost = [case for case, a, b in zip(expected, theirs, ours, strict=True) if a and not b]
        worse += len(lost)
        only_ours = sum(b and not a for a, b in zip(theirs, ours, strict=True))
        print(
            f"{name:32}{len(ours):>5}{sum(theirs):>9}{sum(ours):>6}{only_ours:>11}{len(lost):>14}"
        )
        for gold, response, truth, _ in lost:
            print(f"  only the library: {gold[-60:]!r}, {response[-60:]!r}, expected {truth}")
    return {"worse_than_library": worse}


def probes() -> Figures:
    """The share of the suite's attacks that the verifier passes, beside naive ones'."""
    names = ("math", *NAIVE)
    success = {name: probe_success(name) for name in names}
    print(f"\n{'probe success':24}", "".join(f"{name:>20}" for name in names))
    print(" " * 24, "".join(f"{success[name]:>20.3f}" for name in names))
    return {
        "probe_success_math": round(success["math"], 4),
        # The worse of two that are in use.
        "probe_success_naive": round(max(success[name] for name in NAIVE), 4),
    }


# Each part gives figures of names of its own.
PARTS: tuple[Callable[[], Figures], ...] = (
    library_against_ours,
    processbench,
    throughput_of_math,
    throughput_of_code,
    poisoned_item,
    probes,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if missing := [
        file for file in (CASES, PROCESSBENCH, MATH, GSM8K) if not (SHARED_DATA / file).exists()
    ]:
        print(f"Nothing is measured: {', '.join(missing)} is not in {SHARED_DATA}.")
        return 0
    if arguments.way:
        run_way(arguments.way)
        return 0
    logging.disable()
    figures: Figures = {}
    for part in PARTS:
        figures |= part()
    print(json.dumps({"bench": "verify", "figures": figures}))
    is_met = (
        figures["processbench_recall"] >= LEAST_RECALL
        and figures["processbench_fpr"] <= MOST_FPR
        and figures["processbench_undecided"] <= MOST_UNDECIDED
        and figures["pool_overhead"] <= MOST_OVERHEAD
    )
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
