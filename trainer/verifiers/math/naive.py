r"""Naive verifiers of mathematics, to compare with: each is in use somewhere, and each is hacked.

They compare strings, decide from one place in the response and read nothing around it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar

from trainer.verifiers.base import Item, Outcome, Verdict
from trainer.verifiers.math.boxed import answer_form, boxed_answers

_NUMBER = re.compile(r"-?[0-9][0-9,]*(?:\.[0-9]+)?")

# A response and its references -> the answer found (None = none) and whether it is right.
_Finder = Callable[[str, tuple[str, ...]], tuple[str | None, bool]]


@dataclass(frozen=True, slots=True)
class LastNumber:
    """Passes when the last number of the response equals a reference as text, commas left out."""

    name: ClassVar[str] = "last-number"
    version: ClassVar[str] = "1"
    channel: ClassVar[str] = "correctness"
    normaliser: ClassVar[str] = "number-1"

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; without a reference the outcome is undecided."""
        return [_verify(item, _last_number, path="last-number") for item in batch]


@dataclass(frozen=True, slots=True)
class FirstBoxed:
    r"""Passes when the first `\boxed{}` equals a reference string."""

    name: ClassVar[str] = "first-boxed"
    version: ClassVar[str] = "1"
    channel: ClassVar[str] = "correctness"
    normaliser: ClassVar[str] = "number-1"

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; without a reference the outcome is undecided."""
        return [_verify(item, _first_boxed, path="boxed") for item in batch]


@dataclass(frozen=True, slots=True)
class ContainsReference:
    """Passes when a reference string occurs anywhere in the response."""

    name: ClassVar[str] = "contains-reference"
    version: ClassVar[str] = "1"
    channel: ClassVar[str] = "correctness"
    normaliser: ClassVar[str] = "number-1"

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; without a reference the outcome is undecided."""
        return [_verify(item, _contained, path="text") for item in batch]


def _last_number(response: str, references: tuple[str, ...]) -> tuple[str | None, bool]:
    last = None
    for match in _NUMBER.finditer(response):
        last = match[0].replace(",", "")
    return last, last in references


def _first_boxed(response: str, references: tuple[str, ...]) -> tuple[str | None, bool]:
    first = next(iter(boxed_answers(response)), None)
    return first, first in references


def _contained(response: str, references: tuple[str, ...]) -> tuple[str | None, bool]:
    found = next((one for one in references if one in response), None)
    return found, found is not None


def _verify(item: Item, find: _Finder, *, path: str) -> Verdict:
    started = perf_counter()
    answer, is_right = find(item.response, item.references)
    outcome = Outcome.PASS if is_right else Outcome.FAIL
    return Verdict(
        outcome=outcome if item.references else Outcome.UNDECIDED,
        score=None,
        extracted=answer,
        path="none" if answer is None else path,
        form="none" if answer is None else answer_form(answer),
        candidates=0 if answer is None else 1,
        seconds=perf_counter() - started,
        detail="" if item.references else "the prompt has no reference",
    )
