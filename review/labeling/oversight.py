"""What a lead reads of a queue: how far its reviews are, what waits for whom, what disagrees."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from review.accounts.models import User
from review.accounts.queries import reviewers_of
from review.labeling.models import (
    ANSWERED,
    PENDING,
    SECOND_REVIEWS,
    Adjudication,
    Assignment,
    AssignmentState,
    Cause,
    GoldItem,
    Label,
    Queue,
    Skip,
)
from review.rollouts.models import Rollout
from review.sampling.models import AuditRule, Pick, Wave

# The pace is that of the newest labels; a few do not make one.
LABELS_FOR_PACE, NEWEST_FOR_PACE = 10, 100


@dataclass(frozen=True, slots=True)
class Reviews:
    """Reviews of one kind, by how far they are. An expired lease is open again."""

    done: int = 0
    leased: int = 0
    open: int = 0
    skipped: int = 0

    @property
    def waiting(self) -> int:
        return self.leased + self.open


KINDS: Mapping[str, str] = {
    Cause.DRAW: "first",
    **dict.fromkeys(SECOND_REVIEWS, "second"),
    Cause.TIE_BREAK: "third",
    # Not due to any label: one more look.
    Cause.REQUEUE: "second",
}


def reviews_by_wave(waves: Sequence[Wave]) -> dict[int, dict[str, Reviews]]:
    """Per wave its first, second and third reviews."""
    is_pending = Q(state__in=PENDING)
    is_held = Q(state=AssignmentState.LEASED, lease_expires_at__gt=timezone.now())
    rows = (
        Assignment.objects.filter(wave__in=waves, cause__in=KINDS)
        .values_list("wave_id", "cause")
        .annotate(
            done=Count("pk", filter=Q(state__in=ANSWERED)),
            leased=Count("pk", filter=is_held),
            open=Count("pk", filter=is_pending & ~is_held),
            skipped=Count("pk", filter=Q(state=AssignmentState.SKIPPED)),
        )
    )
    counts: dict[int, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for wave_id, cause, *numbers in rows:
        counts[wave_id][KINDS[cause]].update(
            dict(zip(("done", "leased", "open", "skipped"), numbers, strict=True))
        )
    return {
        wave.pk: {kind: Reviews(**counts[wave.pk][kind]) for kind in ("first", "second", "third")}
        for wave in waves
    }


def stuck_reviews(rule: AuditRule) -> dict[int, int]:
    """Per wave, the second and third reviews that none of its reviewers may do.

    Whoever may has not labelled the rollout in another slot, and has not passed on the item.
    """
    pending = list(
        Assignment.objects.filter(
            queue__rule=rule, state__in=PENDING, slot__gt=1, wave__isnull=False
        ).select_related("wave")
    )
    people = _reviewers_by_version(rule, {item.wave.version_id for item in pending if item.wave})
    labelled = _labelled_by(rule, {item.rollout_id for item in pending})
    passed: dict[UUID, set[int]] = defaultdict(set)
    for item_id, user_id in Skip.objects.filter(assignment__in=pending).values_list(
        "assignment_id", "reviewer_id"
    ):
        passed[item_id].add(user_id)
    stuck: Counter[int] = Counter()
    for item in pending:
        if item.wave is None:
            continue
        barred = labelled[item.rollout_id] | passed[item.pk]
        if item.reviewer_id is None and not people[item.wave.version_id] - barred:
            stuck[item.wave.pk] += 1
    return dict(stuck)


def _reviewers_by_version(rule: AuditRule, versions: Collection[int]) -> dict[int, set[int]]:
    members = reviewers_of(rule.run.project_id, rule.queue.domains)
    everybody = set(members.values_list("user_id", flat=True))
    named: dict[int, set[int]] = defaultdict(set)
    rows = rule.versions.filter(pk__in=versions, reviewers__isnull=False)
    for version_id, user_id in rows.values_list("pk", "reviewers"):
        named[version_id].add(user_id)
    return {pk: named[pk] & everybody if named[pk] else everybody for pk in versions}


def _labelled_by(rule: AuditRule, rollouts: Collection[int]) -> dict[int, set[int]]:
    labelled: dict[int, set[int]] = defaultdict(set)
    rows = Label.objects.filter(
        assignment__queue__rule=rule, assignment__rollout__in=rollouts, retraction=None
    )
    for rollout_id, user_id in rows.values_list("assignment__rollout_id", "reviewer_id"):
        labelled[rollout_id].add(user_id)
    return labelled


@dataclass(frozen=True, slots=True)
class Pace:
    """Labels an hour from the first of the newest so many to now: pauses count."""

    labels: int
    per_hour: float


def recent_pace(queue: Queue) -> Pace | None:
    """None: too few labels to speak of a pace."""
    rows = Label.objects.filter(assignment__queue=queue, retraction=None).order_by("-pk")
    times = list(rows.values_list("created_at", flat=True)[:NEWEST_FOR_PACE])
    if len(times) < LABELS_FOR_PACE:
        return None
    hours = (timezone.now() - times[-1]) / timedelta(hours=1)
    return Pace(len(times), len(times) / max(hours, 1e-6))


def waiting_reviews(queue: Queue) -> int:
    """Items of the queue that are still to be answered."""
    return Assignment.objects.filter(queue=queue, state__in=PENDING).count()


def labels_of(rollout: Rollout) -> QuerySet[Label]:
    """Every label of the rollout that was not taken back, in the order in which they came."""
    rows = Label.objects.filter(assignment__rollout=rollout, retraction=None)
    return rows.select_related("reviewer", "assignment__queue").order_by("pk")


def adjudications_of(rollout: Rollout) -> QuerySet[Adjudication]:
    return rollout.adjudications.select_related("decided_by", "queue").order_by("pk")


def gold_of(rollout: Rollout) -> GoldItem | None:
    return GoldItem.objects.filter(rollout=rollout).first()


def picks_with_states(rule: AuditRule, *, most: int) -> list[tuple[Pick, str]]:
    """The rule's newest picks, each with the state of its review."""
    picks = list(
        Pick.objects.filter(window__rule=rule)
        .select_related("rollout__group__prompt", "window")
        .defer("rollout__messages", "rollout__steps")
        .order_by("-pk")[:most]
    )
    rows = Assignment.objects.filter(
        queue__rule=rule, rollout__in=[pick.rollout_id for pick in picks], slot=1
    ).exclude(cause=Cause.GOLD)
    # Of one that was asked again the newest counts.
    states = dict(rows.order_by("rank").values_list("rollout_id", "state"))
    return [(pick, states.get(pick.rollout_id, AssignmentState.OPEN)) for pick in picks]


def given_up_reviews(queue: Queue, *, most: int) -> tuple[int, list[Assignment]]:
    """How many reviews count as unanswered though their text is there, and the first of them."""
    rows = Assignment.objects.filter(
        queue=queue, state=AssignmentState.SKIPPED, rollout__purged_at=None
    ).exclude(cause=Cause.GOLD)
    shown = (
        rows.select_related("rollout__group__prompt")
        .defer("rollout__messages", "rollout__steps")
        .prefetch_related("skips__reviewer")
    )
    return rows.count(), list(shown.order_by("rank")[:most])


def rollouts_waiting_for_third(queue: Queue) -> set[int]:
    """Rollouts of which a third review is still to come."""
    rows = Assignment.objects.filter(queue=queue, cause=Cause.TIE_BREAK, state__in=PENDING)
    return set(rows.values_list("rollout_id", flat=True))


def usernames(ids: Collection[int]) -> dict[int, str]:
    return dict(User.objects.filter(pk__in=ids).values_list("pk", "username"))
