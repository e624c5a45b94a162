"""An audit whose items stand in a queue, and reviewers who answer them."""

from uuid import uuid4

from review.accounts.models import Project, User
from review.flows import audit, labels
from review.labeling.models import Answer, Assignment, Label, Queue
from review.labeling.queries import FINAL
from review.labeling.services.judgements import NewLabel
from review.labeling.services.leases import take_next
from review.sampling.models import Wave
from tests import builders


def open_queue(project: Project, *, budget: int = 16, waves: int = 1, groups: int = 8) -> Queue:
    """The queue of a started audit whose one window has its first wave drawn."""
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2], groups=groups)
    rule = builders.make_audit(run, budget=budget, waves=waves)
    audit.start_audit(rule=rule, actor="test")
    run.refresh_from_db()
    audit.open_windows(run=run)
    return rule.queue


def take(queue: Queue, reviewer: User) -> Assignment:
    """The reviewer's next item, which there must be."""
    assignment = take_next(queue=queue, reviewer=reviewer)
    assert assignment is not None
    return assignment


def commit(assignment: Assignment, reviewer: User, answer: Answer = Answer.CORRECT) -> Label:
    assert assignment.lease_token is not None
    label, _ = labels.commit_label(
        assignment=assignment,
        reviewer=reviewer,
        token=assignment.lease_token,
        client_key=uuid4(),
        new=NewLabel(answer=answer),
    )
    return label


def answer_all(queue: Queue, reviewer: User) -> int:
    """Label what the queue holds, right answers as right; how many there were."""
    answered = 0
    while assignment := take_next(queue=queue, reviewer=reviewer):
        is_right = assignment.rollout.messages[-1]["content"] in builders.RESPONSES[:2]
        commit(assignment, reviewer, Answer.CORRECT if is_right else Answer.INCORRECT)
        answered += 1
    return answered


def counting_labels(wave: Wave | None) -> list[Label]:
    """The wave's labels that count."""
    return list(Label.objects.filter(assignment__wave=wave, **FINAL).order_by("pk"))
