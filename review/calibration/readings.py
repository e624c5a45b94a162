"""Whose verdicts on which rollouts: the windows of a run as an estimate reads them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from review.calibration.queries import AuditedWindow
from review.rollouts.queries import counts_per_cell, rollouts_inside
from review.rollouts.slices import Conditions, cell_mask, has_row_conditions
from review.runs.models import Run
from review.sampling.queries import RunCells, cells_of
from review.stats.cells import BoolArray, FloatArray, IntArray
from review.stats.refine import refine
from review.stats.windows import Window
from review.verifiers.models import Outcome, VerifierVersion
from review.verifiers.queries import (
    both_passed_counts,
    correctness_verifiers_of,
    late_verdict_counts,
    outcomes_of,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """Windows, the share of each of their cells in a slice, and the cells that a verifier accepts.

    judged: of the windows' rollouts, how many the verifier has judged. An estimate needs all.
    """

    windows: list[Window]
    slices: list[FloatArray]
    accepted: list[BoolArray]
    rollouts: int
    judged: int

    @property
    def is_judged(self) -> bool:
        return self.judged == self.rollouts


def reading_of(
    run: Run,
    audited: Sequence[AuditedWindow],
    *,
    verifier: VerifierVersion | None = None,
    conditions: Conditions = (),
) -> Reading:
    """The run's primary verifier or another one, on all rollouts or on those of a slice.

    A cell that the slice or a later verifier's verdicts cut through is split.
    """
    cells = audited[0].cells if audited else cells_of(run)
    own = correctness_verifiers_of(run)
    parts = [_sliced(run, cells, part, conditions) for part in audited]
    if verifier is not None and verifier not in own:
        return _seen_later(run, cells, audited, parts, verifier, conditions)
    accepted_M = cells.accepted_by(0 if verifier is None else own.index(verifier))
    rollouts = _rollouts(audited)
    return Reading(
        windows=[window for window, _ in parts],
        slices=[inside_M for _, inside_M in parts],
        accepted=[np.tile(accepted_M, len(inside_M) // len(cells.ids)) for _, inside_M in parts],
        rollouts=rollouts,
        judged=rollouts,
    )


def _rollouts(audited: Sequence[AuditedWindow]) -> int:
    return sum(int(part.window.count_M.sum()) for part in audited)


def both_slices(
    run: Run, audited: Sequence[AuditedWindow], first: Conditions, second: Conditions
) -> tuple[list[Window], list[FloatArray], list[FloatArray]]:
    """Windows whose cells neither slice cuts through any more, and both slices of them."""
    cells = audited[0].cells if audited else cells_of(run)
    windows: list[Window] = []
    in_first: list[FloatArray] = []
    in_second: list[FloatArray] = []
    for part in audited:
        window, first_M = _sliced(run, cells, part, first)
        if not has_row_conditions(second):
            mask_M = np.array(cell_mask(second, cells.features), dtype=float)
            second_M = np.tile(mask_M, len(first_M) // len(mask_M))
        else:
            steps = part.source.first_step, part.source.last_step
            counts_M = cells.array(counts_per_cell(run, *steps, second))
            if has_row_conditions(first):
                both_M = cells.array(counts_per_cell(run, *steps, [*first, *second]))
                counts_M = np.concatenate([both_M, counts_M - both_M])
            inside = rollouts_inside(run, part.rollouts, second)
            window, is_inside_M = _refined(part, window, counts_M, inside)
            first_M, second_M = np.tile(first_M, 2), np.asarray(is_inside_M, dtype=float)
        windows.append(window)
        in_first.append(first_M)
        in_second.append(second_M)
    return windows, in_first, in_second


@dataclass(frozen=True, slots=True)
class Pair:
    """Windows whose cells neither of two verifiers cuts through, and which of them each accepts."""

    windows: list[Window]
    first: list[BoolArray]
    second: list[BoolArray]


def pair_of(
    run: Run, audited: Sequence[AuditedWindow], first: VerifierVersion, second: VerifierVersion
) -> Pair | None:
    """Any two verifiers on the same windows; None until both have judged all of their rollouts."""
    one, other = (reading_of(run, audited, verifier=each) for each in (first, second))
    if not one.is_judged or not other.is_judged:
        return None
    own = correctness_verifiers_of(run)
    if first in own:
        return Pair(other.windows, _as_often(one.accepted, other.accepted), other.accepted)
    if second in own:
        return Pair(one.windows, one.accepted, _as_often(other.accepted, one.accepted))
    windows: list[Window] = []
    accepted: list[BoolArray] = []
    for part, window in zip(audited, one.windows, strict=True):
        counts, passed = _passed_by_second(run, part, first, second)
        refined, accepted_M = _refined(part, window, counts, passed)
        windows.append(refined)
        accepted.append(accepted_M)
    return Pair(windows, _as_often(one.accepted, accepted), accepted)


def _as_often(accepted: Sequence[BoolArray], as_these: Sequence[BoolArray]) -> list[BoolArray]:
    """What is accepted of cells that have been split since."""
    return [np.tile(a, len(b) // len(a)) for a, b in zip(accepted, as_these, strict=True)]


def _passed_by_second(
    run: Run, part: AuditedWindow, first: VerifierVersion, second: VerifierVersion
) -> tuple[IntArray, set[int]]:
    """What the second passes: per cell that the first passes, then per cell that it does not; and
    which of the window's items."""
    steps = part.source.first_step, part.source.last_step
    both_M = part.cells.array(both_passed_counts(run, first, second, *steps))
    passed_M = _passes(part.cells, late_verdict_counts(run, second, *steps))
    said = outcomes_of(second, part.rollouts)
    passed = {rollout for rollout, outcome in said.items() if outcome == Outcome.PASS}
    return np.concatenate([both_M, passed_M - both_M]), passed


def _sliced(
    run: Run, cells: RunCells, part: AuditedWindow, conditions: Conditions
) -> tuple[Window, FloatArray]:
    if not has_row_conditions(conditions):
        return part.window, np.array(cell_mask(conditions, cells.features), dtype=float)
    source = part.source
    counts = counts_per_cell(run, source.first_step, source.last_step, conditions)
    inside = rollouts_inside(run, part.rollouts, conditions)
    window, is_inside_M = _refined(part, part.window, cells.array(counts), inside)
    return window, np.asarray(is_inside_M, dtype=float)


def _refined(
    part: AuditedWindow, window: Window, inside_count_M: IntArray, inside: set[int]
) -> tuple[Window, BoolArray]:
    ids = np.array(sorted(inside), dtype=np.int64)
    return refine(
        window,
        inside_count_M=inside_count_M,
        inside=[np.isin(rollouts, ids) for rollouts in part.wave_rollouts],
        purposive_inside_I=np.isin(part.purposive_rollouts, ids),
    )


def _seen_later(
    run: Run,
    cells: RunCells,
    audited: Sequence[AuditedWindow],
    parts: Sequence[tuple[Window, FloatArray]],
    verifier: VerifierVersion,
    conditions: Conditions,
) -> Reading:
    windows: list[Window] = []
    slices: list[FloatArray] = []
    accepted: list[BoolArray] = []
    judged = 0
    for part, (window, inside_M) in zip(audited, parts, strict=True):
        said = outcomes_of(verifier, part.rollouts)
        passed = {rollout for rollout, outcome in said.items() if outcome == Outcome.PASS}
        counts, n = _passed(run, cells, part, verifier, conditions)
        refined, accepted_M = _refined(part, window, counts, passed)
        windows.append(refined)
        slices.append(np.tile(inside_M, 2))
        accepted.append(accepted_M)
        judged += n
    return Reading(windows, slices, accepted, _rollouts(audited), judged)


def _passed(
    run: Run,
    cells: RunCells,
    part: AuditedWindow,
    verifier: VerifierVersion,
    conditions: Conditions,
) -> tuple[IntArray, int]:
    """Rollouts per cell (inside the slice, then outside, where it cuts cells) that passed.

    And how many were judged at all.
    """
    steps = part.source.first_step, part.source.last_step
    everywhere = late_verdict_counts(run, verifier, *steps)
    judged = sum(sum(counts.values()) for counts in everywhere.values())
    passed_M = _passes(cells, everywhere)
    if not has_row_conditions(conditions):
        return passed_M, judged
    inside_M = _passes(cells, late_verdict_counts(run, verifier, *steps, conditions))
    return np.concatenate([inside_M, passed_M - inside_M]), judged


def _passes(cells: RunCells, counts: dict[int, dict[Outcome, int]]) -> IntArray:
    return cells.array({cell: said.get(Outcome.PASS, 0) for cell, said in counts.items()})
