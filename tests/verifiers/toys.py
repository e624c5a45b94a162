"""Verifiers that tests put among the built-in ones."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from trainer.verifiers import Item, Outcome, ParameterError, Verdict, params_of, version_of
from trainer.verifiers.registry import Listed


@dataclass(frozen=True, slots=True)
class Contains:
    """Passes what contains a text; takes its time where it is told to."""

    name: ClassVar[str] = "contains"
    channel: ClassVar[str] = "correctness"
    normaliser: ClassVar[str] = "number-1"

    text: str = r"\boxed{15"
    least: float = 0.0
    most: int = 100
    strict: bool = False
    url: str = ""
    words: tuple[str, ...] = ()
    sleep_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.least <= 1.0:
            raise ParameterError("least: is between 0 and 1")
        if "bad" in self.words:
            raise ParameterError(f"words[{self.words.index('bad')}]: is a bad one")

    @property
    def version(self) -> str:
        return version_of(self, "1")

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        return [self._judge(item) for item in batch]

    def _judge(self, item: Item) -> Verdict:
        time.sleep(self.sleep_s)
        outcome = Outcome.PASS if self.text in item.response else Outcome.FAIL
        asked = {
            "prompt": f"{item.problem}\0",
            "params": list(params_of(self)),
            "odds": float("nan"),
        }
        return Verdict(outcome, None, "1\0", "text", "short", 1, 0.5, "said \ud800", asked)


@dataclass(frozen=True, slots=True)
class Steps(Contains):
    """Names the first step that contains the text."""

    name: ClassVar[str] = "steps"
    channel: ClassVar[str] = "process"

    def _judge(self, item: Item) -> Verdict:
        found = [n for n, step in enumerate(item.steps, start=1) if self.text in step]
        outcome = Outcome.FAIL if found else Outcome.PASS
        return Verdict(outcome, None, str(found[0] if found else 0), "text", "short", 1, 0.0)


@dataclass(frozen=True, slots=True)
class Toy(Listed):
    """A built-in verifier whose class is here."""

    made: Any = None

    def load(self) -> type[Any]:
        kind: type[Any] = self.made
        return kind


def contains(**changes: Any) -> Toy:
    return Toy("toys:Contains", made=Contains, **changes)


def steps() -> Toy:
    return Toy("toys:Steps", channel="process", made=Steps)


@dataclass(frozen=True, slots=True)
class Calls(Contains):
    """Calls an address unless it is given another."""

    name: ClassVar[str] = "calls"

    base_url: str = "http://127.0.0.1:8000/v1"
