"""What a verifier takes and what it says."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol

_TOKEN = re.compile(r"[a-z0-9-]{1,24}")


class Outcome(StrEnum):
    """A verifier's decision; *undecided* (it could not tell) is never the same as *fail*."""

    PASS = "pass"  # noqa: S105 - an outcome, no password
    FAIL = "fail"
    UNDECIDED = "undecided"


class VerdictError(ValueError):
    """A verdict's field is outside its range."""


class ParameterError(ValueError):
    """A verifier does not take this parameter, or not with this value; the text names it."""


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
    record: what a judge was asked and what it said, as JSON holds it; None where nothing was.

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
    record: Mapping[str, Any] | None = None

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
    """One rollout to judge.

    problem: what the policy was asked. response: what it wrote. references: the right answers, may
    be none; to a verifier of code or of instructions one JSON object with the tests or the
    instructions. steps: the response in the steps that its labels count; empty = not cut yet.
    """

    problem: str
    response: str
    references: tuple[str, ...]
    steps: tuple[str, ...] = ()


def undecided(detail: str, *, seconds: float = 0.0, form: str = "none") -> Verdict:
    """No decision, and why: what a machine could not tell is never a silent fail."""
    return Verdict(Outcome.UNDECIDED, None, None, "none", form, 0, seconds, detail)


class _Configured(Protocol):
    """A dataclass: its fields are the verifier's parameters."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


def params_of(verifier: _Configured) -> dict[str, Any]:
    """The parameters that decide verdicts: the fields that take part in comparison.

    What says only how the work is done (workers, keys, a pool) is a `field(compare=False)`.
    """
    return {
        field.name: getattr(verifier, field.name)
        for field in dataclasses.fields(verifier)
        if field.compare
    }


def version_of(verifier: _Configured, base: str) -> str:
    """The code's version, with a digest of the parameters that are not as they come: "2-1f0c9a7e".

    The same parameters give the same version on every machine; at most 40 characters.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(verifier)}
    chosen = {name: value for name, value in params_of(verifier).items() if value != defaults[name]}
    if not chosen:
        return base
    text = json.dumps(chosen, sort_keys=True, default=str)
    return f"{base}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


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
