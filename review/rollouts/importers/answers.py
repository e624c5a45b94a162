"""The answer in an imported completion, found the way that our own verifiers find it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trainer.verifiers import Item
from trainer.verifiers.math.boxed import answer_form, boxed_answers
from trainer.verifiers.short_answer import ExactMatch

# What the source extracted by means of its own.
IMPORTED = "imported"
SHORT_ANSWERS = "squad-1"

_short_answers = ExactMatch()


class Extraction(NamedTuple):
    extracted: str | None
    path: str
    form: str
    candidates: int


NOTHING = Extraction(None, "none", "none", 0)


def text_of_messages(messages: Sequence[Mapping[str, Any]]) -> str:
    """All that the policy wrote."""
    if len(messages) == 1:
        return str(messages[0]["content"])
    own = [message["content"] for message in messages if message["role"] == "assistant"]
    return "".join(own) if own else str(messages[-1]["content"])


def extraction_of(
    text: str, *, references: tuple[str, ...], given: str | None, normaliser: str
) -> Extraction:
    """The answer with path, form and candidates.

    given: what the source extracted, "" where it found nothing; None where it does not say. Its
    path is "imported" unless it is one of the text's boxes: how else it was found is not known.
    """
    if given == "":
        return NOTHING
    if normaliser == SHORT_ANSWERS:
        return _short_answer(text if given is None else given, references)
    boxes = boxed_answers(text)
    if given is None:
        return _boxed(boxes, references)
    is_boxed = given in boxes
    path, candidates = ("boxed" if is_boxed else IMPORTED), len(set(boxes)) or 1
    return Extraction(given, path, answer_form(given), candidates)


def _boxed(boxes: list[str], references: tuple[str, ...]) -> Extraction:
    if not boxes:
        return NOTHING
    answer = next((box for box in boxes if box in references), boxes[-1])
    return Extraction(answer, "boxed", answer_form(answer), len(set(boxes)))


def _short_answer(answer: str, references: tuple[str, ...]) -> Extraction:
    (verdict,) = _short_answers.verify([Item("", answer, references)])
    return Extraction(verdict.extracted, verdict.path, verdict.form, verdict.candidates)
