"""Estimates about each criterion of a rubric, where verifier and reviewers speak of the same."""

import hashlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from django.db import transaction

from review.calibration.queries import (
    AuditedWindow,
    audited_windows,
    basis_of_criteria,
    label_set,
)
from review.calibration.services.estimates import lock_estimates, store_estimates
from review.rollouts.models import Rollout
from review.runs.models import Run
from review.sampling.queries import windows_for_run
from review.stats.cells import IntArray
from review.stats.criteria import (
    CriterionAnswers,
    CriterionEstimand,
    CriterionItems,
    Said,
    criterion_channel,
    criterion_quality,
)
from review.stats.estimators import Estimate, undefined
from review.stats.nonresponse import unanswered_share
from review.verifiers.criteria import CriterionVerdicts, criterion_verdicts
from review.verifiers.models import Outcome, VerifierVersion
from review.verifiers.queries import (
    correctness_verifiers_of,
    late_verifiers,
    lost_to,
    outcomes_of,
)

LEVEL = 0.95
SAID: Mapping[str, Said] = {
    Outcome.PASS: Said.PASS,
    Outcome.FAIL: Said.FAIL,
    Outcome.UNDECIDED: Said.UNDECIDED,
}
NOT_ASKED = "no queue's rubric has a criterion of this name"
NOT_JUDGED = "the verifier judges no criterion of this name"
ASKED_BY_SOME = "some windows' queues do not ask for it"


@transaction.atomic
def refresh_criteria(*, run: Run) -> None:
    """Store how each verifier that judges by criteria does on each of them.

    Those of which only the verifier or only a queue's rubric knows are stored without an estimate,
    with that as the reason.
    """
    lock_estimates(run)
    audited = audited_windows(run, windows_for_run(run))
    sampled = {rollout for part in audited for rollout in part.rollouts}
    for verifier in [*correctness_verifiers_of(run), *late_verifiers(run)]:
        basis = _basis(audited, verifier, sampled)
        if basis_of_criteria(run, verifier) != basis:
            _refresh(run, verifier, audited, criterion_verdicts(verifier, sampled), basis)


def _refresh(
    run: Run,
    verifier: VerifierVersion,
    audited: Sequence[AuditedWindow],
    verdicts: CriterionVerdicts,
    basis: str,
) -> None:
    for name in verdicts.names:
        found, unanswered = _quality(audited, verdicts, name)
        _store(run, verifier, name, found, basis, unanswered)
    if verdicts.names:
        for criterion in _without_verdict(audited, verdicts):
            _store(run, verifier, criterion, _unknown(NOT_JUDGED), basis)


def _basis(
    audited: Sequence[AuditedWindow], verifier: VerifierVersion, sampled: Collection[int]
) -> str:
    """The estimates change with the labels, what the queues ask, and how much is judged."""
    rubrics = [part.rubric for part in audited]
    judged = len(outcomes_of(verifier, sampled))
    lost = lost_to(verifier, Rollout.objects.filter(pk__in=sampled)).count()
    read = (label_set(audited), rubrics, judged, lost)
    return hashlib.sha256(repr(read).encode()).hexdigest()


def _store(
    run: Run,
    verifier: VerifierVersion,
    criterion: str,
    found: Mapping[CriterionEstimand, Estimate],
    basis: str,
    unanswered: float | None = None,
) -> None:
    store_estimates(
        run,
        found,
        {},
        unanswered=unanswered,
        label_set=basis,
        targets={},
        verifier=verifier,
        criterion=criterion,
    )


def _unknown(reason: str) -> dict[CriterionEstimand, Estimate]:
    return {key: undefined(key, 0, reason, LEVEL) for key in CriterionEstimand}


def _without_verdict(audited: Sequence[AuditedWindow], verdicts: CriterionVerdicts) -> list[str]:
    """What the queues ask and the verifier has no verdict on, in their order."""
    asked = dict.fromkeys(criterion for part in audited for criterion in part.rubric)
    judged = {word for name in verdicts.names for word in verdicts.called(name)}
    return [criterion for criterion in asked if criterion not in judged]


def _quality(
    audited: Sequence[AuditedWindow], verdicts: CriterionVerdicts, name: str
) -> tuple[dict[CriterionEstimand, Estimate], float | None]:
    """The estimates, and the share of the drawn items that have no word on the criterion."""
    positions = [_position(part.rubric, verdicts.called(name)) for part in audited]
    if all(position is None for position in positions):
        return _unknown(NOT_ASKED), None
    if verdicts.share < 1:
        return _unknown(f"it has judged {100 * verdicts.share:.0f} % of the sampled rollouts"), None
    channels = []
    for part, position in zip(audited, positions, strict=True):
        if position is None:
            return _unknown(ASKED_BY_SOME), None
        channels.append(criterion_channel(part.window, _answers(part, position, verdicts, name)))
    found = criterion_quality([part.window for part in audited], channels, level=LEVEL)
    return found, unanswered_share([each.window for each in channels]).share


def _position(rubric: Sequence[str], called: frozenset[str]) -> int | None:
    """Where the queue asks for the criterion; only a name that is the same is the same."""
    return next((n for n, criterion in enumerate(rubric) if criterion in called), None)


def _answers(
    part: AuditedWindow, position: int, verdicts: CriterionVerdicts, name: str
) -> CriterionAnswers:
    def of(rollouts: IntArray) -> CriterionItems:
        said = [verdicts.by_rollout[int(pk)] for pk in rollouts]
        met = [part.met[int(pk)][position] if int(pk) in part.met else np.nan for pk in rollouts]
        return CriterionItems(
            met_I=np.array(met, dtype=float),
            said_I=np.array([_said(outcomes, name) for outcomes in said], dtype=np.int64),
        )

    return CriterionAnswers(
        drawn=[of(rollouts) for rollouts in part.wave_rollouts],
        purposive=of(part.purposive_rollouts),
    )


def _said(outcomes: Mapping[str, str] | None, name: str) -> Said:
    """Nothing of a criterion in a verdict that is still whole is as good as undecided."""
    return Said.UNKNOWN if outcomes is None else SAID[outcomes.get(name, Outcome.UNDECIDED)]
