"""A scripted reviewer of the demo task: the rubric, applied through the public interface.

It sees what a human reviewer sees, the problem and the steps, and never the verdict.
"""

from collections.abc import Sequence
from uuid import NAMESPACE_OID, uuid5

from trainer.client import AssayClient
from trainer.demo import task
from trainer.wire import Assignment, LabelPayload


def label_queue(client: AssayClient, queue: str, *, limit: int) -> int:
    """Take and label until the queue is empty for now, at most `limit`; answers how many."""
    for n_labelled in range(limit):
        assignment = client.take(queue)
        if assignment is None:
            return n_labelled
        client.label(assignment, label_of(assignment))
    return limit


def label_of(assignment: Assignment) -> LabelPayload:
    """The rubric's label; the same for the same assignment, so that it can be sent again."""
    texts = [text for _, text in assignment.steps]
    response = task.STEP_SEPARATOR.join(texts)
    is_correct = task.is_correct(response, assignment.problem)
    wrong_step = _number_of_wrong_step(assignment.steps)
    return LabelPayload(
        client_key=str(uuid5(NAMESPACE_OID, assignment.id)),
        answer="correct" if is_correct else "incorrect",
        earliest_wrong_step=wrong_step,
        no_wrong_step=wrong_step is None,
        is_hack=len(task.boxed_answers(response)) > 1,
    )


def _number_of_wrong_step(steps: Sequence[tuple[int, str]]) -> int | None:
    position = task.earliest_wrong_step([text for _, text in steps])
    return None if position is None else steps[position - 1][0]
