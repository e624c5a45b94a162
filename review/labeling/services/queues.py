"""Filling a queue: with a wave's draws, with picks, with known answers."""

import hmac
from collections.abc import Sequence

import numpy as np
from django.db import transaction
from django.db.models import QuerySet

from review.accounts.models import Project
from review.core.models import record_event
from review.labeling.models import (
    PENDING,
    Assignment,
    AssignmentState,
    Cause,
    GoldItem,
    Queue,
)
from review.rollouts.models import Rollout
from review.sampling.models import AuditRule, Draw, Pick, Wave, Window
from review.sampling.queries import draws_of


@transaction.atomic
def create_queue(*, project: Project, rule: AuditRule, name: str, actor: object) -> Queue:
    queue = Queue.objects.create(project=project, rule=rule, name=name)
    record_event(actor=actor, action="queue created", subject=queue)
    return queue


@transaction.atomic
def enqueue_wave(*, wave: Wave) -> int:
    """A review of each draw, ranked behind the queue's earlier ones. Safe to run twice.

    Known answers are mixed in at the version's share; behind them come the second reviews that
    chance calls for. A draw whose text is gone counts as unanswered.
    """
    queue = Queue.objects.select_for_update(of=("self",)).get(rule__windows__waves=wave)
    if Assignment.objects.filter(wave=wave).exists():
        return 0
    draws = draws_of(wave)
    items = [_review(queue, draw, 1, Cause.DRAW) for draw in draws]
    items = _mixed(items, _gold_reviews(queue, wave, len(draws)), seed=wave.seed)
    items += [
        _review(queue, draw, 2, Cause.RANDOM)
        for draw in draws
        if _is_chosen(wave.window, draw, wave.version.second_review_share)
    ]
    _give_up_purged(items)
    return len(_store(queue, items))


@transaction.atomic
def enqueue_picks(*, queue: Queue, picks: Sequence[Pick]) -> int:
    """A review of each purposive pick, ranked behind what is in the queue."""
    queue = Queue.objects.select_for_update().get(pk=queue.pk)
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
    start = Assignment.objects.filter(queue=queue).count()
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


def _is_chosen(window: Window, draw: Draw, share: float) -> bool:
    """Chance under the window's secret, independent of what decided the draw."""
    digest = hmac.digest(bytes(window.secret), f"second review {draw.prn}".encode(), "sha256")
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _gold_reviews(queue: Queue, wave: Wave, draws: int) -> list[Assignment]:
    wanted = round(wave.version.gold_share * draws)
    if not wanted:
        return []
    known = GoldItem.objects.filter(rollout__run=queue.rule.run_id)
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
