"""Follows a program that was started for what it does: its time, memory, output and end."""

import os
import re
import secrets
import selectors
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import IO, cast

MEBIBYTE = 1 << 20

# How long the sandbox itself may take to start a program, and to be gone when it is killed.
START_SECONDS = 30.0
_GONE_SECONDS = 10.0
# How often the memory of a running program is looked at.
_WATCH_SECONDS = 0.1
_CHUNK = 1 << 16
# Kills the program if whoever started it ends without a word. That processes die with their parents
# is not enough: root's own launcher of the sandbox may not signal what runs as nobody.
_GUARD = ("/bin/sh", "-c", 'read -r over || kill -s KILL -- "-$1"', "sh")
# What a program's starter prints when everything around it stands. Only then it is told to start:
# if this process has died meanwhile it is told nothing, and starts nothing.
READY = b"\n"
_STDERR_TAIL = 2000
# In what bubblewrap tells: the first process in the sandbox, as the host counts.
_CHILD = re.compile(rb'"child-pid": *([0-9]+)[^0-9]')


class SandboxError(Exception):
    """The program was not run, through no fault of its own; the text says why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use.

    seconds: wall clock from its start on, and (rounded up) processor time of each process.
    memory_bytes: address space of each process, and resident memory of all together.
    processes: processes and threads. output_bytes: standard output and error together.
    file_bytes: each file; all its files together may hold four times that. open_files: for each
    process.
    """

    seconds: float = 10.0
    memory_bytes: int = 1024 * MEBIBYTE
    output_bytes: int = 16 * MEBIBYTE
    processes: int = 16
    file_bytes: int = 16 * MEBIBYTE
    open_files: int = 64


class Ending(StrEnum):
    """Why a program no longer runs."""

    EXITED = "exited"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that was run.

    exit_code: what it exited with, 128 + n if signal n ended it; None if it was stopped for what it
    used up. stdout: all it wrote. stderr: the end of what it wrote there. seconds: wall clock.
    """

    ending: Ending
    exit_code: int | None
    stdout: bytes
    stderr: bytes
    seconds: float


def last_line(output: bytes) -> str:
    """The last line of what a program wrote that is not blank, made fit for people's eyes."""
    lines = output.decode("utf-8", "replace").split("\n")
    text = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "".join(character if character.isprintable() else " " for character in text)[:200]


def spawn(
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    pass_fds: Sequence[int] = (),
    cwd: str | None = None,
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - to run what nobody trusts is what this is for
            argv,
            env=environment,
            cwd=cwd,
            pass_fds=pass_fds,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxError(f"{argv[0]} does not start: {error}") from error


def supervise(
    process: subprocess.Popen[bytes], limits: Limits, told: IO[bytes] | None = None
) -> Ended:
    """Follow a program to its end, or make one. told: where bubblewrap tells its first process.

    When this returns none of the program's processes is left. Raises SandboxError if it was not
    started.
    """
    with process, _Watch(process, limits, told) as watch:
        ending = watch.follow()
        ended_at = perf_counter()
        # A word of a start that only comes while it is ended is too late.
        is_in_time = ending is Ending.EXITED or watch.started_at is not None
        watch.end()
    if watch.started_at is None or not is_in_time:
        raise SandboxError(last_line(bytes(watch.stderr)) or f"not started in {START_SECONDS:g} s")
    if watch.wrote_too_much:  # what was left to read of a program that had ended
        ending = Ending.OUTPUT
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    if code == 128 + signal.SIGXCPU:
        ending = Ending.TIMEOUT
    return Ended(
        ending=ending,
        exit_code=code if ending is Ending.EXITED else None,
        stdout=bytes(watch.stdout),
        stderr=bytes(watch.stderr),
        seconds=max(0.0, ended_at - watch.started_at),
    )


class _Watch:
    """A running program: what it has written, and what it has used up."""

    def __init__(
        self, process: subprocess.Popen[bytes], limits: Limits, told: IO[bytes] | None
    ) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.started_at: float | None = None
        # Pipes, all three.
        streams = (process.stdin, process.stdout, process.stderr)
        stdin, stdout, stderr = cast(tuple[IO[bytes], IO[bytes], IO[bytes]], streams)
        self._process = process
        self._limits = limits
        self._nonce = secrets.token_hex(16).encode() + b"\n"
        self._spawned_at = perf_counter()
        self._looked_at = self._spawned_at
        self._read_bytes = 0
        self._told = b""
        self._stdin = stdin
        self._is_ready = False
        self._guard = spawn([*_GUARD, str(process.pid)], {})
        # All processes of the program are below this one; None as long as it is not known.
        self._topmost = None if told else process.pid
        self._pidfds = [os.pidfd_open(process.pid)]
        self._selector = selectors.PollSelector()
        self._selector.register(self._pidfds[0], selectors.EVENT_READ)
        self._selector.register(stdout, selectors.EVENT_READ, self._on_stdout)
        self._selector.register(stderr, selectors.EVENT_READ, self._on_stderr)
        if told:
            self._selector.register(told, selectors.EVENT_READ, self._on_told)

    def __enter__(self) -> "_Watch":
        return self

    def __exit__(self, *raised: object) -> None:
        self._kill()
        self._guard.communicate(b"over\n")
        self._selector.close()
        for pidfd in self._pidfds:
            os.close(pidfd)

    def follow(self) -> Ending:
        """Read what the program writes until it has ended by itself or used something up."""
        while True:
            is_over = self._read(min(_WATCH_SECONDS, max(0.0, self._deadline - perf_counter())))
            if self.wrote_too_much:
                return Ending.OUTPUT
            if is_over:
                return Ending.EXITED
            if perf_counter() >= self._deadline:
                return Ending.TIMEOUT
            if self._uses_too_much_memory():
                return Ending.MEMORY

    def end(self) -> None:
        """Kill what still runs, and wait until it is gone and what it wrote is read."""
        self._kill()
        until = perf_counter() + _GONE_SECONDS
        while self._selector.get_map() and perf_counter() < until:
            self._read(_WATCH_SECONDS)

    @property
    def wrote_too_much(self) -> bool:
        return self._read_bytes > self._limits.output_bytes + len(READY + self._nonce)

    @property
    def _deadline(self) -> float:
        if self.started_at is None:
            return self._spawned_at + START_SECONDS
        return self.started_at + self._limits.seconds

    def _kill(self) -> None:
        # It is not waited for yet: its number belongs to nobody else.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self, patience: float) -> bool:
        """Wait for output, and take it. Whether the process that we started has ended."""
        is_over = False
        for key, _ in self._selector.select(patience):
            if key.data is None:
                is_over |= key.fd == self._pidfds[0]
                self._selector.unregister(key.fileobj)
            elif data := os.read(key.fd, _CHUNK):
                key.data(data)
            else:
                self._selector.unregister(key.fileobj)
        return is_over

    def _on_stdout(self, data: bytes) -> None:
        self._read_bytes += len(data)
        if self.started_at is None or not self.wrote_too_much:
            self.stdout += data
        if not self._is_ready and self.stdout.startswith(READY):
            self._is_ready = True
            del self.stdout[: len(READY)]
            with suppress(BrokenPipeError), self._stdin as pipe:
                pipe.write(self._nonce)
        if self.started_at is None and self.stdout.startswith(self._nonce):
            self.started_at = perf_counter()
            del self.stdout[: len(self._nonce)]

    def _on_stderr(self, data: bytes) -> None:
        self._read_bytes += len(data)
        self.stderr = (self.stderr + data)[-_STDERR_TAIL:]

    def _on_told(self, data: bytes) -> None:
        self._told += data
        if self._topmost is None and (found := _CHILD.search(self._told)):
            self._topmost = int(found[1])
            # All others in its namespace are gone before it is.
            with suppress(ProcessLookupError):
                self._pidfds.append(os.pidfd_open(self._topmost))
                self._selector.register(self._pidfds[-1], selectors.EVENT_READ)

    def _uses_too_much_memory(self) -> bool:
        now = perf_counter()
        if self._topmost is None or now - self._looked_at < _WATCH_SECONDS:
            return False
        self._looked_at = now
        return _resident_bytes(self._topmost) > self._limits.memory_bytes


def _resident_bytes(pid: int) -> int:
    """What this process and all below it hold in memory; shared pages count for each."""
    pages = 0
    pids = [pid]
    while pids:
        folder = Path("/proc", str(pids.pop()))
        with suppress(OSError):  # it has ended
            pages += int((folder / "statm").read_text().split()[1])
            for task in (folder / "task").iterdir():
                pids += map(int, (task / "children").read_text().split())
    return pages * os.sysconf("SC_PAGE_SIZE")
