"""What a verifier takes and what it says."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

_TOKEN = re.compile(r"[a-z0-9-]{1,24}")


class Outcome(StrEnum):
    """A verifier's decision; *undecided* (it could not tell) is never the same as *fail*."""

    PASS = "pass"  # noqa: S105 - an outcome, no password
    FAIL = "fail"
    UNDECIDED = "undecided"


class VerdictError(ValueError):
    """A verdict's field is outside its range."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One verifier's judgement of one rollout.

    outcome: the decision.
    score: in [0, 1]; None when the verifier gives none.
    extracted: the answer that was judged; None when none was found.
    path: how the answer was found, a token: "boxed", "text", "alias", "none".
    form: how the answer is written, a token: "integer", "decimal", "short", "none" ...
    candidates: the number of different candidate answers found.
    seconds: time taken by this judgement.
    detail: one line for people, such as why the outcome is undecided.

    Raises VerdictError, naming the field, for a value out of range.
    """

    outcome: Outcome
    score: float | None
    extracted: str | None
    path: str
    form: str
    candidates: int
    seconds: float
    detail: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.outcome, Outcome):
            raise VerdictError(f"outcome: {self.outcome!r} is not an Outcome")
        if self.score is not None and not 0.0 <= self.score <= 1.0:
            raise VerdictError(f"score: {self.score!r} is not in [0, 1]")
        for field in ("path", "form"):
            if not _TOKEN.fullmatch(getattr(self, field)):
                raise VerdictError(f"{field}: {getattr(self, field)!r} is not [a-z0-9-]{{1,24}}")
        if self.candidates < 0:
            raise VerdictError(f"candidates: {self.candidates} is negative")
        if not 0.0 <= self.seconds < float("inf"):
            raise VerdictError(f"seconds: {self.seconds!r} is not a duration")


@dataclass(frozen=True, slots=True)
class Item:
    """One rollout to judge: its problem, the response text, the reference answers (may be none)."""

    problem: str
    response: str
    references: tuple[str, ...]


class Verifier(Protocol):
    """A versioned program that judges rollouts.

    channel: "correctness", "format", "process", "probe" or "monitor".
    normaliser: the name of the normal form under which its extracted answers are equal
    (`trainer.rewards.cells.NORMALISERS`).
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def channel(self) -> str: ...
    @property
    def normaliser(self) -> str: ...

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order. Hostile text gives a verdict, never an exception."""
        ...
