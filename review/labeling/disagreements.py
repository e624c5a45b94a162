"""Disagreements in full: what the reviewers saw, and what each of them said."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from review.labeling.models import PENDING, Assignment, Cause, Label, Queue
from review.labeling.oversight import disagreements
from review.labeling.queries import FINAL, SLOT_ORDER, Item, item_of


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
    at_odds = disagreements(queue)
    oldest = sorted(at_odds, key=lambda pk: max(label.id for label in at_odds[pk]))[:most]
    return len(at_odds), _in_full(queue, oldest)


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
