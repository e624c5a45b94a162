"""The verifier of instructions that a program can check, as in IFEval (arXiv:2311.07911)."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar

from trainer.verifiers.base import Item, Outcome, ParameterError, Verdict, undecided, version_of
from trainer.verifiers.constraints.base import CannotTellError
from trainer.verifiers.constraints.reference import Asked, BadReferenceError, instructions_of
from trainer.verifiers.texts import visible

MODES = ("strict", "loose")
MAX_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class Constraints:
    """Passes when the response follows all instructions of the reference.

    Characters that show nothing are not read. The reference is JSON: `{"instruction_id_list":
    [...], "kwargs": [{...}, ...]}`. mode: "strict" judges the response as it stands; "loose" lets
    an instruction hold in any of its readings without the first line, the last line, or asterisks.
    The score is the share of the instructions that hold; path says in which reading: "verbatim",
    "loosened", or "none" where one does not hold; form how many there are: "one" or "several".
    """

    mode: str = "strict"

    name: ClassVar[str] = "constraints"
    channel: ClassVar[str] = "correctness"
    normaliser: ClassVar[str] = "squad-1"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ParameterError(f"mode: must be one of {', '.join(MODES)}")

    @property
    def version(self) -> str:
        return version_of(self, "2")

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; a reference that cannot be read is undecided, saying why."""
        return [self._verify_one(item) for item in batch]

    def _verify_one(self, item: Item) -> Verdict:
        started = perf_counter()
        try:
            asked = _asked_of(item)
        except BadReferenceError as error:
            return undecided(str(error), seconds=perf_counter() - started)
        form = "one" if len(asked) == 1 else "several"
        if len(item.response) > MAX_CHARACTERS:
            reason = f"the response has more than {MAX_CHARACTERS} characters"
            return undecided(reason, seconds=perf_counter() - started, form=form)
        readings = readings_of(visible(item.response), mode=self.mode)
        findings = [_find(one, readings) for one in asked]
        broken = [finding.name for finding in findings if finding.is_broken]
        open_questions = [finding.question for finding in findings if finding.question]
        seconds = perf_counter() - started
        if open_questions and not broken:
            return undecided("; ".join(open_questions), seconds=seconds, form=form)
        return Verdict(
            outcome=Outcome.FAIL if broken else Outcome.PASS,
            score=sum(finding.is_followed for finding in findings) / len(findings),
            extracted=None,
            path=_path(findings),
            form=form,
            candidates=0,
            seconds=seconds,
            detail=f"not followed: {', '.join(broken)}" if broken else "",
        )


@dataclass(frozen=True, slots=True)
class _Finding:
    """What was found of one instruction: the first reading that follows it, None where none does;
    why that cannot be told, where it cannot."""

    name: str
    reading: int | None
    question: str = ""

    @property
    def is_followed(self) -> bool:
        return self.reading is not None

    @property
    def is_broken(self) -> bool:
        return self.reading is None and not self.question


def readings_of(response: str, *, mode: str) -> tuple[str, ...]:
    """The response; in mode "loose" also without first line, last line, both, and asterisks."""
    if mode == "strict":
        return (response,)
    lines = response.split("\n")
    cut = [response, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return tuple(dict.fromkeys([*cut, *(text.replace("*", "") for text in cut)]))


def _asked_of(item: Item) -> tuple[Asked, ...]:
    if not item.references:
        raise BadReferenceError("the prompt has no reference")
    if len(item.references) > 1:
        raise BadReferenceError("reference: must be one JSON text")
    return instructions_of(item.references[0])


def _find(asked: Asked, readings: Sequence[str]) -> _Finding:
    """A question stays open only where the response as it stands leaves it open."""
    question = ""
    for number, reading in enumerate(readings):
        try:
            if asked.is_followed(reading):
                return _Finding(asked.name, number)
        except CannotTellError as error:
            question = question if number else f"{asked.name}: {error}"
    return _Finding(asked.name, None, question)


def _path(findings: Sequence[_Finding]) -> str:
    if not all(finding.is_followed for finding in findings):
        return "none"
    return "loosened" if any(finding.reading for finding in findings) else "verbatim"
