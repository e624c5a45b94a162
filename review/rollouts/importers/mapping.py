"""Which column gives which field of a rollout, and what holds for all rows."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from review.rollouts.errors import InvalidMappingError
from review.rollouts.importers.records import Record
from review.rollouts.importers.values import (
    Message,
    messages_of,
    number_of,
    plain_text,
    problem_of,
    references_of,
    text_of,
    truth_of,
    verdict_of,
    whole_number,
)
from trainer.verifiers import Outcome

Column = Annotated[str, Meta(max_length=200)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]

MOST_STEP = 1_000_000_000
MOST_TOKENS = 2**31 - 1
MOST_UID = 200
MOST_EXTRACTED = 100_000


class VerdictColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column of scores: from the threshold on it passes, below it fails, null is undecided."""

    column: Annotated[str, Meta(min_length=1, max_length=80)]
    threshold: float = 0.5
    channel: Literal["correctness", "format", "process", "probe", "monitor"] = "correctness"


class ColumnMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Columns by the field that they give ("": none does), and values for all rows.

    Of the verdicts, the first one of the channel correctness is the one whose verdict is the
    reward. group: rows with the same value, one after the other, are a group; without it, those
    with equal prompts, `group_size` at a time (0: as many as there are). variant: lm-eval's filter;
    rows of another variant than the first judge the same completions once more.
    """

    prompt: Column
    completion: Column
    verdicts: Annotated[list[VerdictColumn], Meta(max_length=20)]
    references: Column = ""
    extracted: Column = ""
    group: Column = ""
    group_size: Annotated[int, Meta(ge=0, le=1_024)] = 0
    uid: Column = ""
    step: Column = ""
    # Of all rows, where no column gives it.
    at_step: Annotated[int, Meta(ge=0, le=MOST_STEP)] = 0
    truncated: Column = ""
    tokens: Column = ""
    reward: Column = ""
    variant: Column = ""
    first_variant: str = ""
    policy: Name = "imported"
    domain: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,59}$(?!\n)")] = "general"
    source: Annotated[str, Meta(max_length=120)] = ""
    normaliser: Annotated[str, Meta(max_length=40)] = "number-1"

    @classmethod
    def parse(cls, raw: object) -> "ColumnMapping":
        try:
            return msgspec.convert(raw, cls)
        except msgspec.ValidationError as error:
            raise InvalidMappingError(fields={"mapping": str(error)}) from None

    def to_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


class Judged(msgspec.Struct, frozen=True, gc=False):
    outcome: Outcome
    score: float | None


class SourceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One completion as its source has it."""

    line: int
    after: int
    key: str
    problem: str
    messages: list[Message]
    # In the order of the mapping's verdicts.
    verdicts: list[Judged]
    step: int
    variant: str
    references: tuple[str, ...] = ()
    group: str | None = None
    uid: str | None = None
    # None: no column gives it. Empty: the source found no answer.
    extracted: str | None = None
    is_truncated: bool = False
    tokens: int | None = None
    reward: float | None = None


def reader_of(mapping: ColumnMapping) -> Callable[[Record], SourceRow]:
    """What turns a record into a row; for a bad one it raises ValueError, naming the column."""
    readings: list[tuple[str, str, Callable[[Any], Any]]] = [
        (field, column, reading)
        for field, reading in READINGS.items()
        if (column := getattr(mapping, FIELDS_OF.get(field, field)))
    ]
    fixed: dict[str, Any] = {"step": mapping.at_step, "variant": mapping.first_variant}
    verdicts = mapping.verdicts

    def row(record: Record) -> SourceRow:
        columns = record.fields
        found: dict[str, Any] = {}
        for field, column, reading in readings:
            try:
                found[field] = reading(columns.get(column))
            except ValueError as error:
                raise ValueError(f"{column}: {error}") from None
        return SourceRow(
            line=record.line,
            after=record.after,
            key=record.key,
            verdicts=[_judged(columns, verdict) for verdict in verdicts],
            **(fixed | found),
        )

    return row


def _judged(fields: Mapping[str, Any], verdict: VerdictColumn) -> Judged:
    try:
        return Judged(*verdict_of(fields.get(verdict.column), threshold=verdict.threshold))
    except ValueError as error:
        raise ValueError(f"{verdict.column}: {error}") from None


def _uid(value: object) -> str:
    uid = text_of(value)
    if not 1 <= len(uid) <= MOST_UID:
        raise ValueError(f"is not of 1 to {MOST_UID} characters")
    return uid


def _step(value: object) -> int:
    return whole_number(value, most=MOST_STEP)


def _tokens(value: object) -> int | None:
    return None if value is None else whole_number(value, most=MOST_TOKENS)


def _extracted(value: object) -> str:
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else value
    text = plain_text(text_of(value)).strip()
    return text if len(text) <= MOST_EXTRACTED else ""


# By field of a row, what reads its column.
READINGS: Mapping[str, Callable[[Any], Any]] = {
    "problem": problem_of,
    "references": references_of,
    "group": text_of,
    "uid": _uid,
    "step": _step,
    "messages": messages_of,
    "extracted": _extracted,
    "is_truncated": truth_of,
    "tokens": _tokens,
    "reward": number_of,
    "variant": text_of,
}
# Where a row's field is called otherwise than the mapping's.
FIELDS_OF = {"problem": "prompt", "messages": "completion", "is_truncated": "truncated"}
