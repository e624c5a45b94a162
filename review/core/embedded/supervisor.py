"""Runs several processes as one command: in order, watched, and stopped together.

Every process leads a group of its own, so that a terminal's Ctrl-C reaches only the supervisor,
which then stops them in reverse order. On Linux the kernel tells them to stop when the supervisor
is killed outright; a watcher kills those that do not.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, TextIO

from review.core.embedded.errors import ProcessFailedError
from review.core.embedded.watcher import watched

POLL_S = 0.05
# How long the processes of a killed supervisor may take to stop.
ORPHANS_STOP_WITHIN_S = 5.0
PR_SET_PDEATHSIG = 1
STOP_REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to run; `env` is added to the supervisor's own environment.

    The end of a required process stops all; of another one it is only reported.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    readiness: Callable[[], bool] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    required: bool = True


@dataclass(frozen=True, slots=True)
class _Child:
    spec: ProcessSpec
    process: subprocess.Popen[bytes]
    printer: threading.Thread


class Supervisor:
    """Call `run` from the main thread: it handles signals, and the kernel ties a child's life
    to the thread that started it."""

    def __init__(
        self, *, output: TextIO | None = None, grace_s: float = 10.0, ready_within_s: float = 60.0
    ) -> None:
        self._output = output or sys.stdout
        self._output_lock = threading.Lock()
        self._grace_s = grace_s
        self._ready_within_s = ready_within_s
        self._children: dict[str, _Child] = {}
        self._stop_requests = 0
        self._tell_watcher: Callable[[int], None] = lambda group: None
        self._width = 0

    def run(self, specs: Sequence[ProcessSpec], on_ready: Callable[[], None] | None = None) -> int:
        """Start all in order and watch them: 0 after a stop signal, 1 if a required one ended.

        `on_ready` runs once everything is up; while it runs nobody watches, so keep it short.
        """
        self._width = max(len(spec.name) for spec in specs)
        with self._signals_handled(), watched(ORPHANS_STOP_WITHIN_S) as self._tell_watcher:
            try:
                for spec in specs:
                    self._start(spec)
                if on_ready:
                    on_ready()
                while self._children:
                    self._check()
                return 0
            except KeyboardInterrupt:
                return 0
            except ProcessFailedError as error:
                self._say(f"{error}; stopping")
                return 1
            finally:
                self._stop_all()

    def _start(self, spec: ProcessSpec) -> None:
        try:
            process = subprocess.Popen(  # noqa: S603 - running given commands is the purpose
                spec.command,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **spec.env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=_die_with(os.getpid(), spec.stop_signal),
            )
        except OSError as error:
            raise ProcessFailedError(f"{spec.name} cannot be started: {error}") from error
        printer = threading.Thread(
            target=self._print_lines, args=(spec.name, process.stdout), daemon=True
        )
        printer.start()
        self._tell_watcher(process.pid)
        self._children[spec.name] = _Child(spec, process, printer)
        self._await_readiness(spec)

    def _await_readiness(self, spec: ProcessSpec) -> None:
        deadline = time.monotonic() + self._ready_within_s
        while spec.readiness and not spec.readiness():
            if time.monotonic() > deadline:
                raise ProcessFailedError(
                    f"{spec.name} was not ready after {self._ready_within_s:.0f} s"
                )
            if spec.name not in self._children:
                raise ProcessFailedError(f"{spec.name} ended before it was ready")
            self._check()
        self._check()

    def _check(self) -> None:
        """One turn of the loop: look for stop requests and for processes that ended."""
        time.sleep(POLL_S)
        if self._stop_requests:
            raise KeyboardInterrupt
        for name, child in list(self._children.items()):
            status = child.process.poll()
            if status is None:
                continue
            if child.spec.required:
                raise ProcessFailedError(f"{name} {_describe(status)}")
            self._forget(child)
            self._say(f"{name} {_describe(status)}")

    def _stop_all(self) -> None:
        for child in reversed(list(self._children.values())):
            if child.process.poll() is None:
                child.process.send_signal(child.spec.stop_signal)
                self._await_end(child)
            self._forget(child)

    def _await_end(self, child: _Child) -> None:
        deadline = time.monotonic() + self._grace_s
        while child.process.poll() is None:
            if self._stop_requests > 1:
                return
            if time.monotonic() > deadline:
                self._say(f"{child.spec.name} did not stop in {self._grace_s:.0f} s; killing it")
                return
            time.sleep(POLL_S)

    def _forget(self, child: _Child) -> None:
        """Kill what is left of the process's group and print its last lines."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
        self._tell_watcher(-child.process.pid)
        child.printer.join(timeout=1)
        self._children.pop(child.spec.name, None)

    @contextmanager
    def _signals_handled(self) -> Iterator[None]:
        def count(number: int, frame: FrameType | None) -> None:
            # Only counts: a lock taken here could be held by the code that was interrupted.
            self._stop_requests += 1

        previous = {number: signal.signal(number, count) for number in STOP_REQUESTS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _print_lines(self, name: str, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                self._write(f"{name:>{self._width}} | {line.decode(errors='replace').rstrip()}\n")

    def _say(self, message: str) -> None:
        self._write(f"{message}\n")

    def _write(self, text: str) -> None:
        # A closed terminal must not keep the processes from being stopped.
        with self._output_lock, suppress(OSError):
            self._output.write(text)
            self._output.flush()


def _die_with(parent: int, stop_signal: signal.Signals) -> Callable[[], None] | None:
    """What a child does before its program starts: ask to be told of its parent's end."""
    libc = _LIBC
    if libc is None:
        return None

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, stop_signal)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _describe(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return "finished" if status == 0 else f"exited with status {status}"
