"""Estimates about the steps: right answers by wrong steps, and process verifiers."""

from collections.abc import Sequence

import numpy as np
from django.db import transaction

from review.calibration.queries import AuditedWindow, audited_windows, is_newest, label_set
from review.calibration.services.estimates import lock_estimates, store_estimates
from review.runs.models import Run
from review.sampling.queries import windows_for_run
from review.stats.cells import FloatArray, IntArray
from review.stats.process import Claims, ProcessEstimand, earliest_error, wrong_process
from review.verifiers.models import VerifierVersion
from review.verifiers.queries import claimed_steps, process_verifiers_of


@transaction.atomic
def refresh_process(*, run: Run) -> None:
    """Store what reviewers' earliest wrong steps say, where they have named any."""
    lock_estimates(run)
    audited = audited_windows(run, windows_for_run(run))
    if not any(_has_steps(part) for part in audited):
        return
    digest = label_set(audited)
    windows = [part.window for part in audited]
    if not is_newest(run, ProcessEstimand.WRONG_PROCESS, digest):
        results = {ProcessEstimand.WRONG_PROCESS: wrong_process(windows)}
        store_estimates(run, results, {}, unanswered=None, label_set=digest, targets={})
    for verifier in process_verifiers_of(run):
        if not is_newest(run, ProcessEstimand.PROCESS_F1, digest, verifier=verifier):
            found = earliest_error(windows, [_claims(verifier, part) for part in audited])
            store_estimates(
                run, found, {}, unanswered=None, label_set=digest, targets={}, verifier=verifier
            )


def _has_steps(part: AuditedWindow) -> bool:
    return any(not np.isnan(wave.items.step_I).all() for wave in part.window.waves)


def _claims(verifier: VerifierVersion, part: AuditedWindow) -> Claims:
    said = claimed_steps(verifier, part.rollouts)

    def of(rollouts: IntArray) -> FloatArray:
        return np.array([said.get(int(rollout), np.nan) for rollout in rollouts], dtype=float)

    drawn: Sequence[FloatArray] = [of(rollouts) for rollouts in part.wave_rollouts]
    return Claims(drawn=drawn, purposive_I=of(part.purposive_rollouts))
