"""The verifier scorecard: every verifier on every slice, refreshed when answers change."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.db import transaction

from review.calibration.models import RefreshRequest
from review.calibration.queries import AuditedWindow, audited_windows, is_newest, label_set
from review.calibration.readings import Reading, reading_of
from review.calibration.services.criteria import refresh_criteria
from review.calibration.services.estimates import (
    bounds_asked,
    estimate_asked,
    lock_estimates,
    refresh_estimates,
    store_estimates,
)
from review.calibration.services.process import refresh_process
from review.calibration.services.sensitivity import refresh_sensitivity
from review.calibration.services.signal import refresh_signal
from review.rollouts.queries import slices_of, why_uncountable
from review.rollouts.slices import Conditions
from review.runs.models import Run
from review.sampling.queries import audited_windows_of, windows_for_run
from review.stats.estimands import Estimand
from review.stats.estimators import Estimate as Result
from review.stats.estimators import estimate_all, undefined
from review.stats.nonresponse import Bounds, unanswered_share, worst_case_bounds
from review.verifiers.queries import correctness_verifiers_of, late_verifiers

# More than so many policies are read as a drift over steps, not one by one.
MOST_POLICIES = 12
LEVEL = 0.95


def refresh_run(*, run: Run) -> None:
    """Everything that is estimated of the run, from the answers as they are now."""
    # First: what changes from now on asks for a refresh of its own.
    RefreshRequest.objects.filter(run=run).delete()
    for window in audited_windows_of(run):
        refresh_estimates(run=run, window=window)
    refresh_estimates(run=run)
    refresh_scorecard(run=run)
    refresh_process(run=run)
    refresh_criteria(run=run)
    refresh_sensitivity(run=run)
    refresh_signal(run=run)


@transaction.atomic
def refresh_scorecard(*, run: Run) -> None:
    """Store the run's estimates by verifier and slice, as far as these answers' are not stored."""
    lock_estimates(run)
    audited = audited_windows(run, windows_for_run(run))
    if not audited:
        return
    digest = label_set(audited)
    own = correctness_verifiers_of(run)
    for scope, conditions in _scopes(run):
        verifier = scope.get("verifier")
        if verifier in (None, *own) and is_newest(run, Estimand.RECALL, digest, **scope):
            continue
        reading = reading_of(run, audited, verifier=verifier, conditions=conditions)
        # A later verifier's estimates change with its verdicts too.
        basis = digest if verifier in (None, *own) else _with_verdicts(digest, reading)
        if not is_newest(run, Estimand.RECALL, basis, **scope):
            _store(run, audited, reading, basis, scope)


def _with_verdicts(digest: str, reading: Reading) -> str:
    read = f"{digest} {reading.judged} {reading.left_out}"
    return hashlib.sha256(read.encode()).hexdigest()


def _scopes(run: Run) -> Iterator[tuple[dict[str, Any], Conditions]]:
    """Every verifier on every slice; the primary verifier (none named) by policy too."""
    others = [*correctness_verifiers_of(run)[1:], *late_verifiers(run)]
    slices = [part for part in slices_of(run.project) if not why_uncountable(run, part.conditions)]
    for verifier in [None, *others]:
        if verifier is not None:
            yield {"verifier": verifier}, ()
        for part in slices:
            yield {"verifier": verifier, "slice": part}, part.conditions
    policies = list(run.policies.order_by("pk")[: MOST_POLICIES + 1])
    if 1 < len(policies) <= MOST_POLICIES:
        for policy in policies:
            condition = {"field": "policy", "op": "is", "value": policy.uid}
            yield {"policy": policy}, [condition]


def _store(
    run: Run,
    audited: Sequence[AuditedWindow],
    reading: Reading,
    digest: str,
    scope: Mapping[str, Any],
) -> None:
    results: Mapping[Estimand, Result]
    worst: Mapping[Estimand, Bounds] = {}
    if not reading.is_judged:
        share = reading.judged / reading.rollouts
        reason = f"it has judged {100 * share:.0f} % of the windows' rollouts"
        results = {e: undefined(e, 0, reason, LEVEL) for e in Estimand}
    else:
        results = estimate_asked(
            audited,
            estimate_all(reading.windows, slices=reading.slices, accepted=reading.accepted),
        )
        bounds = worst_case_bounds(
            reading.windows, slices=reading.slices, accepted=reading.accepted
        )
        worst = bounds_asked(audited, bounds)
    unanswered = unanswered_share(reading.windows).share
    store_estimates(
        run,
        results,
        worst,
        unanswered=unanswered,
        left_out=reading.left_out,
        label_set=digest,
        targets={},
        **scope,
    )
