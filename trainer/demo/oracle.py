"""Scripted reviewers of the demo task: the rubric, applied through the public interface.

They see what human reviewers see, the problem and the steps, and never the verdict.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import NAMESPACE_OID, uuid5

from trainer.client import AssayClient
from trainer.demo import task
from trainer.wire import Assignment, LabelPayload


@dataclass(frozen=True, slots=True)
class Reviewer:
    """error_rate: of answers that are the opposite of the rubric's; by name and text, so that the
    same reviewer says the same of the same response each time, and others err elsewhere."""

    client: AssayClient
    name: str = "scripted"
    error_rate: float = 0.0

    def label_next(self, queue: str) -> bool:
        """Take and label one item; False when there is none for this reviewer now."""
        assignment = self.client.take(queue)
        if assignment is None:
            return False
        label = label_of(assignment)
        self.client.label(assignment, _opposite(label) if self.errs_at(assignment) else label)
        return True

    def errs_at(self, assignment: Assignment) -> bool:
        text = "\0".join([self.name, assignment.problem, _response(assignment)])
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") < self.error_rate * 2**64


def label_queue(reviewers: Sequence[Reviewer], queue: str, *, limit: int | None = None) -> int:
    """In turn, each takes and labels an item, until there is none for any of them now, or
    `limit` labels are given; answers how many."""
    n_labelled, busy = 0, list(reviewers)
    while busy:
        for reviewer in list(busy):
            if n_labelled == limit:
                return n_labelled
            if reviewer.label_next(queue):
                n_labelled += 1
            else:
                busy.remove(reviewer)
    return n_labelled


def label_of(assignment: Assignment) -> LabelPayload:
    """The rubric's label; the same for the same assignment, so that it can be sent again."""
    response = _response(assignment)
    is_correct = task.is_correct(response, assignment.problem)
    wrong_step = _number_of_wrong_step(assignment.steps)
    return LabelPayload(
        client_key=str(uuid5(NAMESPACE_OID, assignment.id)),
        answer="correct" if is_correct else "incorrect",
        earliest_wrong_step=wrong_step,
        no_wrong_step=wrong_step is None,
        is_hack=len(task.boxed_answers(response)) > 1,
    )


def _opposite(label: LabelPayload) -> LabelPayload:
    """What a reviewer says who takes right for wrong, or a hack for a right answer."""
    if label.answer == "correct":
        return replace(label, answer="incorrect")
    return replace(label, answer="correct", is_hack=False)


def _response(assignment: Assignment) -> str:
    return task.STEP_SEPARATOR.join(text for _, text in assignment.steps)


def _number_of_wrong_step(steps: Sequence[tuple[int, str]]) -> int | None:
    position = task.earliest_wrong_step([text for _, text in steps])
    return None if position is None else steps[position - 1][0]
