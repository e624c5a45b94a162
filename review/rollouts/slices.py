"""The conditions of a slice: a closed table of fields and operators, what they mean, in words.

Conditions travel as JSON, `[{"field", "op", "value"}]`, all of which must hold. They come from
outside: each function here reads them through `parse`, which refuses all that the table does not
hold, and only the table's own names reach SQL. A rollout of which a field is unknown (no score, no
answer class, no difficulty) meets no condition on that field.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import contains, eq, ge, le, ne
from typing import Any

from django.db.models import Q
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from review.rollouts.errors import InvalidSliceError
from trainer.rewards.cells import SHARE_CUTS, Cell

# Lower edges of the length bins after the first, in tokens (a quarter of the characters where
# tokens are unknown).
LENGTH_EDGES = (64, 256, 1024, 4096, 16384)

MOST_CONDITIONS = 20
MOST_VALUES = 50
# Of what a client wrote, so much is repeated to it.
_REPEATED = 40

Conditions = Sequence[Mapping[str, object]]
Value = str | int | list[str]

# What holds between a rollout's value and a condition's.
HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "is": eq,
    "is_not": ne,
    "in": lambda actual, values: contains(values, actual),
    "at_least": ge,
    "at_most": le,
}
LOOKUPS = {"is": "exact", "is_not": "exact", "in": "in", "at_least": "gte", "at_most": "lte"}


def length_bin(tokens: int | None, text: str) -> int:
    return bisect_right(LENGTH_EDGES, len(text) // 4 if tokens is None else tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of the table. Its values: one of `choices`, a number, or a text.

    A cell's field is read off the cell. A row's field is kept in each row of counts, and found
    from a rollout by the path; the paths are the only names that reach SQL.
    """

    ops: tuple[str, ...]
    choices: tuple[str | bool, ...] = ()
    low: int | None = None
    high: int | None = None
    most_letters: int = 0
    of_cell: Callable[[Cell], object] | None = None
    counts_path: str = ""
    rollout_path: str = ""


_TEXT = ("is", "is_not", "in")
_BIN = ("is", "at_least", "at_most")

FIELDS: Mapping[str, Field] = {
    "domain": Field(ops=_TEXT, most_letters=60, of_cell=lambda cell: cell.domain),
    "source": Field(
        ops=_TEXT, most_letters=120, counts_path="source", rollout_path="group__prompt__source"
    ),
    "policy": Field(
        ops=_TEXT, most_letters=200, counts_path="policy__uid", rollout_path="policy__uid"
    ),
    "signature": Field(ops=_TEXT, most_letters=400, of_cell=lambda cell: cell.signature),
    "outcome": Field(
        ops=("is", "is_not"),
        choices=("pass", "fail", "undecided"),
        of_cell=lambda cell: cell.outcome.value,
    ),
    "path": Field(
        ops=("is", "is_not"), most_letters=24, of_cell=lambda cell: _part_of_signature(cell, 1)
    ),
    "form": Field(
        ops=("is", "is_not"), most_letters=24, of_cell=lambda cell: _part_of_signature(cell, 2)
    ),
    "probe": Field(ops=("is",), choices=(True, False), of_cell=lambda cell: cell.probe),
    "score_bin": Field(ops=_BIN, low=0, high=9, of_cell=lambda cell: cell.score_bin),
    "share_bin": Field(ops=_BIN, low=0, high=3, of_cell=lambda cell: cell.share_bin),
    "length_bin": Field(
        ops=_BIN,
        low=0,
        high=len(LENGTH_EDGES),
        counts_path="length_bin",
        rollout_path="length_bin",
    ),
    "difficulty": Field(
        ops=_BIN,
        low=0,
        high=100,
        counts_path="difficulty",
        rollout_path="group__prompt__difficulty",
    ),
    "step": Field(
        ops=("at_least", "at_most"),
        low=0,
        high=1_000_000_000,
        counts_path="block",
        rollout_path="step",
    ),
}


def _part_of_signature(cell: Cell, part: int) -> str:
    """Of the primary verifier, which comes first: outcome, path, form, candidates."""
    return cell.signature.partition("&")[0].split("/")[part]


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    op: str
    value: Value

    @property
    def field(self) -> Field:
        return FIELDS[self.name]

    def holds_in(self, cell: Cell) -> bool:
        actual = self.field.of_cell(cell) if self.field.of_cell else None
        return actual is not None and HOLDS[self.op](actual, self.value)

    def to_json(self) -> dict[str, object]:
        return {"field": self.name, "op": self.op, "value": self.value}

    def sql(self, path: str, value: object) -> Q:
        """The condition on the column at the path, one of the table's own."""
        holds = Q((f"{path}__{LOOKUPS[self.op]}", value))
        return ~holds if self.op == "is_not" else holds


# Reading what came from outside


def parse(conditions: object) -> tuple[Condition, ...]:
    """The conditions, each checked. Raises InvalidSliceError, naming position, field and rule."""
    if not isinstance(conditions, Sequence) or isinstance(conditions, str | bytes):
        raise InvalidSliceError(fields={"conditions": "a list"})
    if len(conditions) > MOST_CONDITIONS:
        raise InvalidSliceError(fields={"conditions": f"at most {MOST_CONDITIONS}"})
    return tuple(
        _condition(condition, f"conditions[{position}]")
        for position, condition in enumerate(conditions)
    )


def _condition(condition: object, at: str) -> Condition:
    if not isinstance(condition, Mapping):
        raise InvalidSliceError(fields={at: "an object of field, op and value"})
    if unknown := condition.keys() - {"field", "op", "value"}:
        name = min(map(str, unknown))[:_REPEATED]
        raise InvalidSliceError(fields={f"{at}.{name}": "a condition has field, op and value"})
    for part in ("field", "op", "value"):
        if part not in condition:
            raise InvalidSliceError(fields={f"{at}.{part}": "is required"})
    name, op, value = condition["field"], condition["op"], condition["value"]
    if not isinstance(name, str) or name not in FIELDS:
        raise InvalidSliceError(fields={f"{at}.field": f"one of {', '.join(FIELDS)}"})
    if not isinstance(op, str) or op not in FIELDS[name].ops:
        raise InvalidSliceError(
            fields={f"{at}.op": f"of {name} one of {', '.join(FIELDS[name].ops)}"}
        )
    if rule := _broken_rule(FIELDS[name], op, value):
        raise InvalidSliceError(fields={f"{at}.value": f"of {name} {rule}"})
    return Condition(name, op, value)


def _broken_rule(field: Field, op: str, value: object) -> str | None:
    """What the value is not."""
    if op != "in":
        return _broken_single(field, value)
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_VALUES:
        return f"a list of 1 to {MOST_VALUES}"
    return next(filter(None, (_broken_single(field, one) for one in value)), None)


def _broken_single(field: Field, value: object) -> str | None:
    if field.choices:
        # By type too: 1 equals True.
        is_known = any(type(value) is type(one) and value == one for one in field.choices)
        known = ", ".join(str(one).lower() for one in field.choices)
        return None if is_known else f"one of {known}"
    if field.low is not None and field.high is not None:
        is_number = type(value) is int and field.low <= value <= field.high
        return None if is_number else f"a whole number from {field.low} to {field.high}"
    is_text = isinstance(value, str) and len(value) <= field.most_letters and is_storable(value)
    return None if is_text else f"a text of at most {field.most_letters} characters"


def is_storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


# What they select


def cell_mask(conditions: Conditions, features: Sequence[Cell]) -> list[bool]:
    """Which cells meet the conditions on cells; conditions on rows are for the rows' counts."""
    on_cells = [condition for condition in parse(conditions) if condition.field.of_cell]
    return [all(condition.holds_in(cell) for condition in on_cells) for cell in features]


def has_row_conditions(conditions: Conditions) -> bool:
    """Whether a cell may lie partly inside."""
    return any(condition.field.counts_path for condition in parse(conditions))


def has_cell_conditions(conditions: Conditions) -> bool:
    return any(condition.field.of_cell for condition in parse(conditions))


def rows_of_counts(conditions: Conditions, *, step_block: int, at: str = "") -> Q:
    """The conditions on rows, for counts (or for what points at them, under the prefix `at`)."""
    selected = Q()
    for condition in _on_rows(conditions, step_block):
        value = condition.value
        if condition.name == "step" and isinstance(value, int):
            value //= step_block
        selected &= condition.sql(at + condition.field.counts_path, value)
    return selected


def rows_of_rollouts(conditions: Conditions, *, step_block: int, at: str = "") -> Q:
    """The conditions on rows, for rollouts (or for what points at them, under the prefix `at`)."""
    selected = Q()
    for condition in _on_rows(conditions, step_block):
        selected &= condition.sql(at + condition.field.rollout_path, condition.value)
    return selected


def _on_rows(conditions: Conditions, step_block: int) -> list[Condition]:
    parsed = parse(conditions)
    for position, condition in enumerate(parsed):
        if condition.name == "step" and isinstance(condition.value, int):
            _refuse_cut_block(condition.op, condition.value, step_block, f"conditions[{position}]")
    return [condition for condition in parsed if condition.field.counts_path]


def _refuse_cut_block(op: str, step: int, step_block: int, at: str) -> None:
    """Counts are kept by whole blocks: a step inside one is no edge of a slice."""
    cut = (step + (op == "at_most")) % step_block
    if cut:
        nearest = [edge for edge in (step - cut, step - cut + step_block) if edge >= 0]
        raise InvalidSliceError(
            f"The run counts its steps in blocks of {step_block}, and the slice cuts one.",
            fields={f"{at}.value": f"for this run {' or '.join(map(str, nearest))}"},
        )


# In words, for pages


def describe(conditions: Conditions) -> str:
    """ "domain is algebra and length at least 1,024 tokens" """
    return f" {_('and')} ".join(map(_words, parse(conditions))) or _("every rollout")


_LABELS = {
    "domain": gettext_lazy("domain"),
    "source": gettext_lazy("source"),
    "policy": gettext_lazy("policy"),
    "signature": gettext_lazy("signature"),
    "outcome": gettext_lazy("verdict"),
    "path": gettext_lazy("path"),
    "form": gettext_lazy("answer form"),
    "difficulty": gettext_lazy("difficulty"),
    "step": gettext_lazy("step"),
}
_PHRASES = {
    "is": gettext_lazy("%(field)s is %(value)s"),
    "is_not": gettext_lazy("%(field)s is not %(value)s"),
    "in": gettext_lazy("%(field)s is %(value)s"),
    "at_least": gettext_lazy("%(field)s at least %(value)s"),
    "at_most": gettext_lazy("%(field)s at most %(value)s"),
}


def _words(condition: Condition) -> str:
    name, op, value = condition.name, condition.op, condition.value
    if name == "probe":
        return _("hit by a probe") if value else _("not hit by a probe")
    if name in _EDGES and isinstance(value, int):
        return _range_words(name, op, value)
    return str(_PHRASES[op]) % {"field": _LABELS[name], "value": _value_words(value)}


def _value_words(value: Value) -> str:
    if isinstance(value, list):
        return f" {_('or')} ".join(value)
    return f"{value:,}" if isinstance(value, int) else value or _("empty")


@dataclass(frozen=True, slots=True)
class _Edges:
    """A binned field's name, the bins' lower edges in words (the first bin has none), the unit."""

    label: Promise
    lower: tuple[str, ...]
    unit: str | Promise = ""


_EDGES = {
    "length_bin": _Edges(
        gettext_lazy("length"), tuple(f"{edge:,}" for edge in LENGTH_EDGES), gettext_lazy("tokens")
    ),
    "share_bin": _Edges(
        gettext_lazy("answer share"), tuple(f"{cut:.0%}"[:-1] for cut in SHARE_CUTS), "%"
    ),
    "score_bin": _Edges(gettext_lazy("score"), tuple(f"0.{tenth}" for tenth in range(1, 10))),
}


def _range_words(name: str, op: str, bin_: int) -> str:
    edges = _EDGES[name]
    low = edges.lower[bin_ - 1] if bin_ and op != "at_most" else None
    high = edges.lower[bin_] if bin_ < len(edges.lower) and op != "at_least" else None
    bounds = [_("at least %(low)s") % {"low": low}] if low is not None else []
    bounds += [_("under %(high)s") % {"high": high}] if high is not None else []
    if not bounds:
        return _("any %(field)s") % {"field": edges.label}
    said = f" {_('and')} ".join(bounds)
    return f"{edges.label} {said} {edges.unit}".rstrip()
