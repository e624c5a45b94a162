"""The verifier of answers in mathematics: Math-Verify, guarded, in killable workers."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar

from trainer.verifiers.base import (
    Item,
    Outcome,
    ParameterError,
    Verdict,
    VerdictError,
    undecided,
    version_of,
)
from trainer.verifiers.workers import pool

_TASK = "trainer.verifiers.math.task"


@dataclass(frozen=True, slots=True)
class Mathematics:
    r"""Passes when the response's final answer equals a reference, as mathematics.

    timeout_s: wall clock of one item, in seconds. memory_mb: a worker's address space.
    max_chars: longer responses and references are not looked at. workers: 0 = one a processor.

    What no reader sees (thoughts, hidden or crossed-out text, programs) does not count. The last
    box is the answer; boxes side by side ("\boxed{10} or \boxed{11}") are one list, which passes
    only where the reference is that list. Of a question's choices ("\textbf{(A)}\ 5") the value or
    the letter is enough, each by itself; a letter with another's value, or with more than one
    behind it, is undecided. Candidates: how many different answers are given.

    Undecided: no reference, or one that is no mathematics; an answer that does not parse, is not
    worked out ("3+4", "|x| = 3") or is a sentence; a right answer that the response does not
    commit to (it denies it, asks it, gives others too), form "doubtful"; and all that took too
    long, too much memory or the worker's life.
    """

    timeout_s: float = 5.0
    memory_mb: int = 1024
    max_chars: int = 200_000
    workers: int = field(default=0, compare=False)

    name: ClassVar[str] = "math"
    channel: ClassVar[str] = "correctness"
    normaliser: ClassVar[str] = "number-1"

    def __post_init__(self) -> None:
        for name, least, most in (
            ("timeout_s", 0.01, 3600),
            ("memory_mb", 256, 1_048_576),
            ("max_chars", 1, 10_000_000),
            ("workers", 0, 1024),
        ):
            value = getattr(self, name)
            kinds = (int, float) if name == "timeout_s" else (int,)
            if (
                isinstance(value, bool)
                or not isinstance(value, kinds)
                or not least <= value <= most
            ):
                raise ParameterError(f"{name}: {value!r} is not in [{least:g}, {most:g}]")
        if find_spec("math_verify") is None:
            raise ModuleNotFoundError("the verifier math needs the package math-verify")

    @property
    def version(self) -> str:
        return version_of(self, "2")

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; what could not be judged is undecided and says why."""
        refused = [self._refusal(item) for item in batch]
        payloads = [
            {"problem": item.problem, "response": item.response, "references": item.references}
            for item, refusal in zip(batch, refused, strict=True)
            if refusal is None
        ]
        workers = self.workers or len(os.sched_getaffinity(0))
        limits = pool.Limits(self.timeout_s, self.memory_mb, workers)
        answers = iter(pool.pool_of(_TASK).map(payloads, limits))
        return [refusal or _verdict(next(answers)) for refusal in refused]

    def _refusal(self, item: Item) -> Verdict | None:
        """Why an item is not worth a worker's time; None where it is."""
        if not item.references:
            return undecided("the prompt has no reference")
        for name, text in (
            ("problem", item.problem),
            ("response", item.response),
            *(("reference", reference) for reference in item.references),
        ):
            if len(text) > self.max_chars:
                return undecided(f"the {name} is longer than {self.max_chars:,} characters")
        return None


def _verdict(answer: pool.Answer) -> Verdict:
    if answer.lost is not None:
        return undecided(answer.lost, seconds=answer.seconds, form="unclear")
    try:
        return _verdict_in(answer.value, answer.seconds)
    except (KeyError, TypeError, ValueError, VerdictError):
        return undecided("the worker gave no proper verdict", seconds=answer.seconds)


def _verdict_in(value: Any, seconds: float) -> Verdict:
    return Verdict(
        outcome=Outcome(value["outcome"]),
        score=None,
        extracted=value["extracted"],
        path=value["path"],
        form=value["form"],
        candidates=value["candidates"],
        seconds=seconds,
        detail=value["detail"],
    )
