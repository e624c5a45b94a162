"""What waits for an adjudicator, and what they are shown of it. As blind as a reviewer's page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from review.accounts.models import Membership, Project, Role, User
from review.accounts.queries import roles_in
from review.core.errors import MissingError
from review.labeling.disagreements import AtOdds, at_odds
from review.labeling.models import PENDING, Adjudication, Assignment, Cause, Label, Objection, Queue
from review.labeling.queries import FINAL, SLOT_ORDER, are_at_odds
from review.rollouts.models import Rollout

ADJUDICATING_ROLES = {Role.ADJUDICATOR, Role.LEAD}


def may_adjudicate(user: User, project: Project) -> bool:
    return bool(roles_in(user, project) & ADJUDICATING_ROLES)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A rollout about which an adjudicator has to decide."""

    queue_id: UUID
    rollout_id: int
    since: datetime
    is_objected: bool


def waiting_for(user: User, project: Project) -> list[Waiting]:
    """What waits in the project's queues and is not about a label of the user, oldest first."""
    found = {(row.queue_id, row.rollout_id): row for row in _at_odds(user, project)}
    for row in _objected(user, project):
        found.setdefault((row.queue_id, row.rollout_id), row)
    return sorted(found.values(), key=lambda row: (row.since, row.rollout_id))


def _at_odds(user: User, project: Project) -> list[Waiting]:
    """Labels at odds that no review to come can settle."""
    pending = Assignment.objects.filter(
        queue=OuterRef("assignment__queue"),
        rollout=OuterRef("assignment__rollout"),
        state__in=PENDING,
    ).exclude(cause=Cause.GOLD)
    labels = _readable(user, Label.objects.exclude(Exists(pending)))
    return [
        Waiting(row.queue_id, row.rollout_id, row.since, is_objected=False)
        for row in at_odds(Queue.objects.filter(project=project), labels)
    ]


def _readable(user: User, labels: QuerySet[Label]) -> QuerySet[Label]:
    own = Label.objects.filter(
        assignment__rollout=OuterRef("assignment__rollout"), reviewer=user, retraction=None
    )
    return labels.filter(assignment__rollout__purged_at=None).exclude(Exists(own))


def _objected(user: User, project: Project) -> list[Waiting]:
    """Labels whose reviewers have changed their minds, if nobody has decided since.

    A reviewer is not shown those of which a review is still to come: they might have to give it.
    """
    labels = _readable(user, Label.objects.filter(assignment__queue__project=project, **FINAL))
    decided = Adjudication.objects.filter(
        queue=OuterRef("label__assignment__queue"),
        rollout=OuterRef("label__assignment__rollout"),
        created_at__gt=OuterRef("created_at"),
    )
    reviews_here = Membership.objects.filter(user=user, project=project, role=Role.REVIEWER)
    pending = Assignment.objects.filter(
        Exists(reviews_here),
        queue=OuterRef("label__assignment__queue"),
        rollout=OuterRef("label__assignment__rollout"),
        state__in=PENDING,
    ).exclude(cause=Cause.GOLD)
    rows = (
        Objection.objects.filter(label__in=labels.exclude(assignment__cause=Cause.GOLD))
        .exclude(Exists(decided) | Exists(pending))
        .order_by("pk")
        .values_list("label__assignment__queue", "label__assignment__rollout", "created_at")
    )
    return [Waiting(queue, rollout, since, is_objected=True) for queue, rollout, since in rows]


def items_of(waiting: Sequence[Waiting | AtOdds]) -> list[Assignment]:
    """The review by which each of them is opened, in their order: its id says nothing."""
    queues, rollouts = {row.queue_id for row in waiting}, {row.rollout_id for row in waiting}
    rows = _reviews().filter(queue__in=queues, rollout__in=rollouts).order_by("-slot", "pk")
    first = {(row.queue_id, row.rollout_id): row for row in rows}
    return [first[row.queue_id, row.rollout_id] for row in waiting]


def first_review(queue: Queue, rollout: Rollout) -> Assignment | None:
    return first_reviews(queue, [rollout.pk]).get(rollout.pk)


def first_reviews(queue: Queue, rollouts: Sequence[int]) -> dict[int, Assignment]:
    rows = _reviews().filter(queue=queue, rollout__in=rollouts).order_by("-slot", "pk")
    return {row.rollout_id: row for row in rows}


def _reviews() -> QuerySet[Assignment]:
    """Answered reviews, with what a page shows of them."""
    answered = Label.objects.filter(assignment=OuterRef("pk"), **FINAL)
    return (
        Assignment.objects.filter(Exists(answered))
        .exclude(cause=Cause.GOLD)
        .select_related("queue__project", "wave__version", "rollout__group__prompt")
    )


def item_to_adjudicate(user: User, assignment_id: UUID) -> Assignment:
    found = _reviews().filter(pk=assignment_id).first()
    if found is None or not may_adjudicate(user, found.queue.project):
        raise MissingError("There is no such item among those that you may decide about.")
    return found


@dataclass(frozen=True, slots=True)
class Case:
    """What an adjudicator decides on. basis names all of it: a decision says what it saw."""

    labels: list[Label]
    objected: set[int]
    decision: Adjudication | None
    basis: str

    @property
    def differs(self) -> bool:
        return len({(label.answer, label.is_hack) for label in self.labels}) > 1

    @property
    def is_decided(self) -> bool:
        """Decided, and nobody has changed their mind since."""
        return self.decision is not None and not self.objected

    @property
    def needs_decision(self) -> bool:
        """What most of three labels say is settled by them."""
        return not self.is_decided and (are_at_odds(self.labels) or bool(self.objected))


def case_of(queue: Queue, rollout: Rollout) -> Case:
    labels = list(_counting(queue, rollout).select_related("reviewer", "objection"))
    decision = newest_decision(queue, rollout)
    objected = [label for label in labels if _is_open_objection(label, decision)]
    return Case(
        labels=labels,
        objected={label.pk for label in objected},
        decision=decision,
        basis=_basis(rollout, labels, decision),
    )


def awaits_review(queue: Queue, rollout: Rollout) -> bool:
    """Whether a review is still to come that may settle it."""
    pending = Assignment.objects.filter(queue=queue, rollout=rollout, state__in=PENDING)
    return pending.exclude(cause=Cause.GOLD).exists()


def newest_decision(queue: Queue, rollout: Rollout) -> Adjudication | None:
    decisions = Adjudication.objects.filter(queue=queue, rollout=rollout)
    return decisions.select_related("decided_by").order_by("-pk").first()


def authors_of(rollout: Rollout) -> set[int]:
    """Everybody who has said something of the rollout, in whichever queue, and stands by it."""
    rows = Label.objects.filter(assignment__rollout=rollout, retraction=None)
    return set(rows.values_list("reviewer_id", flat=True))


def _counting(queue: Queue, rollout: Rollout) -> QuerySet[Label]:
    rows = Label.objects.filter(assignment__queue=queue, assignment__rollout=rollout, **FINAL)
    return rows.exclude(assignment__cause=Cause.GOLD).order_by(*SLOT_ORDER)


def _is_open_objection(label: Label, decision: Adjudication | None) -> bool:
    objection = getattr(label, "objection", None)
    if objection is None:
        return False
    return decision is None or decision.created_at < objection.created_at


def _basis(rollout: Rollout, labels: Sequence[Label], decision: Adjudication | None) -> str:
    """With the steps too: once they are cut anew, a number that was read means another one."""
    objections = [label.objection.pk for label in labels if hasattr(label, "objection")]
    steps = sha256(str(rollout.steps).encode()).hexdigest()[:12]
    parts = ([label.pk for label in labels], [decision.pk] if decision else [], objections, [steps])
    return "-".join(".".join(map(str, part)) for part in parts)
