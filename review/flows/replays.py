"""Re-verification: another verifier judges what a run has stored, in the background.

A replay goes on by chunks of rollouts in the order of their ids. A chunk is judged outside of any
transaction; then one transaction stores its verdicts and notes how far the replay is, so that
whoever goes on after a killed worker loses no verdict and stores none twice.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Avg, Max, Min

from review.core.errors import ReviewError, in_words
from review.core.texts import is_deeper_than, storable, storable_json
from review.flows import tasks
from review.rollouts.models import Rollout
from review.rollouts.queries import last_words, steps_of
from review.runs.models import Run
from review.verifiers import replays
from review.verifiers.built_in import addresses_in, rebuilt, register_built_in
from review.verifiers.criteria import criteria_alone
from review.verifiers.errors import ReplayStateError
from review.verifiers.models import (
    MOST_RECORD_BYTES,
    MOST_RECORD_LEVELS,
    Channel,
    Replay,
    ReplayState,
    Verdict,
    VerifierVersion,
)
from review.verifiers.replays import Cost
from trainer.verifiers import Item, Verifier
from trainer.verifiers import Verdict as Said

log = logging.getLogger(__name__)

# A task ends after this and starts the next: none is longer than the broker waits for it.
TASK_SECONDS = 120
# A chunk is to take so long, whatever the verifier; it starts small and stays below the largest.
CHUNK_SECONDS = 10
FIRST_CHUNK, LARGEST_CHUNK = 16, 500
# A rollout at which so many workers have died stops the replay.
MOST_ATTEMPTS = 3
# So many rollouts are judged to time a verifier, if they take no longer than this.
SAMPLED, SAMPLE_SECONDS = 32, 20
# So many of a judge's newest verdicts say how long one takes.
REMEMBERED = 1_000
# A token of English is some four characters.
CHARACTERS_A_TOKEN = 4


def add_verifier(*, run: Run, name: str, params: Mapping[str, Any], actor: object) -> Replay:
    """Register a built-in verifier with these parameters, and measure what a replay would cost."""
    version = register_built_in(project=run.project, name=name, params=params, actor=actor)
    return prepare_replay(run=run, verifier=version, actor=actor)


@transaction.atomic
def prepare_replay(*, run: Run, verifier: VerifierVersion, actor: object) -> Replay:
    """Measure what it costs to judge what the verifier has not judged yet; the same call again
    answers the replay that is under way."""
    replay = replays.open_replay(run=run, verifier=verifier, actor=actor)
    _go_on_after_commit(replay)
    return replay


@transaction.atomic
def start_replay(*, replay: Replay, actor: object) -> Replay:
    replay = replays.begin_replay(replay=replay, actor=actor)
    _go_on_after_commit(replay)
    return replay


def _go_on_after_commit(replay: Replay) -> None:
    # Robust: with the broker away the sweep finds it.
    transaction.on_commit(lambda: tasks.replay_soon(replay), robust=True)


@transaction.atomic
def cancel_replay(*, replay: Replay, actor: object) -> Replay:
    """Stop: the verdicts that are stored stay."""
    return _end(replay, ReplayState.CANCELLED, actor=actor)


def go_on(*, replay: Replay, seconds: float = TASK_SECONDS) -> bool:
    """Measure, or judge chunk after chunk for so long. Whether that is over, or somebody else's."""
    with replays.held_alone(replay) as is_mine:
        if not is_mine:
            return True
        replays.count_attempt(replay)
        try:
            return _go_on(replay, seconds)
        except ReplayStateError:
            # Cancelled meanwhile.
            return True
        except ReviewError as error:
            _fail(replay, in_words(error))
        except (OperationalError, InterfaceError):
            # The database is away: the sweep goes on with it.
            raise
        except Exception as error:
            # Tried again it would fail again, for ever. What it says may quote a completion.
            kind = type(error).__name__
            log.error("a replay broke", extra={"replay_id": str(replay.pk), "error": kind})
            _fail(replay, f"The verifier broke ({kind}). The verdicts that are stored stay.")
    return True


def _go_on(replay: Replay, seconds: float) -> bool:
    if replay.state not in (ReplayState.MEASURING, ReplayState.RUNNING):
        return True
    if replay.attempts > MOST_ATTEMPTS:
        _fail(replay, _at_rollout(replay))
        return True
    verifier = rebuilt(replay.verifier)
    if replay.state == ReplayState.MEASURING:
        replays.note_cost(replay=replay, cost=measure(replay, verifier))
        return True
    return _judge(replay, verifier, seconds)


def _at_rollout(replay: Replay) -> str:
    following = replays.next_rollouts(replay, 1) if replay.state == ReplayState.RUNNING else []
    at = f" at the rollout {following[0].uid}" if following else ""
    return f"Its worker died {MOST_ATTEMPTS} times{at}. The verdicts that are stored stay."


def _fail(replay: Replay, problem: str) -> None:
    # Unless it was cancelled meanwhile.
    with suppress(ReplayStateError):
        _end(replay, ReplayState.FAILED, problem=problem, actor=replay.created_by)


@transaction.atomic
def _end(replay: Replay, state: ReplayState, *, problem: str = "", actor: object) -> Replay:
    replay = replays.end_replay(replay=replay, state=state, problem=problem, actor=actor)
    transaction.on_commit(lambda: tasks.refresh_soon(str(replay.run_id)), robust=True)
    return replay


def _judge(replay: Replay, verifier: Verifier, seconds: float) -> bool:
    """Chunk after chunk for so long. Whether it is over, or somebody else's."""
    until = time.monotonic() + seconds
    # What killed a worker is to take no other rollout with it.
    size = FIRST_CHUNK if replay.attempts == 1 else 1
    while rollouts := replays.next_rollouts(replay, size):
        started = time.monotonic()
        verdicts = judged_by(verifier, replay.verifier, rollouts)
        held = replays.store_chunk(replay=replay, verdicts=verdicts)
        if held is None:
            return True
        replay = held
        if time.monotonic() > until:
            return False
        size = _next_size(len(rollouts), time.monotonic() - started)
    _end(replay, ReplayState.DONE, actor=replay.created_by)
    return True


def _next_size(size: int, took: float) -> int:
    """As many as take CHUNK_SECONDS, at most twice as many as before."""
    fitting = int(size * CHUNK_SECONDS / max(took, 1e-3))
    return max(1, min(fitting, 2 * size, LARGEST_CHUNK))


def judged_by(
    verifier: Verifier, version: VerifierVersion, rollouts: Sequence[Rollout]
) -> list[Verdict]:
    """What the verifier says of the rollouts, in their order, not stored yet."""
    items = [item_of(rollout, version.channel) for rollout in rollouts]
    return [
        _verdict(rollout, version, said)
        for rollout, said in zip(rollouts, verifier.verify(items), strict=True)
    ]


def item_of(rollout: Rollout, channel: str) -> Item:
    """A rollout as its trainer's verifiers saw it; to a verifier of steps with its steps."""
    prompt = rollout.group.prompt
    steps = [step.text for step in steps_of(rollout)] if channel == Channel.PROCESS else []
    return Item(
        problem=prompt.text,
        response=last_words(rollout),
        references=tuple(prompt.references),
        steps=tuple(steps),
    )


def _verdict(rollout: Rollout, version: VerifierVersion, said: Said) -> Verdict:
    return Verdict(
        rollout=rollout,
        verifier=version,
        outcome=said.outcome.value,
        score=said.score,
        extracted=None if said.extracted is None else storable(said.extracted),
        path=said.path,
        form=said.form,
        candidates=said.candidates,
        seconds=said.seconds,
        detail=storable(said.detail),
        record=_record(said.record),
    )


def _record(record: Mapping[str, Any] | None) -> Any:
    if record is None:
        return None
    if is_deeper_than(MOST_RECORD_LEVELS, record):
        return {"left_out": f"more than {MOST_RECORD_LEVELS} levels deep"} | (
            criteria_alone(record) or {}
        )
    kept = storable_json(dict(record))
    size = len(msgspec.json.encode(kept))
    if size <= MOST_RECORD_BYTES:
        return kept
    return {"left_out": f"{size} bytes"} | (criteria_alone(kept) or {})


# What it costs


def measure(replay: Replay, verifier: Verifier) -> Cost:
    """A few rollouts are judged to time it. A judge is not asked for that: each call costs."""
    rows = replays.unjudged(replay.run, replay.verifier)
    rollouts = rows.count()
    sample = _sample(replay)
    if not sample:
        return Cost(rollouts, seconds=0.0)
    if any(addresses_in(replay.verifier.params or {})):
        tokens = sum(map(_tokens, sample)) / len(sample)
        seconds = _seconds_so_far(replay.verifier)
        return Cost(
            rollouts,
            seconds=None if seconds is None else seconds * rollouts,
            calls=rollouts,
            tokens=round(tokens * rollouts),
        )
    return Cost(rollouts, seconds=_seconds_each(verifier, replay, sample) * rollouts)


def _sample(replay: Replay) -> list[Rollout]:
    """Evenly spread over those that it would judge."""
    rows = replays.unjudged(replay.run, replay.verifier).select_related("group__prompt")
    ends = rows.aggregate(first=Min("pk"), last=Max("pk"))
    if ends["first"] is None:
        return []
    span = ends["last"] - ends["first"]
    places = {ends["first"] + span * k // SAMPLED for k in range(SAMPLED)}
    found = [rows.filter(pk__gte=place).order_by("pk").first() for place in sorted(places)]
    return list({rollout.pk: rollout for rollout in found if rollout is not None}.values())


def _tokens(rollout: Rollout) -> float:
    item = item_of(rollout, Channel.CORRECTNESS)
    written = sum(map(len, (item.problem, item.response, *item.references)))
    return written / CHARACTERS_A_TOKEN


def _seconds_so_far(version: VerifierVersion) -> float | None:
    """For one judgement, by the newest of those that it has made; None: it has made none."""
    newest = Verdict.objects.filter(verifier=version).order_by("-pk")[:REMEMBERED]
    each: float | None = newest.aggregate(each=Avg("seconds"))["each"]
    return each


def _seconds_each(verifier: Verifier, replay: Replay, sample: Sequence[Rollout]) -> float:
    """By the clock, so that what judges several at once is not counted several times."""
    # Whatever is loaded or started is, by the first.
    judged_by(verifier, replay.verifier, sample[:1])
    started = time.monotonic()
    judged = 0
    for first in range(0, len(sample), SAMPLED // 4):
        part = sample[first : first + SAMPLED // 4]
        judged_by(verifier, replay.verifier, part)
        judged += len(part)
        if time.monotonic() - started > SAMPLE_SECONDS:
            break
    return (time.monotonic() - started) / judged
