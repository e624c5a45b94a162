"""Numbered request bodies on disk, which survive a crash: the durable half of trainer.spool."""

import fcntl
import json
import os
import re
from collections import deque
from contextlib import suppress
from pathlib import Path

from trainer.client import AssayError

_ENTRY_NAME = re.compile(r"[0-9]{10}-(?:run|prompts|rollouts|update)\.json\.gz")


class SpoolError(Exception):
    """The spool's directory belongs to another run, or another process has it open."""


class Outbox:
    """Request bodies in a directory, numbered, oldest first. One process at a time.

    A kind names the call that a body is for. The caller sees to it that one thread at a time
    changes the outbox.
    """

    def __init__(self, directory: Path) -> None:
        """Raises SpoolError when another process has the directory open."""
        self._pending_in = directory / "spool"
        self._refused_in = directory / "refused"
        for folder in (self._pending_in, self._refused_in):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock_file = _locked(directory / "lock")
        for leftover in self._pending_in.glob(".*"):
            leftover.unlink()
        self._pending = deque(_names_in(self._pending_in))
        known = [*self._pending, *_names_in(self._refused_in)]
        self._next_number = 1 + max((_number_and_kind(name)[0] for name in known), default=0)

    def __len__(self) -> int:
        return len(self._pending)

    def put(self, kind: str, body: bytes) -> None:
        """Keep a body at the end of the row; it is on disk when this returns."""
        name = f"{self._next_number:010}-{kind}.json.gz"
        write_durably(self._pending_in / name, body)
        self._next_number += 1
        self._pending.append(name)

    def put_first(self, kind: str, body: bytes) -> None:
        """Keep a body before all others, unless one that went first is still there."""
        name = f"{0:010}-{kind}.json.gz"
        if not self._pending or self._pending[0] != name:
            write_durably(self._pending_in / name, body)
            self._pending.appendleft(name)

    def oldest(self) -> tuple[str, str, bytes]:
        """The name, kind and body of the entry to send next. Raises IndexError when empty."""
        name = self._pending[0]
        return name, _number_and_kind(name)[1], (self._pending_in / name).read_bytes()

    def discard(self, name: str) -> None:
        """Delete an acknowledged entry."""
        (self._pending_in / name).unlink(missing_ok=True)
        self._pending.remove(name)

    def refuse(self, name: str, error: AssayError) -> Path:
        """Put an entry aside with the server's error beside it; answers where."""
        report = {
            "status": error.status,
            "code": error.code,
            "message": error.message,
            "fields": error.fields,
        }
        aside = self._refused_in / name
        write_durably(aside.with_name(f"{name}.error.json"), json.dumps(report).encode())
        (self._pending_in / name).rename(aside)
        self._pending.remove(name)
        return aside

    def close(self) -> None:
        """Let another process open the directory."""
        os.close(self._lock_file)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that after a crash is there whole or not at all (fsync, atomic rename)."""
    temporary = path.with_name(f".{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        # On a full disk a part would take the room that is left.
        with suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _locked(path: Path) -> int:
    """An open lock on the file; the system lets go of it when the process ends, however it ends."""
    lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise SpoolError(f"{path.parent} is open in another process") from error
    return lock


def _names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if _ENTRY_NAME.fullmatch(path.name))


def _number_and_kind(name: str) -> tuple[int, str]:
    number, kind = name.removesuffix(".json.gz").split("-")
    return int(number), kind
