"""Estimates about the steps: right answers by wrong steps, and process verifiers."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from django.db import transaction

from review.calibration.queries import (
    AuditedWindow,
    audited_windows,
    is_newest,
    label_set,
    not_asked,
)
from review.calibration.services.estimates import lock_estimates, store_estimates
from review.labeling.models import Question
from review.rollouts.models import Rollout
from review.runs.models import Run
from review.sampling.queries import windows_for_run
from review.stats.cells import FloatArray, IntArray
from review.stats.estimators import Estimate, undefined
from review.stats.process import Claims, ProcessEstimand, earliest_error, wrong_process
from review.stats.windows import Items
from review.verifiers.models import VerifierVersion
from review.verifiers.queries import (
    claimed_steps,
    late_process_verifiers,
    outcomes_of,
    process_verifiers_of,
)

LEVEL = 0.95
WRONG = ProcessEstimand.WRONG_PROCESS


@transaction.atomic
def refresh_process(*, run: Run) -> None:
    """Store what reviewers' earliest wrong steps say, or that nobody asked for them."""
    lock_estimates(run)
    audited = audited_windows(run, windows_for_run(run))
    unasked = not_asked(audited, Question.STEP)
    if not unasked and not any(_has_steps(part) for part in audited):
        return
    digest = label_set(audited)
    if not is_newest(run, WRONG, digest):
        whole = [part.window for part in audited]
        result = undefined(WRONG, 0, unasked, LEVEL) if unasked else wrong_process(whole)
        store_estimates(run, {WRONG: result}, {}, unanswered=None, label_set=digest, targets={})
    own = process_verifiers_of(run)
    for verifier in [*own, *late_process_verifiers(run)]:
        lost = _lost(verifier, audited)
        judged = 1.0 if verifier in own else _share_judged(verifier, audited, lost)
        # A later verifier's estimates change with its verdicts too.
        is_whole = verifier in own and not lost
        basis = digest if is_whole else _with_verdicts(digest, judged, len(lost))
        if not is_newest(run, ProcessEstimand.PROCESS_F1, basis, verifier=verifier):
            missing = f"it has judged {100 * judged:.0f} % of the windows' sampled rollouts"
            reason = unasked or (missing if judged < 1 else "")
            found = _earliest_error(verifier, [_unasked_of(part, lost) for part in audited], reason)
            store_estimates(
                run, found, {}, unanswered=None, label_set=basis, targets={}, verifier=verifier
            )


def _lost(verifier: VerifierVersion, audited: Sequence[AuditedWindow]) -> set[int]:
    """The sampled rollouts of whose steps it says nothing, or nothing any more, for they are
    purged."""
    sampled = {rollout for part in audited for rollout in part.rollouts}
    purged = Rollout.objects.filter(pk__in=sampled, purged_at__isnull=False)
    return set(purged.values_list("pk", flat=True)).difference(claimed_steps(verifier, sampled))


def _share_judged(
    verifier: VerifierVersion, audited: Sequence[AuditedWindow], lost: Collection[int]
) -> float:
    """Of the sampled rollouts that it can judge."""
    sampled = {rollout for part in audited for rollout in part.rollouts}.difference(lost)
    return len(outcomes_of(verifier, sampled)) / max(len(sampled), 1)


def _unasked_of(part: AuditedWindow, lost: Collection[int]) -> AuditedWindow:
    """The window as if nobody had judged the steps of these rollouts: nonresponse, not a miss."""
    if not lost:
        return part

    def silent(items: Items, rollouts: IntArray) -> Items:
        return replace(items, step_I=np.where(np.isin(rollouts, [*lost]), np.nan, items.step_I))

    waves = tuple(
        replace(wave, items=silent(wave.items, rollouts))
        for wave, rollouts in zip(part.window.waves, part.wave_rollouts, strict=True)
    )
    purposive = silent(part.window.purposive, part.purposive_rollouts)
    return replace(part, window=replace(part.window, waves=waves, purposive=purposive))


def _with_verdicts(digest: str, judged: float, lost: int) -> str:
    return hashlib.sha256(f"{digest} {judged} {lost}".encode()).hexdigest()


def _earliest_error(
    verifier: VerifierVersion, audited: Sequence[AuditedWindow], unknown: str
) -> Mapping[ProcessEstimand, Estimate]:
    """unknown: why nothing can be said, if so."""
    if unknown:
        return {key: undefined(key, 0, unknown, LEVEL) for key in ProcessEstimand if key != WRONG}
    claims = [_claims(verifier, part) for part in audited]
    return earliest_error([part.window for part in audited], claims)


def _has_steps(part: AuditedWindow) -> bool:
    return any(not np.isnan(wave.items.step_I).all() for wave in part.window.waves)


def _claims(verifier: VerifierVersion, part: AuditedWindow) -> Claims:
    said = claimed_steps(verifier, part.rollouts)

    def of(rollouts: IntArray) -> FloatArray:
        return np.array([said.get(int(rollout), np.nan) for rollout in rollouts], dtype=float)

    drawn: Sequence[FloatArray] = [of(rollouts) for rollouts in part.wave_rollouts]
    return Claims(drawn=drawn, purposive_I=of(part.purposive_rollouts))
