"""Rows of files that people write: what is wrong with one is said with its place and its field."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.verifiers.probes.errors import ProbeError

_TOKEN = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_REQUIRED: Any = object()


@dataclass(frozen=True, slots=True)
class Row:
    """The fields of one attack or prompt, and where they stand ("attacks.jsonl, line 3")."""

    fields: Mapping[str, Any]
    place: str

    def error(self, field: str, rule: str) -> ProbeError:
        return ProbeError(f"{self.place}: {field}: {rule}")

    def refuse_unknown(self, *known: str) -> None:
        for field in self.fields:
            if field not in known:
                raise self.error(field, f"unknown; known: {', '.join(known)}")

    def text(self, field: str, *, default: str = _REQUIRED) -> str:
        value = self.fields.get(field, default)
        if type(value) is not str:
            raise self.error(field, "must be a text")
        return value

    def text_or_none(self, field: str) -> str | None:
        return None if self.fields.get(field) is None else self.text(field)

    def token(self, field: str, *, default: str = _REQUIRED) -> str:
        value = self.text(field, default=default)
        if not _TOKEN.fullmatch(value):
            raise self.error(field, "must be of a-z, 0-9, '.', '_' and '-', at most 80")
        return value

    def texts(self, field: str, *, default: Sequence[str] = _REQUIRED) -> tuple[str, ...]:
        """A list of texts, or one text by itself."""
        value = self.fields.get(field, default)
        if type(value) is str:
            return (value,)
        if not isinstance(value, list | tuple) or any(type(one) is not str for one in value):
            raise self.error(field, "must be a text or a list of texts")
        return tuple(value)

    def rows(self, field: str) -> tuple["Row", ...]:
        """The rows inside this one; none where the field is missing."""
        value = self.fields.get(field, [])
        if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
            raise self.error(field, "must be a list of objects")
        return tuple(Row(one, f"{self.place}: {field}[{i}]") for i, one in enumerate(value))


def rows_of_file(path: Path) -> Iterator[Row]:
    """The rows of a file of JSON lines. Raises ProbeError with the file and the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ProbeError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ProbeError(f"{path}: is not UTF-8 at byte {error.start}") from error
    yield from rows_of_text(text, name=str(path))


def rows_of_text(text: str, *, name: str) -> Iterator[Row]:
    """The rows of JSON lines; blank lines are passed over."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "too deep or large"
            raise ProbeError(f"{place}: is not JSON: {reason}") from error
        if not isinstance(fields, dict):
            raise ProbeError(f"{place}: must be a JSON object")
        yield Row(fields, place)
