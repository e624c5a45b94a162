"""The processes of a pool: the nursery, which imports the task, and the workers that it forks."""

import json
import os
import select
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# Imports on a busy machine; a worker's fork and end.
_START_SECONDS = 120.0
_CONTROL_SECONDS = 30.0
_CONTROL_BYTES = 65_536


class NurseryError(RuntimeError):
    """The process that forks the workers has died, or does not answer."""


class StartError(RuntimeError):
    """The process that forks the workers cannot be started; the text says why."""


@dataclass(eq=False, slots=True)
class Worker:
    """A worker, the items it still has to do (it is at the first), and since when it is."""

    pid: int
    connection: socket.socket
    chunk: deque[int] = field(default_factory=deque)
    since: float = 0.0
    received: bytes = b""

    def is_gone(self) -> bool:
        """Whether it has died while it had nothing to do."""
        return bool(select.select([self.connection], [], [], 0)[0])


class Crew:
    """The nursery and its workers, busy or not."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._nursery: _Nursery | None = None
        self._memory_mb = 0
        self.workers: list[Worker] = []

    def limit_memory(self, memory_mb: int) -> None:
        """Workers with another limit are ended. Raises NurseryError."""
        if memory_mb != self._memory_mb:
            self._memory_mb = memory_mb
            for worker in list(self.workers):
                self.end(worker)

    def worker(self, busy: Sequence[Worker]) -> Worker:
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

    def end(self, worker: Worker) -> int:
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

    def start_worker(self, memory_mb: int) -> Worker:
        ours, theirs = socket.socketpair()
        order = json.dumps({"start": memory_mb * 2**20}).encode()
        try:
            with theirs:
                socket.send_fds(self._control, [order], [theirs.fileno()])
            return Worker(pid=int(self._answer()["started"]), connection=ours)
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
