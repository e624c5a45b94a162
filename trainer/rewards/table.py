"""The reward table: a versioned lookup from cell to calibrated reward."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from trainer.rewards.cells import CELL_VERSION, Cell, CellError
from trainer.rewards.normalisers import NORMALISERS
from trainer.verifiers import Outcome

FORMAT = 1
RULES = ("demote_or_abstain", "posterior", "unbiased")
# Sums of few such values are exact in binary: a group of equal rewards has exactly zero advantage.
VALUE_STEPS = 1024

_FALLBACK_LEVELS = {
    **{f"{outcome}/p{probe}": "verdict-probe" for outcome in Outcome for probe in (0, 1)},
    **{str(outcome): "verdict" for outcome in Outcome},
}


_Value = TypeVar("_Value", int, str)


class TableError(ValueError):
    """A reward table breaks its format; the message starts with the field."""


@dataclass(frozen=True, slots=True)
class Reward:
    """A rollout's reward. value: None = left out of its group (neither advantage nor mean).

    level: what it was looked up by: "class" (its answer is settled by a label), "cell", "model"
    (the cell without its answer share), "verdict-probe", "verdict", or "raw" (no table yet).
    """

    value: float | None
    level: str


_RAW_REWARDS = {
    Outcome.PASS: Reward(value=1.0, level="raw"),
    Outcome.FAIL: Reward(value=0.0, level="raw"),
    Outcome.UNDECIDED: Reward(value=None, level="raw"),
}


_NOTHING_SETTLED: Mapping[str, Reward] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Entry:
    """What the table says of one cell.

    value: the reward, a multiple of 1/1024. abstain: leave the rollout out of its group.
    p_correct, low, high: P(correct | cell) with its interval. unbiased: the unbiased value.
    tpr, fpr, youden_j: the verifier's rates here. n: labels. level: what the figures rest on.
    """

    value: float
    abstain: bool
    p_correct: float
    low: float
    high: float
    unbiased: float | None
    tpr: float | None
    fpr: float | None
    youden_j: float | None
    n: int
    level: str


@dataclass(frozen=True)
class RewardTable:
    """A published table: immutable, fitted on the labels of `windows`, meant for the steps
    valid_from_step..valid_to_step. Trainers that cannot leave a rollout out give it
    `value_if_no_abstain`.

    classes: by prompt uid and answer class, the reward of answers that a label has settled.
    """

    run: str
    version: int
    rule: str
    normaliser: str
    verifiers: tuple[str, ...]
    valid_from_step: int
    valid_to_step: int
    label_set: str
    n_labels: int
    windows: tuple[str, ...]
    value_if_no_abstain: float
    cells: Mapping[str, Entry]
    fallback: Mapping[str, Entry]
    classes: Mapping[str, Mapping[str, float]]
    # What has been looked up before.
    _known: dict[Cell, Reward] = field(default_factory=dict, repr=False, compare=False)
    _settled: dict[str, Mapping[str, Reward]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def from_json(cls, source: str | Mapping[str, Any]) -> "RewardTable":
        """The table of this JSON text or object; fields that it does not know are ignored.

        Raises TableError, naming the field, for anything missing, of a wrong type, not finite,
        out of range or not a multiple of 1/1024, an unknown rule, an unknown normaliser, a cell
        key or version of other code, or a fallback without one of the three outcomes.
        """
        fields = _Fields(_parsed(source), "")
        fields.require("format", fields.integer("format"), (FORMAT,))
        fields.require("cell_version", fields.integer("cell_version"), (CELL_VERSION,))
        rule = fields.require("rule", fields.text("rule"), RULES)
        table = cls(
            run=fields.text("run"),
            version=fields.integer("version", at_least=1),
            rule=rule,
            normaliser=fields.require("normaliser", fields.text("normaliser"), tuple(NORMALISERS)),
            verifiers=fields.texts("verifiers"),
            valid_from_step=fields.integer("valid_from_step"),
            valid_to_step=fields.integer("valid_to_step"),
            label_set=fields.text("label_set"),
            n_labels=fields.integer("n_labels"),
            windows=fields.texts("windows"),
            value_if_no_abstain=fields.value("value_if_no_abstain", rule),
            cells=_cells(fields.mapping("cells"), rule),
            fallback=_fallback(fields.mapping("fallback"), rule),
            classes=_classes(fields.mapping("classes", {}), rule),
        )
        if table.valid_from_step > table.valid_to_step:
            raise TableError("valid_to_step: lies before valid_from_step")
        return table

    def reward(
        self, cell: Cell, *, prompt: str | None = None, answer_class: str | None = None
    ) -> Reward:
        """A rollout's reward: by its answer class if the prompt has that settled, else by its
        cell's key, else without its answer share, else by outcome and probe, else by outcome.

        prompt: the prompt's uid. A rollout that a hack probe hit is not paid by its class: the
        answer may be right, and the way to it still nothing to reward.
        """
        if prompt is not None and answer_class is not None and not cell.probe:
            settled = self._settled_by(prompt).get(answer_class)
            if settled is not None:
                return settled
        return self._known.get(cell) or self._remember(cell)

    def rewards(
        self, cells: Sequence[tuple[Cell, str | None]], *, prompt: str | None = None
    ) -> list[Reward]:
        """`reward` of each rollout of a group, in order, of what `cells_of_group` says of them."""
        known, remember = self._known.get, self._remember
        settled = {} if prompt is None else self._settled_by(prompt)
        if not settled:
            return [known(cell) or remember(cell) for cell, _ in cells]
        return [
            (settled.get(name) if name is not None and not cell.probe else None)
            or known(cell)
            or remember(cell)
            for cell, name in cells
        ]

    def _settled_by(self, prompt: str) -> Mapping[str, Reward]:
        """By answer class, what the prompt's settled answers are paid."""
        if (values := self.classes.get(prompt)) is None:
            return _NOTHING_SETTLED
        found = self._settled.get(prompt)
        if found is None:
            found = {name: Reward(value, level="class") for name, value in values.items()}
            self._settled[prompt] = found
        return found

    def _remember(self, cell: Cell) -> Reward:
        reward = self._known[cell] = self._look_up(cell)
        return reward

    def _look_up(self, cell: Cell) -> Reward:
        if entry := self.cells.get(cell.key):
            return _reward(entry, entry.level)
        if entry := self.cells.get(cell.without_share().key):
            return _reward(entry, "model")
        outcome = cell.outcome
        if entry := self.fallback.get(f"{outcome}/p{int(cell.probe)}"):
            return _reward(entry, entry.level)
        return _reward(self.fallback[outcome], "verdict")


def raw_reward(cell: Cell) -> Reward:
    """The reward while no table is published: pass 1, fail 0, undecided is left out."""
    return _RAW_REWARDS[cell.outcome]


def _reward(entry: Entry, level: str) -> Reward:
    return Reward(value=None if entry.abstain else entry.value, level=level)


def _parsed(source: str | Mapping[str, Any]) -> object:
    if not isinstance(source, str):
        return source
    try:
        return json.loads(source)
    except (ValueError, RecursionError) as error:
        raise TableError(f"table: not JSON ({type(error).__name__})") from error


def _cells(entries: Mapping[str, Any], rule: str) -> dict[str, Entry]:
    for key in entries:
        try:
            Cell.parse(key)
        except CellError as error:
            raise TableError(f"cells: {error}") from error
    return {
        key: _entry(_Fields(entry, f"cells[{key}]."), rule, ("cell", "model"))
        for key, entry in entries.items()
    }


def _fallback(entries: Mapping[str, Any], rule: str) -> dict[str, Entry]:
    if missing := [str(outcome) for outcome in Outcome if outcome not in entries]:
        raise TableError(f"fallback: {', '.join(missing)} missing")
    if unknown := [key for key in entries if key not in _FALLBACK_LEVELS]:
        raise TableError(f"fallback: unknown key {unknown[0]!r}")
    return {
        key: _entry(_Fields(entry, f"fallback[{key}]."), rule, (_FALLBACK_LEVELS[key],))
        for key, entry in entries.items()
    }


def _classes(prompts: Mapping[str, Any], rule: str) -> dict[str, dict[str, float]]:
    read = {prompt: _Fields(classes, f"classes[{prompt}].") for prompt, classes in prompts.items()}
    return {
        prompt: {name: fields.value(name, rule) for name in fields.names()}
        for prompt, fields in read.items()
    }


def _entry(fields: "_Fields", rule: str, levels: tuple[str, ...]) -> Entry:
    entry = Entry(
        value=fields.value("value", rule),
        abstain=fields.flag("abstain"),
        p_correct=fields.probability("p_correct"),
        low=fields.probability("low"),
        high=fields.probability("high"),
        unbiased=fields.optional_number("unbiased"),
        tpr=fields.optional_number("tpr"),
        fpr=fields.optional_number("fpr"),
        youden_j=fields.optional_number("youden_j"),
        n=fields.integer("n"),
        level=fields.require("level", fields.text("level"), levels),
    )
    if entry.low > entry.high:
        raise TableError(f"{fields.prefix}low: is above high")
    return entry


class _Fields:
    """Typed reading of one JSON object; each reader raises TableError naming the field."""

    def __init__(self, source: object, prefix: str) -> None:
        if not isinstance(source, Mapping):
            raise TableError(f"{prefix.rstrip('.') or 'table'}: not an object")
        self._source = source
        self.prefix = prefix

    def _fail(self, name: str, problem: str) -> TableError:
        return TableError(f"{self.prefix}{name}: {problem}")

    def _get(self, name: str) -> object:
        if name not in self._source:
            raise self._fail(name, "missing")
        return self._source[name]

    def require(self, name: str, value: _Value, known: tuple[_Value, ...]) -> _Value:
        if value not in known:
            raise self._fail(name, f"{value!r} is none of {', '.join(map(str, known))}")
        return value

    def text(self, name: str) -> str:
        value = self._get(name)
        if not isinstance(value, str) or not value:
            raise self._fail(name, "not a text, or empty")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._get(name)
        if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
            raise self._fail(name, "not a list of texts")
        return tuple(value)

    def flag(self, name: str) -> bool:
        value = self._get(name)
        if not isinstance(value, bool):
            raise self._fail(name, "not true or false")
        return value

    def integer(self, name: str, *, at_least: int = 0) -> int:
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
            raise self._fail(name, f"not a whole number of at least {at_least}")
        return value

    def number(self, name: str) -> float:
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._fail(name, "not a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._fail(name, "not finite")
        return number

    def optional_number(self, name: str) -> float | None:
        return None if self._get(name) is None else self.number(name)

    def probability(self, name: str) -> float:
        value = self.number(name)
        if not 0.0 <= value <= 1.0:
            raise self._fail(name, "not in [0, 1]")
        return value

    def value(self, name: str, rule: str) -> float:
        value = self.number(name)
        if not (value * VALUE_STEPS).is_integer():
            raise self._fail(name, f"not a multiple of 1/{VALUE_STEPS}")
        if rule != "unbiased" and not 0.0 <= value <= 1.0:
            raise self._fail(name, "not in [0, 1]")
        return value

    def names(self) -> list[str]:
        return list(self._source)

    def mapping(self, name: str, default: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """The object; where it is missing, the default if there is one."""
        value = self._source.get(name, default) if default is not None else self._get(name)
        if not isinstance(value, Mapping):
            raise self._fail(name, "not an object")
        return value
