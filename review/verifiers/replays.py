"""Replays: how far each is, and what it costs. The judging itself is a flow."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Exists, F, Max, OuterRef, QuerySet
from django.utils import timezone

from review.accounts.models import Project
from review.core.errors import MissingError
from review.core.models import record_event
from review.core.texts import storable
from review.rollouts.models import Rollout
from review.runs.models import Run
from review.runs.services import lock_run
from review.verifiers.errors import ReplayStateError
from review.verifiers.models import (
    UNFINISHED,
    Outcome,
    ProbeRun,
    Replay,
    ReplayState,
    Verdict,
    VerifierVersion,
)
from review.verifiers.queries import lost_to
from review.verifiers.services import add_verdicts

# One that stands still for so long may have lost its worker.
STALLED = timedelta(seconds=45)
MOST_PROBLEM = 500


@dataclass(frozen=True, slots=True)
class Cost:
    """seconds: by one worker. calls and tokens: of a judge, at least so many. None: not known."""

    rollouts: int
    seconds: float | None = None
    calls: int | None = None
    tokens: int | None = None


def replays_of(run: Run) -> QuerySet[Replay]:
    return run.replays.select_related("verifier").order_by("-created_at")


def replay_in_project(project: Project, replay_id: UUID) -> Replay:
    """The replay, if it is of the project; another project's does not exist here."""
    found = Replay.objects.filter(pk=replay_id, run__project=project)
    replay = found.select_related("run__project", "verifier").first()
    if replay is None:
        raise MissingError("There is no such replay in this project.")
    return replay


def unjudged(run: Run, verifier: VerifierVersion) -> QuerySet[Rollout]:
    """The run's rollouts that the verifier has not judged, without those whose text is gone."""
    verdict = Verdict.objects.filter(rollout=OuterRef("pk"), verifier=verifier)
    return run.rollouts.filter(~Exists(verdict), purged_at=None)


def come_since(replay: Replay) -> int:
    """Rollouts of the run that came after it was started."""
    if replay.until is None:
        return 0
    return replay.run.rollouts.filter(pk__gt=replay.until).count()


@transaction.atomic
def open_replay(*, run: Run, verifier: VerifierVersion, actor: object) -> Replay:
    """A replay whose cost is to be measured; the one that is under way already, where there is.

    Holds the run's lock.
    """
    run = lock_run(run)
    under_way = run.replays.filter(verifier=verifier, state__in=UNFINISHED).first()
    if under_way is not None:
        return under_way
    replay = Replay.objects.create(run=run, verifier=verifier, created_by=str(actor))
    record_event(actor=actor, action="replay opened", subject=replay, verifier=str(verifier))
    return replay


@transaction.atomic
def note_cost(*, replay: Replay, cost: Cost) -> None:
    """The cost is known: a lead may start it."""
    replay = lock_replay(replay, ReplayState.MEASURING)
    replay.rollouts, replay.seconds = cost.rollouts, cost.seconds
    replay.calls, replay.tokens = cost.calls, cost.tokens
    replay.state, replay.attempts = ReplayState.WAITING, 0
    replay.save(update_fields=["rollouts", "seconds", "calls", "tokens", "state", "attempts"])


@transaction.atomic
def begin_replay(*, replay: Replay, actor: object) -> Replay:
    """From now on it judges every rollout that the run has now. Holds the run's lock."""
    run = lock_run(replay.run)
    replay = lock_replay(replay, ReplayState.WAITING)
    replay.until = run.rollouts.aggregate(newest=Max("pk"))["newest"] or 0
    replay.rollouts = unjudged(run, replay.verifier).count()
    replay.purged = lost_to(replay.verifier, run.rollouts.all()).count()
    replay.state, replay.advanced_at = ReplayState.RUNNING, timezone.now()
    replay.save(update_fields=["until", "rollouts", "purged", "state", "advanced_at"])
    record_event(actor=actor, action="replay started", subject=replay, rollouts=replay.rollouts)
    return replay


def lock_replay(replay: Replay, *states: ReplayState) -> Replay:
    """The replay's row, locked, if it is in one of these states."""
    rows = Replay.objects.select_for_update(of=("self",)).select_related("run", "verifier")
    replay = rows.get(pk=replay.pk)
    if replay.state not in states:
        raise ReplayStateError(f"The replay is {replay.state}.")
    return replay


def next_rollouts(replay: Replay, most: int) -> list[Rollout]:
    """Those that come next, with their prompts; of a replay that is over none."""
    rows = unjudged(replay.run, replay.verifier).filter(pk__gt=replay.after, pk__lte=replay.until)
    return list(rows.select_related("group__prompt").order_by("pk")[:most])


@transaction.atomic
def store_chunk(*, replay: Replay, verdicts: Sequence[Verdict]) -> Replay | None:
    """Store what was said of the next rollouts: None if somebody else has gone on meanwhile.

    Holds the run's lock: of what was purged while it was judged, nothing is stored.
    """
    run = lock_run(replay.run)
    held = lock_replay(replay, ReplayState.RUNNING)
    if held.after != replay.after:
        return None
    ids = [verdict.rollout_id for verdict in verdicts]
    kept = set(run.rollouts.filter(pk__in=ids, purged_at=None).values_list("pk", flat=True))
    stored = [verdict for verdict in verdicts if verdict.rollout_id in kept]
    add_verdicts(verdicts=stored)
    held.after, held.attempts, held.advanced_at = ids[-1], 0, timezone.now()
    held.judged += len(stored)
    held.undecided += sum(verdict.outcome == Outcome.UNDECIDED for verdict in stored)
    held.purged += len(verdicts) - len(stored)
    held.save(update_fields=["after", "attempts", "advanced_at", "judged", "undecided", "purged"])
    return held


@transaction.atomic
def end_replay(*, replay: Replay, state: ReplayState, problem: str = "", actor: object) -> Replay:
    """It is over, one way or another: the verdicts that are stored stay."""
    replay = lock_replay(replay, *UNFINISHED)
    replay.state, replay.problem = state, storable(problem)[:MOST_PROBLEM]
    replay.finished_at = timezone.now()
    replay.save(update_fields=["state", "problem", "finished_at"])
    record_event(actor=actor, action=f"replay {state}", subject=replay, judged=replay.judged)
    return replay


def stalled_replays() -> list[Replay]:
    """Replays whose worker may be gone."""
    before = timezone.now() - STALLED
    states = (ReplayState.MEASURING, ReplayState.RUNNING)
    rows = Replay.objects.filter(state__in=states, advanced_at__lt=before)
    return list(rows.select_related("verifier"))


def count_attempt(replay: Replay) -> None:
    """A worker begins; getting on forgets it."""
    Replay.objects.filter(pk=replay.pk).update(attempts=F("attempts") + 1)
    replay.refresh_from_db(fields=["state", "after", "attempts"])


@contextmanager
def held_alone(work: Replay | ProbeRun) -> Iterator[bool]:
    """Whether no other worker is at it. A worker that dies lets go by the end of its connection.

    Only so that no work is done twice: what is stored rests on the rows' locks.
    """
    key = work.pk.int % 2**63
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [key])
        (is_held,) = cursor.fetchone()
    try:
        yield is_held
    finally:
        if is_held:
            _let_go(key)


def _let_go(key: int) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [key])
    except (OperationalError, InterfaceError):
        # The connection is gone, and its locks with it.
        return
