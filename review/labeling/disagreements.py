"""Labels that are at odds: of which rollouts, what the reviewers saw, what each of them said."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet

from review.labeling.models import (
    PENDING,
    Adjudication,
    Answer,
    Assignment,
    AssignmentState,
    Cause,
    Label,
    Queue,
)
from review.labeling.queries import FINAL, SLOT_LABEL, SLOT_ORDER, Item, SlotLabel, item_of


@dataclass(frozen=True, slots=True)
class AtOdds:
    """A rollout whose labels are at odds. since: when the newest of them came."""

    queue_id: UUID
    rollout_id: int
    since: datetime


def at_odds(queues: QuerySet[Queue], labels: QuerySet[Label] | None = None) -> list[AtOdds]:
    """Rollouts of which labels are at odds and that nobody has settled, the oldest first.

    As `queries.are_at_odds` says it of one rollout.
    """
    # Few rollouts are reviewed twice: from them to their labels, not through all labels.
    twice = Assignment.objects.filter(queue__in=queues, slot__gt=1, state=AssignmentState.DONE)
    labels = Label.objects.all() if labels is None else labels
    settled = Adjudication.objects.filter(
        queue=OuterRef("assignment__queue"), rollout=OuterRef("assignment__rollout")
    )
    rows = (
        labels.filter(assignment__queue__in=queues, **FINAL)
        .filter(assignment__rollout__in=twice.values("rollout"))
        .exclude(assignment__cause=Cause.GOLD)
        .exclude(answer=Answer.CANNOT_TELL)
        .exclude(Exists(settled))
        .values("assignment__queue", "assignment__rollout")
        .annotate(
            decided=Count("pk"),
            correct=Count("pk", filter=Q(answer=Answer.CORRECT)),
            hacks=Count("pk", filter=Q(is_hack=True)),
            since=Max("created_at"),
            newest=Max("pk"),
        )
        .filter(Q(decided=2 * F("correct")) | Q(decided=2, hacks=1))
        .order_by("newest")
        .values_list("assignment__queue", "assignment__rollout", "since")
    )
    return [AtOdds(*row) for row in rows]


def disagreements(queue: Queue) -> dict[int, list[SlotLabel]]:
    """By rollout the labels that are at odds, the oldest first."""
    found = at_odds(Queue.objects.filter(pk=queue.pk))
    grouped: dict[int, list[SlotLabel]] = {row.rollout_id: [] for row in found}
    labels = (
        Label.objects.filter(assignment__queue=queue, assignment__rollout__in=grouped, **FINAL)
        .exclude(assignment__cause=Cause.GOLD)
        .order_by(*SLOT_ORDER)
        .values_list("assignment__rollout_id", *SLOT_LABEL)
    )
    for rollout_id, *label in labels:
        grouped[rollout_id].append(SlotLabel(*label))
    return grouped


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A rollout whose labels are at odds and unsettled, with these labels by slot.

    awaits_review: another review of it is still to come, which may settle it.
    """

    item: Item
    labels: Sequence[Label]
    awaits_review: bool


def oldest_disagreements(queue: Queue, *, most: int) -> tuple[int, list[Disagreement]]:
    """How many there are, and the oldest of them in full."""
    rollouts = [row.rollout_id for row in at_odds(Queue.objects.filter(pk=queue.pk))]
    return len(rollouts), _in_full(queue, rollouts[:most])


def _in_full(queue: Queue, rollout_ids: Sequence[int]) -> list[Disagreement]:
    rows = (
        Label.objects.filter(assignment__queue=queue, assignment__rollout__in=rollout_ids, **FINAL)
        .exclude(assignment__cause=Cause.GOLD)
        .select_related(
            *("reviewer", "assignment__queue__rule", "assignment__wave__version"),
            "assignment__rollout__group__prompt",
        )
        # A pick is shown as the newest version says.
        .prefetch_related("assignment__queue__rule__versions")
        .order_by(*SLOT_ORDER)
    )
    labels: dict[int, list[Label]] = defaultdict(list)
    for label in rows:
        labels[label.assignment.rollout_id].append(label)
    pending = Assignment.objects.filter(queue=queue, rollout__in=rollout_ids, state__in=PENDING)
    awaited = set(pending.exclude(cause=Cause.GOLD).values_list("rollout_id", flat=True))
    return [
        Disagreement(item_of(labels[pk][0].assignment), labels[pk], pk in awaited)
        for pk in rollout_ids
        if labels[pk]
    ]
