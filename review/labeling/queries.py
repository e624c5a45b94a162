from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from review.accounts.models import Project, Role, User
from review.accounts.queries import has_role
from review.core.errors import MissingError
from review.labeling.models import PENDING, Assignment, AssignmentState, Label, Queue
from review.rollouts.queries import Step, steps_of
from review.sampling.models import Wave
from trainer.verifiers.math import boxed_answers

UNDO_SECONDS = 30

# The label that counts: of an answered item, in time, and not taken back.
FINAL: dict[str, Any] = {
    "assignment__state": AssignmentState.DONE,
    "is_late": False,
    "retraction": None,
}


@dataclass(frozen=True, slots=True)
class Item:
    """What a reviewer may see of an assignment: nothing of verdict, reward or policy."""

    assignment: Assignment
    problem: str
    references: list[str] | None
    steps: list[Step]
    answer: str | None


@dataclass(frozen=True, slots=True)
class QueueProgress:
    total: int
    done: int
    skipped: int
    leased: int

    @property
    def open(self) -> int:
        return self.total - self.done - self.skipped - self.leased


def queues_of(project: Project) -> QuerySet[Queue]:
    return project.queues.select_related("rule__run").order_by("-created_at")


def queue_of_reviewer(user: User, queue_id: UUID) -> Queue:
    """The queue, if the user reviews in its project."""
    queue = Queue.objects.filter(pk=queue_id).select_related("project", "rule__run").first()
    if queue is None or not has_role(user, queue.project, Role.REVIEWER):
        raise MissingError("There is no such queue among those that you review.")
    return queue


def assignment_of_reviewer(user: User, assignment_id: UUID) -> Assignment:
    """An assignment that the user holds, held, or could be served; others do not exist for them.

    Whether it is still theirs is the lease token's business.
    """
    assignment = (
        Assignment.objects.filter(pk=assignment_id)
        .select_related("queue__project", "draw__rollout__group__prompt")
        .first()
    )
    if assignment is None or not has_role(user, assignment.queue.project, Role.REVIEWER):
        raise MissingError("There is no such item in your queues.")
    return assignment


def item_of(assignment: Assignment) -> Item:
    rollout = assignment.draw.rollout
    prompt = rollout.group.prompt
    return Item(
        assignment=assignment,
        problem=prompt.text,
        references=list(prompt.references) if assignment.queue.shows_reference else None,
        steps=steps_of(rollout),
        answer=_final_answer(rollout.messages[-1]["content"]),
    )


def _final_answer(text: str) -> str | None:
    """Every boxed answer, set apart. Read from the text alone: a verdict would show through."""
    return ", ".join(dict.fromkeys(boxed_answers(text))) or None


def progress_by_queue(project: Project) -> dict[UUID, QueueProgress]:
    """Progress of each of the project's queues."""
    return _progress(Queue.objects.filter(project=project))


def progress_of(queue: Queue) -> QueueProgress:
    return _progress(Queue.objects.filter(pk=queue.pk))[queue.pk]


def _progress(queues: QuerySet[Queue]) -> dict[UUID, QueueProgress]:
    is_held = Q(
        assignments__state=AssignmentState.LEASED,
        assignments__lease_expires_at__gt=timezone.now(),
    )
    rows = queues.values_list("pk").annotate(
        Count("assignments"),
        done=Count("assignments", filter=Q(assignments__state=AssignmentState.DONE)),
        skipped=Count("assignments", filter=Q(assignments__state=AssignmentState.SKIPPED)),
        leased=Count("assignments", filter=is_held),
    )
    return {pk: QueueProgress(*counts) for pk, *counts in rows}


def labels_by(user: User, queue: Queue) -> int:
    """How many of the queue's items the user has answered."""
    return Label.objects.filter(reviewer=user, assignment__queue=queue, **FINAL).count()


def label_counts(project: Project) -> dict[UUID, int]:
    """Final labels of each of the project's runs that has any."""
    rows = (
        Label.objects.filter(assignment__queue__project=project, **FINAL)
        .values_list("assignment__queue__rule__run_id")
        .annotate(Count("pk"))
    )
    return dict(rows)


def has_pending(wave: Wave) -> bool:
    return Assignment.objects.filter(wave=wave, state__in=PENDING).exists()


def final_labels(waves: Sequence[Wave]) -> QuerySet[Label]:
    """The labels that count of the waves' draws."""
    labels = Label.objects.filter(assignment__wave__in=waves, **FINAL)
    return labels.select_related("assignment__draw").order_by("pk")


def label_to_undo(user: User, queue: Queue) -> Label | None:
    """The reviewer's newest label, while it can be taken back."""
    newest = (
        Label.objects.filter(reviewer=user)
        .select_related("assignment", "retraction")
        .order_by("-pk")
        .first()
    )
    is_open = (
        newest is not None
        and newest.assignment.queue_id == queue.pk
        and not newest.is_late
        and not hasattr(newest, "retraction")
        and newest.created_at > timezone.now() - timedelta(seconds=UNDO_SECONDS)
    )
    return newest if is_open else None


def labels_by_wave(waves: Sequence[Wave]) -> dict[int, dict[str, int]]:
    """Per wave: how many of its assignments are in each state."""
    rows = (
        Assignment.objects.filter(wave__in=waves)
        .values_list("wave_id", "state")
        .annotate(count=Count("pk"))
    )
    counts: dict[int, dict[str, int]] = {wave.pk: {} for wave in waves}
    for wave_id, state, count in rows:
        counts[wave_id][state] = count
    return counts
