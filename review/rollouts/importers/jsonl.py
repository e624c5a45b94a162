"""JSON lines: one object a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from review.rollouts.importers.records import (
    MOST_ROW_BYTES,
    Position,
    Record,
    Refused,
    Row,
    refuse_deep,
)

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SKIPPED_AT_ONCE = 1024 * 1024

_decode = msgspec.json.Decoder().decode


def rows(path: Path, position: Position) -> Iterator[Row]:
    """The file's lines from the position on; blank ones are passed over."""
    with path.open("rb", buffering=1024 * 1024) as file:
        number, after = position.rows, position.after
        file.seek(after)
        while line := file.readline(MOST_ROW_BYTES + 1):
            number += 1
            after += len(line)
            if len(line) > MOST_ROW_BYTES:
                while line and not line.endswith(b"\n"):
                    line = file.readline(SKIPPED_AT_ONCE)
                    after += len(line)
                yield Refused(number, after, f"longer than {MOST_ROW_BYTES >> 20} MiB")
            elif not line.isspace():
                yield _row(number, after, line)


def size(path: Path) -> int:
    return path.stat().st_size


def _row(number: int, after: int, line: bytes) -> Row:
    try:
        fields = decoded(line)
    except ValueError as error:
        return Refused(number, after, str(error))
    if not isinstance(fields, dict):
        return Refused(number, after, "not a JSON object")
    return Record(number, after, str(number), fields)


def decoded(text: bytes) -> Any:
    """The JSON value. Raises ValueError, which says why.

    Python programs write NaN, which is no JSON: what the strict reader refuses is read once more.
    """
    try:
        value = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = _decoded_leniently(text)
    refuse_deep(value)
    return value


def _decoded_leniently(text: bytes) -> Any:
    try:
        value = json.loads(text.removeprefix(BYTE_ORDER_MARK).decode())
    except UnicodeDecodeError:
        raise ValueError("not valid UTF-8") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error.msg} at character {error.pos + 1}") from None
    except ValueError:
        # A number of thousands of digits.
        raise ValueError("a number in it is too long") from None
    return value
