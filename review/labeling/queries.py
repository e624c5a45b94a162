from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
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
    return project.queues.select_related("rule").order_by("-created_at")


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


def progress_of(queue: Queue) -> QueueProgress:
    counts = Assignment.objects.filter(queue=queue).aggregate(
        total=Count("pk"),
        done=Count("pk", filter=Q(state=AssignmentState.DONE)),
        skipped=Count("pk", filter=Q(state=AssignmentState.SKIPPED)),
        leased=Count(
            "pk", filter=Q(state=AssignmentState.LEASED, lease_expires_at__gt=timezone.now())
        ),
    )
    return QueueProgress(**counts)


def has_pending(wave: Wave) -> bool:
    return Assignment.objects.filter(wave=wave, state__in=PENDING).exists()


def final_labels(waves: Sequence[Wave]) -> QuerySet[Label]:
    """The label that counts for each draw of the waves: in time and not taken back."""
    return (
        Label.objects.filter(
            assignment__wave__in=waves,
            assignment__state=AssignmentState.DONE,
            is_late=False,
            retraction=None,
        )
        .select_related("assignment__draw")
        .order_by("pk")
    )


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
