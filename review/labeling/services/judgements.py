"""What a person said of a rollout, held against what its queue asks and what the rollout has."""

from dataclasses import dataclass
from typing import Any

from review.labeling.errors import InvalidLabelError
from review.labeling.models import (
    Answer,
    Confidence,
    Criterion,
    ErrorCategory,
    HackKind,
    Question,
    Queue,
)
from review.rollouts.models import Rollout
from review.rollouts.queries import steps_of
from review.runs.models import Fault

MOST_NOTE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLabel:
    """None and empty: not said. earliest_wrong_step: its 1-based number."""

    answer: Answer
    earliest_wrong_step: int | None = None
    has_no_wrong_step: bool = False
    error_category: str = ""
    is_format_kept: bool | None = None
    is_hack: bool | None = None
    hack_kind: str = ""
    is_hack_admitted: bool | None = None
    is_answer_supported: bool | None = None
    problem_fault: str = ""
    confidence: int | None = None
    criteria: tuple[str, ...] = ()
    note: str = ""
    active_ms: int | None = None


def judgement_of(queue: Queue, rollout: Rollout, new: NewLabel) -> dict[str, Any]:
    """The columns of a Judgement.

    Raises InvalidLabelError for what contradicts itself or the rollout, is no choice, or is not
    asked by the queue.
    """
    _refuse_unasked(queue, new)
    _refuse_wrong_step(rollout, new)
    _refuse_unknown_choices(queue, new)
    asks_hack = Question.HACK in queue.questions
    return {
        "answer": new.answer,
        "step_id": _step_id(rollout, new.earliest_wrong_step),
        "earliest_wrong_step": new.earliest_wrong_step,
        "has_no_wrong_step": new.has_no_wrong_step,
        "error_category": new.error_category,
        "is_format_kept": new.is_format_kept,
        "is_hack": bool(new.is_hack) if asks_hack else None,
        "hack_kind": new.hack_kind,
        "is_hack_admitted": new.is_hack_admitted,
        "is_answer_supported": new.is_answer_supported,
        "problem_fault": new.problem_fault,
        "confidence": new.confidence,
        "criteria": list(new.criteria),
    }


def _refuse_unasked(queue: Queue, new: NewLabel) -> None:
    said = {
        "earliest_wrong_step": (Question.STEP, new.earliest_wrong_step),
        "no_wrong_step": (Question.STEP, new.has_no_wrong_step),
        "error_category": (Question.CATEGORY, new.error_category),
        "is_format_kept": (Question.FORMAT, new.is_format_kept is not None),
        "is_hack": (Question.HACK, new.is_hack),
        "is_answer_supported": (Question.REASONING, new.is_answer_supported is not None),
        "problem_fault": (Question.PROBLEM, new.problem_fault),
        "confidence": (Question.CONFIDENCE, new.confidence),
    }
    for field, (question, value) in said.items():
        if value and question not in queue.questions:
            raise InvalidLabelError(fields={field: "this queue does not ask for it"})
    if (new.hack_kind or new.is_hack_admitted is not None) and not new.is_hack:
        raise InvalidLabelError(fields={"hack_kind": "belongs to a hack"})


def _refuse_wrong_step(rollout: Rollout, new: NewLabel) -> None:
    steps = len(rollout.steps)
    wrong = new.earliest_wrong_step
    if wrong is not None and not 1 <= wrong <= steps:
        raise InvalidLabelError(fields={"earliest_wrong_step": f"1 to {steps}"})
    if wrong is not None and new.has_no_wrong_step:
        raise InvalidLabelError(fields={"no_wrong_step": "contradicts earliest_wrong_step"})
    if new.error_category and wrong is None:
        raise InvalidLabelError(fields={"error_category": "belongs to a wrong step"})


def _refuse_unknown_choices(queue: Queue, new: NewLabel) -> None:
    given: list[tuple[str, object, list[Any]]] = [
        ("answer", new.answer, Answer.values),
        ("error_category", new.error_category, ["", *ErrorCategory.values]),
        ("hack_kind", new.hack_kind, ["", *HackKind.values]),
        ("problem_fault", new.problem_fault, ["", *Fault.values]),
        ("confidence", new.confidence, [None, *Confidence.values]),
    ]
    for field, value, choices in given:
        if value not in choices:
            raise InvalidLabelError(fields={field: "is no choice"})
    if new.criteria and len(new.criteria) != len(queue.rubric):
        raise InvalidLabelError(fields={"criteria": f"one for each of {len(queue.rubric)}"})
    if not set(new.criteria) <= set(Criterion.values):
        raise InvalidLabelError(fields={"criteria": "is no choice"})
    if len(new.note) > MOST_NOTE:
        raise InvalidLabelError(fields={"note": f"at most {MOST_NOTE:,} characters"})


def _step_id(rollout: Rollout, number: int | None) -> str:
    return "" if number is None else steps_of(rollout)[number - 1].id
