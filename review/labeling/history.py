"""Everything that happened to a rollout's reviews, in the order in which it happened."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from review.core.models import AuditEvent, events_of
from review.labeling.models import (
    Adjudication,
    Assignment,
    GoldItem,
    Judgement,
    Label,
    Lease,
    Objection,
    Queue,
    Retraction,
    Reveal,
    Skip,
)
from review.rollouts.models import Rollout
from review.sampling.models import Pick, Wave


class Happened(StrEnum):
    DRAWN = "drawn"
    PICKED = "picked"
    SERVED = "served"
    LABELLED = "labelled"
    LATE = "late"
    TAKEN_BACK = "taken_back"
    SKIPPED = "skipped"
    REVEALED = "revealed"
    OBJECTED = "objected"
    REQUEUED = "requeued"
    ADJUDICATED = "adjudicated"
    WITHDRAWN = "withdrawn"
    KNOWN = "known"


@dataclass(frozen=True, slots=True)
class Event:
    """queue: where, None for what concerns all of them. note: in the words of whoever did it.

    reason: of a skip, a SkipReason. wave: that drew it, or was cancelled.
    """

    at: datetime
    what: Happened
    who: str
    queue: Queue | None
    note: str = ""
    said: Judgement | None = None
    reason: str = ""
    wave: Wave | None = None


def history_of(rollout: Rollout) -> list[Event]:
    # Of one moment the order is that of these parts: an answer comes after its item was served.
    parts = (_drawn, _picked, _served, _said, _skipped, _decided, _requeued, _withdrawn, _known)
    events = [event for part in parts for event in part(rollout)]
    return sorted(events, key=lambda event: event.at)


def _drawn(rollout: Rollout) -> Iterator[Event]:
    for draw in rollout.draws.select_related("wave__window__rule__queue"):
        queue = draw.wave.window.rule.queue
        yield Event(draw.wave.drawn_at, Happened.DRAWN, "", queue, wave=draw.wave)


def _picked(rollout: Rollout) -> Iterator[Event]:
    for pick in Pick.objects.filter(rollout=rollout).select_related("window__rule__queue"):
        queue = pick.window.rule.queue
        yield Event(pick.created_at, Happened.PICKED, pick.picked_by, queue, pick.note)


def _served(rollout: Rollout) -> Iterator[Event]:
    rows = Lease.objects.filter(assignment__rollout=rollout)
    for lease in rows.select_related("reviewer", "assignment__queue").order_by("pk"):
        who, queue = lease.reviewer.username, lease.assignment.queue
        yield Event(lease.taken_at, Happened.SERVED, who, queue)


def _said(rollout: Rollout) -> Iterator[Event]:
    rows = Label.objects.filter(assignment__rollout=rollout).order_by("pk")
    for label in rows.select_related(
        "reviewer", "assignment__queue", "retraction", "reveal", "objection"
    ):
        who, queue = label.reviewer.username, label.assignment.queue
        what = Happened.LATE if label.is_late else Happened.LABELLED
        yield Event(label.created_at, what, who, queue, said=label)
        yield from _after(label, who, queue)


def _after(label: Label, who: str, queue: Queue) -> Iterator[Event]:
    retraction: Retraction | None = getattr(label, "retraction", None)
    if retraction:
        yield Event(retraction.created_at, Happened.TAKEN_BACK, who, queue)
    reveal: Reveal | None = getattr(label, "reveal", None)
    if reveal:
        yield Event(reveal.created_at, Happened.REVEALED, who, queue)
    objection: Objection | None = getattr(label, "objection", None)
    if objection:
        yield Event(objection.created_at, Happened.OBJECTED, who, queue, objection.note)


def _skipped(rollout: Rollout) -> Iterator[Event]:
    rows = Skip.objects.filter(assignment__rollout=rollout).order_by("pk")
    for skip in rows.select_related("reviewer", "assignment__queue"):
        who, queue = skip.reviewer.username, skip.assignment.queue
        reason = skip.get_reason_display()
        yield Event(skip.created_at, Happened.SKIPPED, who, queue, skip.note, reason=reason)


def _decided(rollout: Rollout) -> Iterator[Event]:
    rows = Adjudication.objects.filter(rollout=rollout).order_by("pk")
    for row in rows.select_related("decided_by", "queue"):
        who = row.decided_by.username
        yield Event(row.created_at, Happened.ADJUDICATED, who, row.queue, row.reason, row)


def _requeued(rollout: Rollout) -> Iterator[Event]:
    queues = {str(queue.pk): queue for queue in queues_with(rollout)}
    for event in events_of(rollout).filter(action="requeued").order_by("at", "pk"):
        queue = queues.get(event.details["queue"])
        yield Event(event.at, Happened.REQUEUED, event.actor, queue, event.details["reason"])


def _withdrawn(rollout: Rollout) -> Iterator[Event]:
    """By the cancelling of a wave; other withdrawals follow from the events beside them."""
    waves = Wave.objects.filter(assignments__rollout=rollout, assignments__state="withdrawn")
    for wave in waves.distinct().select_related("window__rule__queue"):
        cancelled: AuditEvent | None = events_of(wave).filter(action="wave cancelled").first()
        if cancelled:
            queue = wave.window.rule.queue
            yield Event(cancelled.at, Happened.WITHDRAWN, cancelled.actor, queue, wave=wave)


def _known(rollout: Rollout) -> Iterator[Event]:
    for gold in GoldItem.objects.filter(rollout=rollout):
        yield Event(gold.created_at, Happened.KNOWN, gold.set_by, None)


def queues_with(rollout: Rollout) -> list[Queue]:
    """The queues in which the rollout is or was, known answers aside."""
    rows = Assignment.objects.filter(rollout=rollout).exclude(cause="gold")
    queues = Queue.objects.filter(pk__in=rows.values("queue")).select_related("rule")
    return list(queues.order_by("created_at"))
