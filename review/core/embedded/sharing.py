"""One server shared by any number of processes: the first starts it, the last stops it.

The reference count is a shared flock on the file `users`. The kernel drops it with the process,
so even kill -9 leaves no stale reference; a guardian process then waits for the moment when
nobody holds one and stops the server. The file `lock` makes starting and stopping exclusive.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from review.core.embedded.paths import PROJECT_ROOT


class SharedServer(ABC):
    """A server in `folder`; `acquire` returns when it answers.

    Use it as a context manager, or pair `acquire` and `release` (at exit it is released anyway).
    One object is one reference; a forked child does not own its parent's.
    """

    kind: ClassVar[str]

    def __init__(self, directory: Path, folder: Path) -> None:
        self.directory = directory
        self.folder = folder
        self._users: int | None = None
        self._owner_pid = 0

    @abstractmethod
    def _prepare_folder(self) -> None:
        """Create the folder, or refuse it."""

    @abstractmethod
    def is_running(self) -> bool:
        """Whether the server answers, waiting while it is about to."""

    @abstractmethod
    def _start(self) -> None:
        """Start the server and wait until it answers."""

    @abstractmethod
    def _stop(self) -> None:
        """Stop the server and wait until it is gone; no error if it is gone already."""

    def acquire(self) -> Self:
        if self._users is not None:
            raise RuntimeError("this object already holds its reference")
        self._prepare_folder()
        users = self._open("users")
        try:
            with self._locked():
                fcntl.flock(users, fcntl.LOCK_SH)
                self._ensure_guardian()
                if not self.is_running():
                    self._start()
        except BaseException:
            os.close(users)
            raise
        self._users, self._owner_pid = users, os.getpid()
        atexit.register(self.release)
        return self

    def release(self) -> None:
        if self._users is None or os.getpid() != self._owner_pid:
            return
        users, self._users = self._users, None
        atexit.unregister(self.release)
        try:
            with self._locked():
                if _try_exclusive(users):
                    self._stop()
        finally:
            os.close(users)

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def guard(self) -> None:
        """Become the guardian, in a session of its own: stop the server once nobody uses it."""
        # All opened before the caller goes on: afterwards the folder may be removed at any time.
        guardian, users, lock = (self._open(name) for name in ("guardian", "users", "lock"))
        if not _try_exclusive(guardian):
            return
        if os.fork():
            os._exit(0)
        os.setsid()
        while True:
            fcntl.flock(users, fcntl.LOCK_EX)
            # A newcomer waits for `users` while it holds `lock`, so give `users` up first.
            fcntl.flock(users, fcntl.LOCK_UN)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _try_exclusive(users):
                self._stop()
                # Given up before `lock`: a process that ends lets go of its files in no order to
                # rely on, and the next client would take it for a guardian that watches.
                os.close(guardian)
                return
            fcntl.flock(lock, fcntl.LOCK_UN)

    def _ensure_guardian(self) -> None:
        guardian = self._open("guardian")
        try:
            if not _try_exclusive(guardian):
                return
        finally:
            os.close(guardian)
        subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "review.core.embedded.guardian", self.kind, str(self.directory)],
            cwd=PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self._open("lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _open(self, name: str) -> int:
        return os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o600)


def _try_exclusive(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
