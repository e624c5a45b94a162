"""The verifier scorecard: every verifier on every slice, refreshed when answers change."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.db import transaction

from review.calibration.models import AnswersUsed, Estimate, RefreshRequest
from review.calibration.queries import audited_windows, label_set
from review.calibration.services.estimates import refresh_estimates, store_estimates
from review.calibration.services.process import refresh_process
from review.calibration.services.sensitivity import refresh_sensitivity
from review.calibration.services.signal import refresh_signal
from review.calibration.views import View, view_of
from review.rollouts.queries import fits_run, slices_of
from review.rollouts.slices import Conditions
from review.runs.models import Run
from review.runs.services import lock_run
from review.sampling.queries import windows_for_run
from review.stats.estimands import Estimand
from review.stats.estimators import Estimate as Result
from review.stats.estimators import estimate_all, undefined
from review.stats.nonresponse import unanswered_share, worst_case_bounds
from review.verifiers.queries import correctness_verifiers_of, late_verifiers

# More than so many policies are read as a drift over steps, not one by one.
MOST_POLICIES = 12
LEVEL = 0.95


def refresh_run(*, run: Run) -> None:
    """Everything that is estimated of the run, from the answers as they are now."""
    # First: what changes from now on asks for a refresh of its own.
    RefreshRequest.objects.filter(run=run).delete()
    for window in windows_for_run(run):
        refresh_estimates(run=run, window=window)
    refresh_estimates(run=run)
    refresh_scorecard(run=run)
    refresh_process(run=run)
    refresh_sensitivity(run=run)
    refresh_signal(run=run)


@transaction.atomic
def refresh_scorecard(*, run: Run) -> None:
    """Store the run's estimates by verifier and slice, as far as these answers' are not stored."""
    run = lock_run(run)
    audited = audited_windows(run, windows_for_run(run))
    if not audited:
        return
    digest = label_set(audited)
    for scope, conditions in _scopes(run):
        known = Estimate.objects.filter(
            run=run, window=None, label_set=digest, answers=AnswersUsed.FINAL
        )
        if known.filter(**{"verifier": None, "slice": None, "policy": None} | scope).exists():
            continue
        view = view_of(run, audited, verifier=scope.get("verifier"), conditions=conditions)
        _store(run, view, digest, scope)


def _scopes(run: Run) -> Iterator[tuple[dict[str, Any], Conditions]]:
    """Every verifier on every slice; the primary verifier (none named) by policy too."""
    others = [*correctness_verifiers_of(run)[1:], *late_verifiers(run)]
    slices = [part for part in slices_of(run.project) if fits_run(run, part.conditions)]
    for verifier in [None, *others]:
        yield {"verifier": verifier}, ()
        for part in slices:
            yield {"verifier": verifier, "slice": part}, part.conditions
    policies = list(run.policies.order_by("pk")[: MOST_POLICIES + 1])
    if 1 < len(policies) <= MOST_POLICIES:
        for policy in policies:
            condition = {"field": "policy", "op": "is", "value": policy.uid}
            yield {"policy": policy}, [condition]


def _store(run: Run, view: View, digest: str, scope: Mapping[str, Any]) -> None:
    results: Mapping[Estimand, Result]
    if view.judged_share < 1:
        reason = f"it has judged {100 * view.judged_share:.0f} % of the windows' rollouts"
        results = {e: undefined(e, 0, reason, LEVEL) for e in Estimand}
    else:
        results = estimate_all(view.windows, slices=view.slices, accepted=view.accepted)
    worst = worst_case_bounds(view.windows, slices=view.slices, accepted=view.accepted)
    unanswered = unanswered_share(view.windows).share
    store_estimates(
        run, results, worst, unanswered=unanswered, label_set=digest, targets={}, **scope
    )
