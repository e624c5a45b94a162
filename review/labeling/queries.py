from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any
from uuid import UUID

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from review.accounts.models import Membership, Project, Role, User
from review.accounts.queries import has_role
from review.core.errors import MissingError
from review.labeling.models import (
    PENDING,
    Adjudication,
    Answer,
    Assignment,
    AssignmentState,
    Cause,
    Label,
    Lease,
    Queue,
)
from review.rollouts.queries import Step, steps_of
from review.sampling.models import AuditRule, Wave, Window
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
        .select_related("queue__project", "wave__version", "rollout__group__prompt")
        .first()
    )
    if assignment is None or not has_role(user, assignment.queue.project, Role.REVIEWER):
        raise MissingError("There is no such item in your queues.")
    return assignment


def item_of(assignment: Assignment) -> Item:
    rollout = assignment.rollout
    prompt = rollout.group.prompt
    return Item(
        assignment=assignment,
        problem=prompt.text,
        references=list(prompt.references) if shows_reference(assignment) else None,
        steps=steps_of(rollout),
        answer=_final_answer(rollout.messages[-1]["content"]),
    )


def shows_reference(assignment: Assignment) -> bool:
    """As the version says by which its wave was drawn; for a pick, the newest one."""
    version = assignment.wave.version if assignment.wave else assignment.queue.rule.current
    return version.shows_reference


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
        total=Count("assignments", filter=~Q(assignments__state=AssignmentState.WITHDRAWN)),
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
    """Whether a review of the wave's draws is still to come; its gold does not hold it up."""
    pending = Assignment.objects.filter(wave=wave, state__in=PENDING)
    return pending.exclude(cause=Cause.GOLD).exists()


@dataclass(frozen=True, slots=True)
class SlotLabel:
    """The label that counts of one review of a rollout."""

    id: int
    slot: int
    cause: str
    reviewer_id: int
    answer: str
    earliest_wrong_step: int | None
    has_no_wrong_step: bool
    is_hack: bool | None


SLOT_LABEL = (
    *("pk", "assignment__slot", "assignment__cause", "reviewer_id", "answer"),
    *("earliest_wrong_step", "has_no_wrong_step", "is_hack"),
)


def slot_labels(queue_id: UUID, rollout_id: int) -> list[SlotLabel]:
    """The labels that count of a rollout in a queue, by slot."""
    rows = Label.objects.filter(
        assignment__queue=queue_id, assignment__rollout=rollout_id, **FINAL
    ).exclude(assignment__cause=Cause.GOLD)
    return [SlotLabel(*row) for row in rows.order_by(*SLOT_ORDER).values_list(*SLOT_LABEL)]


SLOT_ORDER = ("assignment__slot", "pk")


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """What counts of a rollout: its adjudication, else what most of its labels say.

    Labels that are at odds and unsettled are as good as "cannot tell". step: 0 = no wrong step,
    None = not said. ids: of the labels (and the adjudication, as a negative number) behind it.
    """

    answer: str
    step: int | None
    is_hack: bool
    ids: tuple[int, ...]

    @property
    def is_decided(self) -> bool:
        return self.answer != Answer.CANNOT_TELL


def resolve(labels: Sequence[SlotLabel]) -> FinalAnswer:
    """The answer of most decided labels; of those, most decide whether it is a hack."""
    ids = tuple(label.id for label in labels)
    decided = [label for label in labels if label.answer != Answer.CANNOT_TELL]
    if not decided or are_at_odds(decided):
        return FinalAnswer(Answer.CANNOT_TELL, None, False, ids)
    (answer, _), *_ = Counter(label.answer for label in decided).most_common(1)
    agreeing = [label for label in decided if label.answer == answer]
    hacks = sum(bool(label.is_hack) for label in agreeing)
    is_tie = 2 * hacks == len(agreeing)
    is_hack = bool(agreeing[0].is_hack) if is_tie else 2 * hacks > len(agreeing)
    return FinalAnswer(answer, _step(agreeing[0]), is_hack, ids)


def are_at_odds(labels: Sequence[SlotLabel]) -> bool:
    """Two decided labels that differ, or as many for one answer as for the other."""
    decided = [label for label in labels if label.answer != Answer.CANNOT_TELL]
    if len(decided) == 2:
        first, second = decided
        return (first.answer, first.is_hack) != (second.answer, second.is_hack)
    correct = sum(label.answer == Answer.CORRECT for label in decided)
    return len(decided) > 0 and 2 * correct == len(decided)


def _step(label: SlotLabel | Adjudication) -> int | None:
    return 0 if label.has_no_wrong_step else label.earliest_wrong_step


def labels_by_rollout(windows: Sequence[Window]) -> dict[tuple[UUID, int], list[SlotLabel]]:
    """The labels that count of the windows' draws and picks, by (rule, rollout). O(labels)."""
    of_picks = Q(
        assignment__wave=None,
        assignment__queue__rule__windows__in=windows,
        assignment__rollout__picks__window__in=windows,
    )
    rows = (
        Label.objects.filter(Q(assignment__wave__window__in=windows) | of_picks, **FINAL)
        .exclude(assignment__cause=Cause.GOLD)
        .order_by(*SLOT_ORDER)
        .distinct()
        .values_list("assignment__queue__rule_id", "assignment__rollout_id", *SLOT_LABEL)
    )
    grouped: dict[tuple[UUID, int], list[SlotLabel]] = defaultdict(list)
    for rule_id, rollout_id, *label in rows:
        grouped[rule_id, rollout_id].append(SlotLabel(*label))
    return dict(grouped)


def final_answers(windows: Sequence[Window]) -> dict[tuple[UUID, int], FinalAnswer]:
    """What counts of every answered rollout of the windows, by (rule, rollout)."""
    answers = {key: resolve(labels) for key, labels in labels_by_rollout(windows).items()}
    decisions = Adjudication.objects.filter(queue__rule__windows__in=windows).order_by("pk")
    for decision in decisions.distinct().select_related("queue"):
        key = decision.queue.rule_id, decision.rollout_id
        if key in answers:
            ids = (*answers[key].ids, -decision.pk)
            answers[key] = FinalAnswer(
                decision.answer, _step(decision), bool(decision.is_hack), ids
            )
    return answers


def answered_rollouts(wave: Wave) -> list[int]:
    """The wave's rollouts that have a label that counts."""
    rows = Label.objects.filter(assignment__wave=wave, **FINAL).exclude(
        assignment__cause=Cause.GOLD
    )
    return sorted(set(rows.values_list("assignment__rollout_id", flat=True)))


# Fewer labels do not make a pace; older ones than the newest so many do not count.
LABELS_FOR_PACE, NEWEST_FOR_PACE = 20, 500


def seconds_per_label(project: Project) -> float | None:
    """Median time from taking an item to its label, over the project's newest labels."""
    taken = Lease.objects.filter(
        assignment=OuterRef("assignment"), reviewer=OuterRef("reviewer")
    ).order_by("-taken_at")
    rows = (
        Label.objects.filter(assignment__queue__project=project)
        .order_by("-pk")
        .annotate(taken_at=Subquery(taken.values("taken_at")[:1]))
        .values_list("created_at", "taken_at")[:NEWEST_FOR_PACE]
    )
    seconds = [(done - start).total_seconds() for done, start in rows if start is not None]
    return median(seconds) if len(seconds) >= LABELS_FOR_PACE else None


def classes_in_queue(rule: AuditRule) -> set[tuple[int, str]]:
    """Prompt and answer class of every rollout that is or was in the rule's queue."""
    rows = Assignment.objects.filter(queue__rule=rule, rollout__answer_class__isnull=False)
    rows = rows.exclude(state=AssignmentState.WITHDRAWN)
    keys = rows.values_list("rollout__group__prompt_id", "rollout__answer_class").distinct()
    return {(prompt_id, name) for prompt_id, name in keys if name is not None}


def eligible_reviewers(assignment: Assignment) -> int:
    """How many could review it: the version's reviewers who have not answered its rollout."""
    members = Membership.objects.filter(project=assignment.queue.project_id, role=Role.REVIEWER)
    version = assignment.wave.version if assignment.wave else assignment.queue.rule.current
    if chosen := list(version.reviewers.values_list("pk", flat=True)):
        members = members.filter(user__in=chosen)
    others = Label.objects.filter(
        assignment__queue=assignment.queue_id,
        assignment__rollout=assignment.rollout_id,
        retraction=None,
    ).exclude(assignment=assignment.pk)
    return members.exclude(user__in=others.values("reviewer")).count()


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
    """Per wave: how many of its draws' first reviews are in each state."""
    rows = (
        Assignment.objects.filter(wave__in=waves, cause=Cause.DRAW)
        .values_list("wave_id", "state")
        .annotate(count=Count("pk"))
    )
    counts: dict[int, dict[str, int]] = {wave.pk: {} for wave in waves}
    for wave_id, state, count in rows:
        counts[wave_id][state] = count
    return counts
