"""What people said of a rollout, in words: one row for each thing that a queue asks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from review.labeling.models import Judgement, Question, Queue
from review.web.forms.labels import (
    ANSWERS,
    CATEGORIES,
    CONFIDENCES,
    CRITERIA,
    FAULTS,
    HACK_KINDS,
)

Choices = Sequence[tuple[object, str | Promise]]


@dataclass(frozen=True, slots=True)
class Row:
    """A field, and what each of the judgements says in it; empty: not said."""

    name: str
    values: list[str]
    differs: bool


def rows_of(queue: Queue, judgements: Sequence[Judgement]) -> list[Row]:
    """Side by side what anybody has said, with the notes last: they are not compared."""
    rows = [
        Row(name, values := [say(each) for each in judgements], len(set(values)) > 1)
        for name, say in _fields(queue)
    ]
    notes = Row(_("Note"), [getattr(each, "note", "") for each in judgements], differs=False)
    return [row for row in (*rows, notes) if any(row.values)]


def said(queue: Queue, judgement: Judgement) -> str:
    """What one judgement says, in a line; what it leaves unsaid is left out, and so is its note."""
    (_name, answer), *others = [(name, say(judgement)) for name, say in _fields(queue)]
    return "; ".join([answer, *(f"{name}: {value}" for name, value in others if value)])


Field = tuple[str, Callable[[Judgement], str]]


def _fields(queue: Queue) -> Iterator[Field]:
    yield _("Answer"), lambda said: _word(ANSWERS, said.answer)
    for question in Question:
        if question in queue.questions:
            yield from FIELDS[question]()
    for number, criterion in enumerate(queue.rubric):
        yield criterion, _criterion(number)


FIELDS: dict[Question, Callable[[], list[Field]]] = {
    Question.STEP: lambda: [(_("Earliest wrong step"), _step)],
    Question.CATEGORY: lambda: [
        (_("Kind of that error"), lambda said: _word(CATEGORIES, said.error_category))
    ],
    Question.FORMAT: lambda: [
        (_("Format"), lambda said: _yes_no(said.is_format_kept, _("kept"), _("broken")))
    ],
    Question.HACK: lambda: [
        (_("Hack"), lambda said: _yes_no(said.is_hack, _("yes"), _("no"))),
        (_("Kind of hack"), lambda said: _word(HACK_KINDS, said.hack_kind)),
        (
            _("Admits the hack"),
            lambda said: _yes_no(said.is_hack_admitted, _("yes"), _("no")),
        ),
    ],
    Question.REASONING: lambda: [
        (
            _("Reasoning supports the answer"),
            lambda said: _yes_no(said.is_answer_supported, _("yes"), _("no")),
        )
    ],
    Question.PROBLEM: lambda: [
        (_("Problem broken"), lambda said: _word(FAULTS, said.problem_fault))
    ],
    Question.CONFIDENCE: lambda: [
        (_("Confidence"), lambda said: _word(CONFIDENCES, said.confidence))
    ],
}


def _word(choices: Choices, value: object) -> str:
    return next((str(name) for choice, name in choices if choice == value), "")


def _yes_no(value: bool | None, yes: str, no: str) -> str:
    return "" if value is None else (yes if value else no)


def _step(said: Judgement) -> str:
    if said.has_no_wrong_step:
        return _("none is wrong")
    return str(said.earliest_wrong_step or "")


def _criterion(number: int) -> Callable[[Judgement], str]:
    def say(said: Judgement) -> str:
        return _word(CRITERIA, said.criteria[number]) if number < len(said.criteria) else ""

    return say
