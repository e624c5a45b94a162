"""Killable worker processes for work that may hang, crash or eat memory.

Whatever one item does to its worker, that item alone is lost, with a reason; the worker is
replaced and the others keep their answers. The clock is the parent's: no signal is used, so that
a pool works in any thread and inside daemonic processes (a Celery worker), which may not have
children of `multiprocessing`. `trainer.verifiers.workers.worker` is the other side.
"""

import atexit
import json
import os
import select
import selectors
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

# Imports on a busy machine; a worker's fork and end.
_START_SECONDS = 120.0
_CONTROL_SECONDS = 30.0
_CONTROL_BYTES = 65_536
# Work is sent ahead, which saves switches, but never more than a socket takes without a reader.
_LARGEST_CHUNK = 16
_CHUNK_BYTES = 65_536
# What a worker may answer to one item; more is no answer of ours.
_MOST_ANSWER_BYTES = 1_000_000
# How often an item is tried whose worker went down with the nursery, which is not its own fault,
# and how many nurseries one batch may use up.
_MOST_TRIES = 3
_MOST_NURSERIES = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """seconds: wall clock of one item. memory_mb: a worker's address space. workers: how many
    work at once."""

    seconds: float
    memory_mb: int
    workers: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one item: its `value`, or why it was `lost` (its value is None then)."""

    value: Any
    lost: str | None
    seconds: float


class NurseryError(RuntimeError):
    """The process that forks the workers has died, or does not answer."""


class StartError(RuntimeError):
    """The process that forks the workers cannot be started; the text says why."""


class Pool:
    """Workers that run one task: the `run(payload)` of a module; payloads and values are JSON.

    They start with the first batch, are kept for the next, and end with `close` or with this
    process, however it ends. Any thread may bring a batch; one is worked on at a time.
    """

    def __init__(self, module: str) -> None:
        self._lock = threading.Lock()
        self._crew = _Crew(module)
        _all_pools.add(self)

    def map(self, payloads: Sequence[Any], limits: Limits) -> list[Answer]:
        """One answer a payload, in order.

        It takes at most about `limits.seconds * (len(payloads) / limits.workers + 1)`, and the
        time of the first start. It raises for nothing that an item does; where no worker can be
        had, every item is lost.
        """
        with self._lock:
            try:
                return _Batch(self._crew, payloads, limits).run()
            except BaseException:
                # Interrupted: what the workers are at belongs to no batch any more.
                self._crew.close()
                raise

    def close(self) -> None:
        """End the workers and wait for them. The next batch starts new ones."""
        with self._lock:
            self._crew.close()

    def worker_pids(self) -> list[int]:
        """The process ids of the workers that are up."""
        return [worker.pid for worker in self._crew.workers]

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._crew.forget()


@dataclass(eq=False, slots=True)
class _Worker:
    """A worker, the items it still has to do (it is at the first), and since when it is."""

    pid: int
    connection: socket.socket
    chunk: deque[int] = field(default_factory=deque)
    since: float = 0.0
    received: bytes = b""

    def is_gone(self) -> bool:
        """Whether it has died while it had nothing to do."""
        return bool(select.select([self.connection], [], [], 0)[0])


class _Crew:
    """The nursery and its workers, busy or not."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._nursery: _Nursery | None = None
        self._memory_mb = 0
        self.workers: list[_Worker] = []

    def limit_memory(self, memory_mb: int) -> None:
        """Workers with another limit are ended. Raises NurseryError."""
        if memory_mb != self._memory_mb:
            self._memory_mb = memory_mb
            for worker in list(self.workers):
                self.end(worker)

    def worker(self, busy: Sequence[_Worker]) -> _Worker:
        """A worker that is not busy, kept or new. Raises NurseryError and StartError."""
        for worker in [worker for worker in self.workers if worker not in busy]:
            if not worker.is_gone():
                return worker
            self.end(worker)
        if self._nursery is None:
            self._nursery = _Nursery(self._module)
        worker = self._nursery.start_worker(self._memory_mb)
        self.workers.append(worker)
        return worker

    def end(self, worker: _Worker) -> int:
        """Kill this worker, if it lives; its exit code, -9 for signal 9. Raises NurseryError."""
        self.workers.remove(worker)
        worker.connection.close()
        if self._nursery is None:
            raise NurseryError("the nursery has been closed")
        return self._nursery.end_worker(worker.pid)

    def close(self) -> None:
        """End all the processes, dead or alive, and wait for them."""
        self._close_connections()
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None

    def forget(self) -> None:
        """In a child made by fork: let go of the processes, which are the parent's."""
        self._close_connections()
        if self._nursery is not None:
            self._nursery.forget()
            self._nursery = None

    def _close_connections(self) -> None:
        for worker in self.workers:
            worker.connection.close()
        self.workers.clear()


class _Nursery:
    """The process that imports the task and forks the workers.

    Raises StartError where it does not start; its methods raise NurseryError.
    """

    def __init__(self, module: str) -> None:
        self._control, theirs = socket.socketpair()
        command = [
            sys.executable,
            "-m",
            "trainer.verifiers.workers.worker",
            str(theirs.fileno()),
            module,
        ]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                # An interrupt from the keyboard is the parent's to handle.
                start_new_session=True,
            )
        self._control.settimeout(_START_SECONDS)
        try:
            answer = self._answer()
        except NurseryError as error:
            answer = {"error": str(error)}
        if "error" in answer:
            self.close()
            raise StartError(f"the workers did not start: {answer['error']}")
        self._control.settimeout(_CONTROL_SECONDS)

    def start_worker(self, memory_mb: int) -> _Worker:
        ours, theirs = socket.socketpair()
        order = json.dumps({"start": memory_mb * 2**20}).encode()
        try:
            with theirs:
                socket.send_fds(self._control, [order], [theirs.fileno()])
            return _Worker(pid=int(self._answer()["started"]), connection=ours)
        except (OSError, NurseryError) as error:
            ours.close()
            raise NurseryError("the nursery died") from error

    def end_worker(self, pid: int) -> int:
        try:
            self._control.sendall(json.dumps({"end": pid}).encode())
        except OSError as error:
            raise NurseryError("the nursery died") from error
        return int(self._answer()["ended"])

    def close(self) -> None:
        self._control.close()
        try:
            self._process.wait(_CONTROL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def forget(self) -> None:
        self._control.close()
        # Not this process's child: there is nothing to wait for, and nothing to warn of.
        self._process.returncode = 0

    def _answer(self) -> dict[str, Any]:
        try:
            data = self._control.recv(_CONTROL_BYTES)
        except OSError as error:
            raise NurseryError("the nursery does not answer") from error
        if not data:
            raise NurseryError("the nursery died")
        answer: dict[str, Any] = json.loads(data)
        return answer


def _environment() -> dict[str, str]:
    """The same code and the same order of sets in every worker, and none of our secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return kept | {"PYTHONPATH": path, "PYTHONHASHSEED": "0"}


class _Batch:
    """One batch on its way through the workers; items go by their position."""

    def __init__(self, crew: _Crew, payloads: Sequence[Any], limits: Limits) -> None:
        self._crew = crew
        self._payloads = payloads
        self._limits = limits
        self._waiting = deque(range(len(payloads)))
        self._answers: dict[int, Answer] = {}
        self._tries: dict[int, int] = {}
        self._busy: list[_Worker] = []

    def run(self) -> list[Answer]:
        nurseries = 0
        while len(self._answers) < len(self._payloads):
            try:
                self._work()
            except NurseryError as error:
                nurseries += 1
                self._crew.close()
                self._take_back()
                if nurseries == _MOST_NURSERIES:
                    self._give_up(str(error))
            except StartError as error:
                self._give_up(str(error))
        return [self._answers[position] for position in range(len(self._payloads))]

    def _work(self) -> None:
        self._crew.limit_memory(self._limits.memory_mb)
        while self._waiting or self._busy:
            while self._waiting and len(self._busy) < self._limits.workers:
                self._hand_out(self._crew.worker(self._busy))
            self._listen()

    def _hand_out(self, worker: _Worker) -> None:
        """Send the next items: many at first, few near the end, so that all end together."""
        share = len(self._waiting) // (2 * self._limits.workers)
        lines = b""
        while self._waiting and len(worker.chunk) < max(1, min(_LARGEST_CHUNK, share)):
            line = json.dumps([self._waiting[0], self._payloads[self._waiting[0]]]).encode()
            if lines and len(lines) + len(line) > _CHUNK_BYTES:
                break
            worker.chunk.append(self._waiting.popleft())
            lines += line + b"\n"
        self._busy.append(worker)
        worker.since = monotonic()
        worker.connection.settimeout(self._limits.seconds)
        try:
            worker.connection.sendall(lines)
        except TimeoutError:
            self._replace(worker, self._too_late())
        except OSError:
            self._replace(worker, None)

    def _listen(self) -> None:
        """Wait for the next answers, or until the first worker's time is up."""
        if not self._busy:
            return
        with selectors.DefaultSelector() as selector:
            for worker in self._busy:
                selector.register(worker.connection, selectors.EVENT_READ, worker)
            ends = min(worker.since for worker in self._busy) + self._limits.seconds
            ready = [key.data for key, _ in selector.select(max(0.0, ends - monotonic()))]
        late = [
            worker
            for worker in self._busy
            if worker not in ready and monotonic() - worker.since >= self._limits.seconds
        ]
        for worker in ready:
            self._receive(worker)
        for worker in late:
            self._replace(worker, self._too_late())

    def _receive(self, worker: _Worker) -> None:
        try:
            data = worker.connection.recv(_MOST_ANSWER_BYTES)
        except OSError:
            data = b""
        *lines, worker.received = (worker.received + data).split(b"\n")
        if not all(self._keep(worker, line) for line in lines):
            return
        if not data:
            self._replace(worker, None)
        elif len(worker.received) > _MOST_ANSWER_BYTES:
            self._replace(worker, _NO_ANSWER)
        elif not worker.chunk:
            self._busy.remove(worker)

    def _keep(self, worker: _Worker, line: bytes) -> bool:
        """Store the answer to the item that the worker is at; whether the worker goes on."""
        message = _message_for(worker.chunk[0], line) if worker.chunk else None
        if message is None:
            self._replace(worker, _NO_ANSWER)
            return False
        seconds = min(max(0.0, message["seconds"]), self._limits.seconds)
        self._answers[worker.chunk.popleft()] = Answer(
            message.get("value"), message.get("lost"), seconds
        )
        worker.since = monotonic()
        if message["is_last"]:
            self._crew.end(worker)
            self._give_back(worker)
        return not message["is_last"]

    def _replace(self, worker: _Worker, reason: str | None) -> None:
        """End the worker and lose the item that it is at; no reason = it died of itself."""
        exit_code = self._crew.end(worker)
        if worker.chunk:
            lost = reason or _how_it_died(exit_code)
            self._answers[worker.chunk.popleft()] = Answer(None, lost, monotonic() - worker.since)
        self._give_back(worker)

    def _give_back(self, worker: _Worker) -> None:
        self._busy.remove(worker)
        self._waiting.extendleft(reversed(worker.chunk))

    def _take_back(self) -> None:
        """All that the workers had is to do again; what one was at, only so many times."""
        for worker in list(self._busy):
            if worker.chunk:
                position = worker.chunk[0]
                self._tries[position] = self._tries.get(position, 0) + 1
                if self._tries[position] == _MOST_TRIES:
                    worker.chunk.popleft()
                    self._answers[position] = Answer(None, "the worker died", 0.0)
            self._give_back(worker)

    def _give_up(self, reason: str) -> None:
        for position in self._waiting:
            self._answers[position] = Answer(None, reason, 0.0)
        self._waiting.clear()

    def _too_late(self) -> str:
        return f"timed out after {self._limits.seconds:g} s"


_NO_ANSWER = "the worker gave no proper answer"


def _message_for(position: int, line: bytes) -> dict[str, Any] | None:
    """A worker's answer to this item; None for anything else that it may write."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    is_proper = (
        isinstance(message, dict)
        and message.get("position") == position
        and isinstance(message.get("seconds"), float)
        and isinstance(message.get("is_last"), bool)
        and isinstance(message.get("lost"), str | None)
    )
    return message if is_proper else None


def _how_it_died(exit_code: int) -> str:
    how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    return f"the worker died ({how})"


_all_pools: "weakref.WeakSet[Pool]" = weakref.WeakSet()
_shared: dict[str, Pool] = {}
_shared_lock = threading.Lock()


def pool_of(module: str) -> Pool:
    """This process's pool for the task of this module, made when first asked for."""
    with _shared_lock:
        if module not in _shared:
            _shared[module] = Pool(module)
        return _shared[module]


def _close_all() -> None:
    for pool in list(_all_pools):
        pool.close()


def _forget_all() -> None:
    global _shared_lock
    _shared_lock = threading.Lock()
    for pool in list(_all_pools):
        pool._forget()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)
