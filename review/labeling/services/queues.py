"""Setting a queue up, and filling it: with a wave's draws, with picks, with known answers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from review.accounts.models import Project
from review.core.models import record_event
from review.labeling.errors import InvalidQueueError, QueueInUseError
from review.labeling.models import (
    PENDING,
    Assignment,
    AssignmentState,
    Cause,
    GoldItem,
    Question,
    Queue,
)
from review.labeling.queries import is_labelled, next_rank
from review.labeling.services.leases import released
from review.rollouts.models import Rollout
from review.sampling.models import AuditRule, Draw, Pick, Wave
from review.sampling.queries import draws_of, is_chosen


@transaction.atomic
def create_queue(*, project: Project, rule: AuditRule, name: str, actor: object) -> Queue:
    queue = Queue.objects.create(project=project, rule=rule, name=name)
    record_event(actor=actor, action="queue created", subject=queue)
    return queue


MOST_CRITERIA, MOST_CRITERION = 20, 300
MOST_DOMAINS, MOST_DOMAIN = 50, 60
MOST_INSTRUCTIONS = 20_000
MOST_PRACTICE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """What a lead decides of a queue; see Queue."""

    questions: tuple[str, ...]
    rubric: tuple[str, ...]
    instructions: str
    reveals: bool
    domains: tuple[str, ...]
    practice_size: int
    pass_mark: float
    gold_mark: float | None


# What labels say: other questions would make them say something else under the same name.
FIXED_BY_LABELS = ("questions", "rubric")


def settings_of(queue: Queue) -> QueueSettings:
    return QueueSettings(
        questions=tuple(name for name in Question.values if name in queue.questions),
        rubric=tuple(queue.rubric),
        instructions=queue.instructions,
        reveals=queue.reveals,
        domains=tuple(queue.domains),
        practice_size=queue.practice_size,
        pass_mark=queue.pass_mark,
        gold_mark=queue.gold_mark,
    )


@transaction.atomic
def change_queue(*, queue: Queue, settings: QueueSettings, actor: object) -> Queue:
    """Store the settings; what changed is recorded. Holds the queue's row.

    What the queue asks is fixed from its first label on, and while somebody holds an item of it:
    they answer what their page asked.
    """
    _refuse_unusable(settings)
    is_free = set(FIXED_BY_LABELS).isdisjoint(_changes(settings_of(queue), settings))
    # Before the queue's row, as whoever labels does it: two never wait for each other.
    is_held = not is_free and _is_held(queue)
    queue = Queue.objects.select_for_update(no_key=True).get(pk=queue.pk)
    changes = _changes(settings_of(queue), settings)
    asked = [name for name in FIXED_BY_LABELS if name in changes]
    if asked and (is_held or is_labelled(queue)):
        raise QueueInUseError(fields=dict.fromkeys(asked, "is fixed from the first answer on"))
    if changes:
        for name in changes:
            setattr(queue, name, getattr(settings, name))
        queue.save(update_fields=list(changes))
        record_event(actor=actor, action="queue changed", subject=queue, **changes)
    return queue


def _changes(before: QueueSettings, now: QueueSettings) -> dict[str, list[object]]:
    """Of each setting that differs: what it was, and what it is."""
    old, new = asdict(before), asdict(now)
    return {name: [old[name], new[name]] for name in new if old[name] != new[name]}


def _is_held(queue: Queue) -> bool:
    """Whether somebody holds an item. A lease that has run out is taken back: it comes in late."""
    leased = Assignment.objects.filter(queue=queue, state=AssignmentState.LEASED)
    held = _lock_in_order(leased)
    held.filter(state=AssignmentState.LEASED, lease_expires_at__lte=timezone.now()).update(
        **released()
    )
    return held.filter(state=AssignmentState.LEASED).exists()


def _refuse_unusable(settings: QueueSettings) -> None:
    """Each reason by its field."""
    reasons = {
        "questions": _unknown(settings.questions),
        "rubric": _unusable_texts(settings.rubric, MOST_CRITERIA, MOST_CRITERION),
        "domains": _unusable_texts(settings.domains, MOST_DOMAINS, MOST_DOMAIN),
        "instructions": f"at most {MOST_INSTRUCTIONS:,} characters"
        if len(settings.instructions) > MOST_INSTRUCTIONS
        else "",
        "practice_size": "" if 0 <= settings.practice_size <= MOST_PRACTICE else "0 to 100",
        "pass_mark": "" if 0 < settings.pass_mark <= 1 else "over 0, at most 1",
        "gold_mark": ""
        if settings.gold_mark is None or 0 < settings.gold_mark < 1
        else "between 0 and 1",
    }
    if wrong := {name: reason for name, reason in reasons.items() if reason}:
        raise InvalidQueueError(fields=wrong)


def _unknown(questions: Sequence[str]) -> str:
    if not set(questions) <= set(Question.values):
        return f"some of {', '.join(Question.values)}"
    if Question.CATEGORY in questions and Question.STEP not in questions:
        return "the kind of an error belongs to the step: ask for the step too"
    return ""


def _unusable_texts(texts: Sequence[str], most: int, most_letters: int) -> str:
    if len(texts) > most:
        return f"at most {most}"
    if any(len(text) > most_letters for text in texts):
        return f"at most {most_letters} characters each"
    if not all(text.strip() for text in texts) or len(set(texts)) < len(texts):
        return "each one once, and none empty"
    return ""


@transaction.atomic
def enqueue_wave(*, wave: Wave) -> int:
    """A review of each draw, ranked behind the queue's earlier ones. Safe to run twice.

    Known answers are mixed in at the version's share; behind them come the second reviews that
    chance calls for. A draw whose text is gone counts as unanswered.
    """
    queue = Queue.objects.select_for_update(of=("self",), no_key=True).get(
        rule__windows__waves=wave
    )
    if Assignment.objects.filter(wave=wave).exists():
        return 0
    draws = draws_of(wave)
    items = [_review(queue, draw, 1, Cause.DRAW) for draw in draws]
    items = _mixed(items, _gold_reviews(queue, wave, len(draws)), seed=wave.seed)
    items += [
        _review(queue, draw, 2, Cause.RANDOM)
        for draw in draws
        if is_chosen(draw, "second review", wave.version.second_review_share)
    ]
    _give_up_purged(items)
    return len(_store(queue, items))


@transaction.atomic
def enqueue_picks(*, queue: Queue, picks: Sequence[Pick]) -> int:
    """A review of each purposive pick, ranked behind what is in the queue."""
    queue = Queue.objects.select_for_update(no_key=True).get(pk=queue.pk)
    known = Assignment.objects.filter(queue=queue, rollout__in=[pick.rollout_id for pick in picks])
    stored = set(
        known.exclude(cause=Cause.GOLD)
        .exclude(state=AssignmentState.WITHDRAWN)
        .values_list("rollout_id", flat=True)
    )
    items = [
        Assignment(queue=queue, rollout_id=pick.rollout_id, slot=1, cause=Cause.PICK)
        for pick in picks
        if pick.rollout_id not in stored
    ]
    return len(_store(queue, items))


def _store(queue: Queue, items: Sequence[Assignment]) -> list[Assignment]:
    """Rank the items behind the queue's earlier ones; the caller holds the queue's row."""
    start = next_rank(queue.pk)
    for position, item in enumerate(items):
        item.rank = start + position
    return Assignment.objects.bulk_create(items)


def _review(queue: Queue, draw: Draw, slot: int, cause: Cause) -> Assignment:
    return Assignment(
        queue=queue,
        rollout_id=draw.rollout_id,
        wave_id=draw.wave_id,
        draw=draw,
        slot=slot,
        cause=cause,
    )


def _gold_reviews(queue: Queue, wave: Wave, draws: int) -> list[Assignment]:
    wanted = round(wave.version.gold_share * draws)
    if not wanted:
        return []
    # One for practice is known to whoever has practised on it.
    known = GoldItem.objects.filter(
        rollout__run=queue.rule.run_id, rollout__purged_at=None, is_practice=False
    )
    fresh = known.exclude(rollout__assignments__queue=queue, rollout__assignments__cause=Cause.GOLD)
    fresh = fresh.exclude(rollout__in=wave.draws.values("rollout"))
    return [
        Assignment(queue=queue, rollout_id=gold.rollout_id, wave=wave, slot=1, cause=Cause.GOLD)
        for gold in fresh.order_by("pk")[:wanted]
    ]


def _mixed(items: list[Assignment], gold: Sequence[Assignment], *, seed: int) -> list[Assignment]:
    """The gold at random places; the draws keep their order."""
    rng = np.random.default_rng((seed, 2))
    mixed = list(items)
    for item in gold:
        mixed.insert(int(rng.integers(len(mixed) + 1)), item)
    return mixed


def _give_up_purged(items: Sequence[Assignment]) -> None:
    ids = [item.rollout_id for item in items]
    purged = set(
        Rollout.objects.filter(pk__in=ids, purged_at__isnull=False).values_list("pk", flat=True)
    )
    for item in items:
        if item.rollout_id in purged:
            item.state = AssignmentState.SKIPPED


def _lock_in_order(items: QuerySet[Assignment]) -> QuerySet[Assignment]:
    """As whoever locks a rollout's reviews does it: two never wait for each other."""
    ids = list(items.select_for_update().order_by("pk").values_list("pk", flat=True))
    return Assignment.objects.filter(pk__in=ids)


@transaction.atomic
def withdraw_wave(*, wave: Wave) -> None:
    """Nothing of a cancelled wave is wanted any more; what somebody holds will come in late.

    What was given up is withdrawn too: it can be drawn again.
    """
    unanswered = Assignment.objects.filter(wave=wave, state__in=(*PENDING, AssignmentState.SKIPPED))
    _lock_in_order(unanswered).update(state=AssignmentState.WITHDRAWN)


@transaction.atomic
def give_up_rollouts(*, rollouts: Sequence[int]) -> list[int]:
    """Their texts are gone: what was still to be answered of them counts as unanswered.

    The ids of the waves that this touches.
    """
    pending = _lock_in_order(Assignment.objects.filter(rollout__in=rollouts, state__in=PENDING))
    waves = set(pending.filter(wave__isnull=False).values_list("wave_id", flat=True))
    pending.update(state=AssignmentState.SKIPPED)
    return sorted(waves)
