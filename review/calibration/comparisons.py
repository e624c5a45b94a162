"""Verifiers, slices and windows held against one another, always on the same labels."""

from collections.abc import Sequence
from dataclasses import dataclass

from review.calibration.queries import AuditedWindow, audited_windows, not_asked
from review.calibration.readings import both_slices, pair_of, reading_of
from review.calibration.services.estimates import estimate_asked
from review.labeling.models import Question
from review.rollouts.models import Slice
from review.runs.models import Run
from review.sampling.queries import windows_for_run
from review.stats.comparisons import (
    METHOD,
    Difference,
    Ranked,
    Side,
    compare,
    rank_verifiers,
)
from review.stats.drift import Slope, change_since_first, slope
from review.stats.estimands import Estimand
from review.stats.estimators import estimate_all
from review.verifiers.models import VerifierVersion
from review.verifiers.queries import correctness_verifiers_of

COMPARED = (Estimand.RECALL, Estimand.FPR, Estimand.PRECISION)
DRIFTING = (Estimand.RECALL, Estimand.FPR, Estimand.ACCURACY, Estimand.HACK_RATE)
DEFAULT_TARGET = 0.1
LEVEL = 0.95


def rankings(run: Run) -> dict[Estimand, dict[str, Ranked]]:
    """The ranks that the labels leave possible to each of the run's own verifiers.

    Empty where it has a single one, or no label.
    """
    audited = audited_windows(run, windows_for_run(run))
    own = correctness_verifiers_of(run)
    if not audited or len(own) < 2:
        return {}
    readings = {str(verifier): reading_of(run, audited, verifier=verifier) for verifier in own}
    windows = [part.window for part in audited]
    return {
        estimand: rank_verifiers(
            windows,
            estimand=estimand,
            verifiers={name: reading.accepted for name, reading in readings.items()},
        )
        for estimand in COMPARED
    }


def against_primary(run: Run, verifier: VerifierVersion) -> dict[Estimand, Difference] | None:
    """Another verifier, also a later one, minus the primary one; else as `compare_verifiers`."""
    return compare_verifiers(run, verifier, correctness_verifiers_of(run)[0])


def compare_verifiers(
    run: Run, first: VerifierVersion, second: VerifierVersion
) -> dict[Estimand, Difference] | None:
    """The first minus the second on the same labels: any two correctness verifiers of the run.

    None until both have judged every rollout of the audited windows, but for those that were purged
    before: of them nothing is compared.
    """
    audited = audited_windows(run, windows_for_run(run))
    pair = pair_of(run, audited, first, second) if audited else None
    if pair is None:
        return None
    return {
        estimand: compare(
            pair.windows,
            estimand=estimand,
            first=Side(accepted=pair.first, slices=pair.slices),
            second=Side(accepted=pair.second, slices=pair.slices),
        )
        for estimand in COMPARED
    }


def compare_slices(run: Run, estimand: Estimand, first: Slice, second: Slice) -> Difference:
    """The primary verifier on one slice minus the same on another; slices may overlap."""
    audited = audited_windows(run, windows_for_run(run))
    if unasked := _unasked(audited, estimand):
        return unasked
    windows, in_first, in_second = both_slices(run, audited, first.conditions, second.conditions)
    return compare(
        windows, estimand=estimand, first=Side(slices=in_first), second=Side(slices=in_second)
    )


@dataclass(frozen=True, slots=True)
class Drift:
    """slope: per step, over three windows and more. change: newest window minus the first."""

    estimand: Estimand
    slope: Slope
    change: Difference


def drifts(run: Run) -> list[Drift]:
    """Does the verifier get worse as the policy gets stronger?"""
    audited = audited_windows(run, windows_for_run(run))
    results = [estimate_asked([part], estimate_all([part.window])) for part in audited]
    steps = [(part.source.first_step + part.source.last_step) / 2 for part in audited]
    return [
        Drift(
            estimand=estimand,
            slope=slope([result[estimand] for result in results], steps),
            change=_change(audited, estimand),
        )
        for estimand in DRIFTING
    ]


def _unasked(audited: Sequence[AuditedWindow], estimand: Estimand) -> Difference | None:
    """That nothing is known of hacks, where some queue does not ask for them."""
    reason = not_asked(audited, Question.HACK) if estimand is Estimand.HACK_RATE else ""
    if not reason:
        return None
    return Difference(estimand, None, -1.0, 1.0, LEVEL, METHOD, 0, reason=reason)


def _change(audited: Sequence[AuditedWindow], estimand: Estimand) -> Difference:
    if unasked := _unasked(audited, estimand):
        return unasked
    windows = [part.window for part in audited]
    target = audited[-1].source.targets.get(estimand.value) if audited else None
    return change_since_first(
        windows, estimand=estimand, target_half_width=target or DEFAULT_TARGET
    )
