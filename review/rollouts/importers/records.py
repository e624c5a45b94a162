"""What a reader makes of a file: records, one for each completion, and rows that it refuses."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from review.core.texts import is_deeper_than

# One row of a file, unpacked; a longer one is refused, so that a row never costs more memory.
MOST_ROW_BYTES = 32 * 1024 * 1024
# How deep the values of a row may be nested: what reads them recurses.
MOST_LEVELS = 50


class Record(msgspec.Struct, frozen=True, gc=False):
    """One completion, its columns by name.

    line: 1-based; of the file, or of the table in it.
    after: where reading goes on after it (bytes of a text file, else rows).
    key: tells it from the other records of its file, the same at every reading.
    """

    line: int
    after: int
    key: str
    fields: dict[str, Any]


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A row that cannot be read, and why."""

    line: int
    after: int
    reason: str


Row = Record | Refused


def refuse_deep(value: object) -> None:
    """Raises ValueError."""
    if is_deeper_than(MOST_LEVELS, value):
        raise ValueError("nested too deep")


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file has been read: rows, and where the next one starts."""

    rows: int = 0
    after: int = 0


START = Position()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """One format. `rows` goes through a file from a position; `size` is what `after` ends at."""

    rows: Callable[[Path, Position], Iterator[Row]]
    size: Callable[[Path], int]
    # What holds for most files of the format, from the first records of one.
    guess: Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]]
