"""The pool with a task that hangs, dies or eats memory as it is told."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.verifiers.workers.pool import Limits, Pool

TASK = "tests.trainer.hostile_task"
LIMITS = Limits(seconds=0.3, memory_mb=512, workers=2)
# What may come on top of the items' own time: forks, and the others on this machine.
SLACK_SECONDS = 10.0

REASONS = {
    "hang": "timed out after 0.3 s",
    "spin": "timed out after 0.3 s",
    "die": "the worker died (signal 9)",
    "leave": "the worker died (exit code 3)",
    "eat": "out of memory",
    "raise": "the worker raised RuntimeError",
    "forge": "the worker gave no proper answer",
}
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool(TASK)
    yield pool
    pool.close()


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_dead(pids: list[int]) -> None:
    ends = time.monotonic() + SLACK_SECONDS
    while any(map(is_alive, pids)) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not any(map(is_alive, pids))


@pytest.mark.parametrize("what", REASONS)
def test_what_an_item_does_costs_that_item_alone(pool: Pool, what: str) -> None:
    payloads = [["ok", position] for position in range(40)]
    payloads[17] = [what, 17]
    answers = pool.map(payloads, LIMITS)
    assert [answer.value for answer in answers] == [*range(17), None, *range(18, 40)]
    assert [answer.lost for answer in answers] == [None] * 17 + [REASONS[what]] + [None] * 22


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.sampled_from(["ok", "ok", "ok", *REASONS, "print"]), max_size=24),
    workers=st.integers(1, 3),
)
def test_no_answer_is_lost_or_shifted_and_the_batch_ends_in_time(
    pool: Pool, kinds: list[str], workers: int
) -> None:
    limits = Limits(seconds=0.1, memory_mb=512, workers=workers)
    started = time.monotonic()
    answers = pool.map([[kind, position] for position, kind in enumerate(kinds)], limits)
    taken = time.monotonic() - started
    assert len(answers) == len(kinds)
    for position, (kind, answer) in enumerate(zip(kinds, answers, strict=True)):
        if kind in REASONS:
            assert (answer.value, answer.lost) == (None, REASONS[kind].replace("0.3", "0.1"))
        else:
            assert (answer.value, answer.lost) == (position, None)
    assert taken <= limits.seconds * (len(kinds) / workers + 1) + SLACK_SECONDS


def test_a_worker_killed_from_outside_costs_one_item_and_is_replaced(pool: Pool) -> None:
    pool.map([["ok", 0]] * 4, LIMITS)
    limits = Limits(seconds=5, memory_mb=512, workers=2)
    killed = threading.Timer(0.2, lambda: os.kill(pool.worker_pids()[0], signal.SIGKILL))
    killed.start()
    answers = pool.map([["sleep", 0.05] for _ in range(20)], limits)
    killed.join()
    lost = [answer.lost for answer in answers if answer.lost is not None]
    assert lost == ["the worker died (signal 9)"]
    assert [answer.value for answer in answers].count(0.05) == 19


def test_the_death_of_an_idle_worker_costs_nothing(pool: Pool) -> None:
    pool.map([["ok", 0]] * 4, LIMITS)
    pids = pool.worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until_dead(pids)
    assert [answer.value for answer in pool.map([["ok", 1]] * 4, LIMITS)] == [1] * 4


def test_the_death_of_the_parent_of_the_workers_costs_nothing() -> None:
    pool = Pool(TASK)
    pool.map([["ok", 0]] * 4, LIMITS)
    (nursery,) = {parent_of(pid) for pid in pool.worker_pids()}
    killed = threading.Timer(0.2, lambda: os.kill(nursery, signal.SIGKILL))
    killed.start()
    limits = Limits(seconds=5, memory_mb=512, workers=2)
    answers = pool.map([["sleep", 0.05] for _ in range(20)], limits)
    killed.join()
    pool.close()
    assert [answer.value for answer in answers] == [0.05] * 20


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_workers_are_kept_between_batches(pool: Pool) -> None:
    pool.map([["ok", 0]] * 8, LIMITS)
    before = pool.worker_pids()
    used = {answer.value for answer in pool.map([["pid", None]] * 8, LIMITS)}
    assert used <= set(before)
    assert pool.worker_pids() == before


def test_a_megabyte_goes_in_and_comes_out_no_longer_than_allowed(pool: Pool) -> None:
    text = "x" * 900_000
    limits = Limits(seconds=5, memory_mb=512, workers=2)
    assert [answer.value for answer in pool.map([["ok", text]] * 4, limits)] == [text] * 4
    (answer,) = pool.map([["ok", text * 3]], limits)
    assert answer.lost == "the worker gave no proper answer"


def test_any_thread_may_bring_a_batch(pool: Pool) -> None:
    found: dict[int, list[object]] = {}

    def bring(number: int) -> None:
        answers = pool.map([["ok", [number, item]] for item in range(20)], LIMITS)
        found[number] = [answer.value for answer in answers]

    threads = [threading.Thread(target=bring, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [[number, item] for item in range(20)] for number in range(4)}


def _judge_as_a_daemon(pool: Pool, connection: object) -> None:
    answers = pool.map([["ok", 7], ["die", 0], ["ok", 8]], LIMITS)
    connection.send([answer.value for answer in answers])  # type: ignore[attr-defined]
    pool.close()


def test_a_daemonic_child_made_by_fork_has_workers_of_its_own(pool: Pool) -> None:
    pool.map([["ok", 0]] * 4, LIMITS)
    before = pool.worker_pids()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_judge_as_a_daemon, args=(pool, theirs), daemon=True)
    child.start()
    assert ours.poll(SLACK_SECONDS * 3)
    assert ours.recv() == [7, None, 8]
    child.join()
    assert [answer.value for answer in pool.map([["ok", 1]] * 4, LIMITS)] == [1] * 4
    assert pool.worker_pids() == before


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "sys.exit()", "1 / 0"])
def test_workers_end_with_their_parent_however_it_ends(end: str) -> None:
    script = f"""
import os, sys
from trainer.verifiers.workers.pool import Limits, Pool
pool = Pool({TASK!r})
pool.map([["ok", 0]] * 4, Limits(5, 512, 2))
print(*pool.worker_pids(), flush=True)
{end}
"""
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    pids = [int(pid) for pid in process.stdout.split()]
    assert len(pids) == 2
    wait_until_dead(pids)


def test_a_task_that_cannot_be_imported_loses_every_item_and_says_why() -> None:
    answers = Pool("trainer.verifiers.nowhere").map([1, 2, 3], LIMITS)
    reason = "No module named 'trainer.verifiers.nowhere'"
    assert [answer.lost is not None and reason in answer.lost for answer in answers] == [True] * 3


def test_an_interrupted_batch_leaves_nothing_for_the_next(pool: Pool) -> None:
    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(KeyboardInterrupt):
            pool.map([["sleep", 0.05]] * 40, Limits(5, 512, 2))
    finally:
        signal.signal(signal.SIGUSR1, before)
    answers = pool.map([["ok", position] for position in range(8)], LIMITS)
    assert [answer.value for answer in answers] == list(range(8))


def test_an_empty_batch_starts_nothing() -> None:
    pool = Pool(TASK)
    assert pool.map([], LIMITS) == []
    assert pool.worker_pids() == []
