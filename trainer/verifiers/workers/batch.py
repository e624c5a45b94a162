"""One batch of items on its way through the workers of a pool."""

import json
import selectors
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from trainer.verifiers.workers.crew import Crew, NurseryError, StartError, Worker

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


class Batch:
    """One batch on its way through the workers; items go by their position."""

    def __init__(self, crew: Crew, payloads: Sequence[Any], limits: Limits) -> None:
        self._crew = crew
        self._payloads = payloads
        self._limits = limits
        self._waiting = deque(range(len(payloads)))
        self._answers: dict[int, Answer] = {}
        self._tries: dict[int, int] = {}
        self._busy: list[Worker] = []

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

    def _hand_out(self, worker: Worker) -> None:
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

    def _receive(self, worker: Worker) -> None:
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

    def _keep(self, worker: Worker, line: bytes) -> bool:
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

    def _replace(self, worker: Worker, reason: str | None) -> None:
        """End the worker and lose the item that it is at; no reason = it died of itself."""
        exit_code = self._crew.end(worker)
        if worker.chunk:
            lost = reason or _how_it_died(exit_code)
            self._answers[worker.chunk.popleft()] = Answer(None, lost, monotonic() - worker.since)
        self._give_back(worker)

    def _give_back(self, worker: Worker) -> None:
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
