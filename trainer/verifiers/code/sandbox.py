"""Runs programs that nobody trusts.

The sandbox is bubblewrap: namespaces of its own for processes, mounts, network, IPC, names and
users; a root that holds read-only what the interpreter needs and nothing else; a small private
/tmp; user nobody without capabilities, who can make no further user namespaces; none of the system
calls that get around this. Inside, resource limits bound every process; outside, the parent bounds
time, output and memory of them all, and everything that still runs dies with the program.

Whether a program was started is a record that no program can forge: a shell says that it is there,
reads a secret nonce from a pipe, prints it, and only then turns into the program, whose standard
input is a file. The nonce is in no environment, argument, file or open descriptor by then. What
came before the program is the sandbox's fault (`SandboxError`), all that follows is its own.

Started by root, bubblewrap would leave the program with root's user id as the host counts, for whom
the kernel limits no number of processes. So root makes a view of the host with the few paths that
the sandbox needs, in which nobody starts it: nobody could not reach an interpreter below /root.
"""

import math
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from trainer.verifiers.code.supervision import (
    START_SECONDS,
    Ended,
    Limits,
    SandboxError,
    last_line,
    spawn,
    supervise,
)
from trainer.verifiers.code.system_calls import UnknownMachineError, system_call_filter

PYTHON = os.path.realpath(sys.executable)

NOBODY = 65534

_INPUT = "input"
# Prints `supervision.READY` and the nonce, then is the program. `read` takes no byte more than its
# line; without one, whoever wanted the program is gone.
_START = f'echo && read -r nonce && echo "$nonce" && exec "$@" <{_INPUT}'
_LIBRARIES = ("/lib", "/lib32", "/lib64", "/libx32", "/usr/lib", "/usr/lib32", "/usr/lib64")


class SandboxUnavailableError(SandboxError):
    """No sandbox can be had on this machine; the text says why."""


class Runner(Protocol):
    """A way to run a program."""

    @property
    def is_sandbox(self) -> bool: ...

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes,
        files: Mapping[str, bytes],
        environment: Mapping[str, str],
        limits: Limits,
    ) -> Ended:
        """Run the command in a fresh folder that holds the files. Raises SandboxError."""
        ...


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Bubblewrap with the tools that start a program in it; `find_sandbox` gives one that works.

    tools: the path of "bwrap", "prlimit", "sh" and, for root, "setpriv".
    """

    tools: Mapping[str, str]

    @property
    def is_sandbox(self) -> bool:
        return True

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes,
        files: Mapping[str, bytes],
        environment: Mapping[str, str],
        limits: Limits,
    ) -> Ended:
        """Run the command in an empty /tmp that holds the files. Raises SandboxError."""
        contents = {_INPUT: stdin, **files}
        disk_bytes = 4 * limits.file_bytes + sum(map(len, contents.values()))
        with ExitStack() as stack:
            copies = {
                name: stack.enter_context(_in_memory(data)) for name, data in contents.items()
            }
            denials = stack.enter_context(_in_memory(system_call_filter()))
            reads, writes = os.pipe()
            told = stack.enter_context(os.fdopen(reads, "rb", buffering=0))
            tells = stack.enter_context(os.fdopen(writes, "wb", buffering=0))
            argv = [
                *self._as_nobody(),
                *self._walls(copies, disk_bytes),
                *("--seccomp", str(denials), "--json-status-fd", str(tells.fileno()), "--"),
                *_limited(self.tools, limits),
                *(f"--nproc={limits.processes}", "--"),
                *_started(self.tools, command),
            ]
            handed_on = (*copies.values(), denials, tells.fileno())
            process = spawn(argv, environment, pass_fds=handed_on)
            tells.close()
            return supervise(process, limits, told)

    def _walls(self, copies: Mapping[str, int], disk_bytes: int) -> list[str]:
        """Bubblewrap's own arguments. copies: each file's name and where its contents are open."""
        argv = [self.tools["bwrap"], "--unshare-all", "--unshare-user", "--disable-userns"]
        argv += ["--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "sandbox"]
        argv += ["--die-with-parent", "--new-session"]
        argv += _bound(_needed(self.tools))
        for packages in _package_folders():
            argv += ["--tmpfs", packages, "--remount-ro", packages]
        argv += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
        argv += ["--size", str(disk_bytes), "--tmpfs", "/tmp"]  # noqa: S108 - the sandbox's own
        for name, copy in copies.items():
            argv += ["--file", str(copy), f"/tmp/{name}"]  # noqa: S108
        return [*argv, "--remount-ro", "/", "--chdir", "/tmp"]  # noqa: S108

    def _as_nobody(self) -> list[str]:
        """What starts a command as nobody in a view of the host that nobody can read."""
        if os.geteuid() != 0:
            return []
        argv = [self.tools["bwrap"], "--die-with-parent"]
        needed = _needed(self.tools, "bwrap", "setpriv")
        for folder in _folders_above(needed):
            argv += ["--dir", folder]
        argv += _bound(needed)
        argv += ["--dev-bind", "/proc", "/proc", "--dev-bind", "/dev", "/dev", "--dir", "/tmp"]  # noqa: S108
        argv += ["--", self.tools["setpriv"], f"--reuid={NOBODY}", f"--regid={NOBODY}"]
        return [*argv, "--clear-groups", "--bounding-set=-all", "--pdeathsig=KILL", "--"]


@dataclass(frozen=True, slots=True)
class Unsandboxed:
    """Runs programs with the user's own rights: for programs that are trusted, and for tests.

    Time, output and each process's memory are bounded as in the sandbox; nothing else is.
    """

    tools: Mapping[str, str] = field(default_factory=lambda: _tools("prlimit", "sh"))

    @property
    def is_sandbox(self) -> bool:
        return False

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes,
        files: Mapping[str, bytes],
        environment: Mapping[str, str],
        limits: Limits,
    ) -> Ended:
        """Run the command in a temporary folder that holds the files. Raises SandboxError."""
        argv = [*_limited(self.tools, limits), "--", *_started(self.tools, command)]
        with tempfile.TemporaryDirectory(prefix="assay-", ignore_cleanup_errors=True) as folder:
            for name, data in {_INPUT: stdin, **files}.items():
                Path(folder, name).write_bytes(data)
            return supervise(spawn(argv, environment, cwd=folder), limits)


@lru_cache
def find_sandbox() -> Sandbox:
    """A sandbox in which the interpreter has run. Raises SandboxUnavailableError with the reason.

    Looked for once; after a failure, at every call.
    """
    as_root = ("setpriv",) if os.geteuid() == 0 else ()
    sandbox = Sandbox(_tools("bwrap", "prlimit", "sh", *as_root))
    try:
        ended = sandbox.run(
            [PYTHON, "-s", "-S", "-c", "print('ready')"],
            stdin=b"",
            files={},
            environment={},
            limits=Limits(seconds=START_SECONDS),
        )
    except (SandboxError, UnknownMachineError) as error:
        raise SandboxUnavailableError(f"bubblewrap does not run here: {error}") from error
    if ended.stdout != b"ready\n":
        reason = last_line(ended.stderr) or ended.ending
        raise SandboxUnavailableError(f"the interpreter does not run in bubblewrap: {reason}")
    return sandbox


def _tools(*names: str) -> dict[str, str]:
    found = {name: shutil.which(name) for name in names}
    if missing := [name for name, path in found.items() if path is None]:
        raise SandboxUnavailableError(f"{', '.join(missing)} is not installed")
    return {name: os.path.realpath(path) for name, path in found.items() if path}


def _needed(tools: Mapping[str, str], *more_tools: str) -> list[str]:
    """The paths that the sandbox shows of the host: no private ones."""
    paths = [*_LIBRARIES, "/etc/ld.so.cache", _python_libraries(), PYTHON]
    paths += [tools[name] for name in ("prlimit", "sh", *more_tools)]
    return [path for path in dict.fromkeys(paths) if os.path.lexists(path)]


def _python_libraries() -> str:
    """The folder with the standard library and, where there is one, the interpreter's own."""
    return os.path.realpath(Path(sysconfig.get_path("stdlib")).parent)


def _package_folders() -> list[str]:
    """Where packages are installed beside the standard library: the sandbox has none."""
    parents = (sysconfig.get_path("stdlib"), "/usr/lib/python3")
    paths = (
        f"{parent}/{name}" for parent in parents for name in ("site-packages", "dist-packages")
    )
    return [path for path in paths if os.path.isdir(path)]


def _bound(paths: Iterable[str]) -> list[str]:
    argv = []
    for path in paths:
        if os.path.islink(path):
            argv += ["--symlink", os.readlink(path), path]
        else:
            argv += ["--ro-bind", path, path]
    return argv


def _folders_above(paths: Iterable[str]) -> list[str]:
    """Every folder above these, the uppermost first: bubblewrap would make them for itself only."""
    above = {str(parent) for path in paths for parent in Path(path).parents}
    return sorted(above - {"/"} - set(paths))


def _limited(tools: Mapping[str, str], limits: Limits) -> list[str]:
    seconds = math.ceil(limits.seconds)
    return [
        tools["prlimit"],
        f"--as={limits.memory_bytes}",
        # The first ends the program, the second one that will not be ended.
        f"--cpu={seconds}:{seconds + 1}",
        f"--fsize={limits.file_bytes}",
        f"--nofile={limits.open_files}",
        "--core=0",
    ]


def _started(tools: Mapping[str, str], command: Sequence[str]) -> list[str]:
    return [tools["sh"], "-c", _START, "sh", *command]


@contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    """A file without a name that holds the data."""
    with os.fdopen(os.memfd_create("assay"), "w+b") as file:
        file.write(data)
        file.seek(0)
        yield file.fileno()
