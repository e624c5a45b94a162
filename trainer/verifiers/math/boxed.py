r"""Verifiers of answers in LaTeX boxes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar

from trainer.verifiers.base import Item, Outcome, Verdict

# An escaped character is a token of its own, so that `\{` is no brace and `\\boxed{` no box.
_BRACES = re.compile(r"(?P<box>\\boxed\s*\{)|\\.|(?P<open>\{)|(?P<close>\})", re.DOTALL)

_FORMS = (
    ("integer", re.compile(r"[+-]?(?:0|[1-9][0-9]*)")),
    ("decimal", re.compile(r"[+-]?(?:0|[1-9][0-9]*)?\.[0-9]+|[+-]?(?:0|[1-9][0-9]*)\.")),
    ("padded", re.compile(r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*")),
    ("grouped", re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?")),
)


def boxed_answers(text: str) -> list[str]:
    r"""The contents of every `\boxed{...}`, in order; braces inside may nest.

    Of boxes within boxes only the innermost count; unclosed and blank ones do not. One pass:
    the time is linear in the text, whatever it holds.
    """
    return [text[start:end] for start, end in boxed_spans(text)]


def boxed_spans(text: str, *, outermost: bool = False) -> list[tuple[int, int]]:
    """Where the contents of `boxed_answers` start and end in the text; outermost: of boxes within
    boxes those that hold the others, instead."""
    start_at = text.find("\\boxed")
    if start_at < 0:
        return []
    # A backslash before it may be what escapes it. Braces further on the left open no box.
    while start_at and text[start_at - 1] == "\\":
        start_at -= 1
    spans: list[tuple[int, int]] = []
    opened: list[int | None] = []  # per open brace: where its box's content starts, None = no box
    last_start = -1  # of the box closed last
    for token in _BRACES.finditer(text, start_at):
        if token.lastgroup == "box":
            opened.append(token.end())
        elif token.lastgroup == "open":
            opened.append(None)
        elif token.lastgroup == "close" and opened:
            start = opened.pop()
            if start is not None and (outermost or start > last_start):
                while spans and spans[-1][0] > start:
                    spans.pop()
                last_start = start
                spans.append((start, token.start()))
    return [(start, end) for start, end in spans if text[start:end].strip()]


def answer_form(answer: str) -> str:
    """How a number is written: "integer", "decimal" (15.0), "padded" (with zeros or blanks: 015),
    "grouped" (1,000); anything else is an "expression"."""
    return next((form for form, shape in _FORMS if shape.fullmatch(answer)), "expression")


@dataclass(frozen=True, slots=True)
class BoxedAny:
    r"""Passes when any `\boxed{}` string equals a reference string exactly.

    It is naive on purpose: several different boxes are a hedge that it accepts, and `15.0` for
    `15` is a right answer that it rejects. Its verdict's form and candidates tell these apart.
    """

    name: ClassVar[str] = "boxed-any"
    version: ClassVar[str] = "1"
    channel: ClassVar[str] = "correctness"
    normaliser: ClassVar[str] = "number-1"

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; without a reference the outcome is undecided."""
        return [_verify_boxed(item) for item in batch]


def _verify_boxed(item: Item) -> Verdict:
    started = perf_counter()
    answers = boxed_answers(item.response)
    accepted = next((answer for answer in answers if answer in item.references), None)
    extracted = accepted if accepted is not None or not answers else answers[-1]
    outcome = Outcome.FAIL if accepted is None else Outcome.PASS
    return Verdict(
        outcome=outcome if item.references else Outcome.UNDECIDED,
        score=None,
        extracted=extracted,
        path="boxed" if answers else "none",
        form="none" if extracted is None else answer_form(extracted),
        candidates=len(set(answers)),
        seconds=perf_counter() - started,
        detail="" if item.references else "the prompt has no reference",
    )
