"""Whose verdicts on which rollouts: the windows of a run as an estimate reads them."""

from collections.abc import Collection, Mapping, Sequence
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
    correctness_verifiers_of,
    late_verdict_counts,
    lost_to,
    outcomes_of,
    pair_counts,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """Windows, the share of each of their cells in a slice, and the cells that a verifier accepts.

    rollouts: how many of the windows' the verifier can judge; judged: how many it has. An estimate
    needs all. left_out: the others, purged before it came; the slice is without them.
    """

    windows: list[Window]
    slices: list[FloatArray]
    accepted: list[BoolArray]
    rollouts: int
    judged: int
    left_out: int = 0

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
    """Windows whose cells neither of two verifiers cuts through, and which of them each accepts.

    slices: the cells of what both have judged.
    """

    windows: list[Window]
    slices: list[FloatArray]
    first: list[BoolArray]
    second: list[BoolArray]


def pair_of(
    run: Run, audited: Sequence[AuditedWindow], first: VerifierVersion, second: VerifierVersion
) -> Pair | None:
    """Any two verifiers on the same windows; None until both have judged all that they can."""
    one, other = (reading_of(run, audited, verifier=each) for each in (first, second))
    if not one.is_judged or not other.is_judged:
        return None
    own = correctness_verifiers_of(run)
    if first in own:
        accepted = _as_often(one.accepted, other.accepted)
        return Pair(other.windows, other.slices, accepted, other.accepted)
    if second in own:
        accepted = _as_often(other.accepted, one.accepted)
        return Pair(one.windows, one.slices, one.accepted, accepted)
    return _pair_of_late(run, audited, first, second)


def _as_often(accepted: Sequence[BoolArray], as_these: Sequence[BoolArray]) -> list[BoolArray]:
    """What is accepted of cells that have been split since."""
    return [np.tile(a, len(b) // len(a)) for a, b in zip(accepted, as_these, strict=True)]


def _pair_of_late(
    run: Run, audited: Sequence[AuditedWindow], first: VerifierVersion, second: VerifierVersion
) -> Pair:
    """Two later verifiers: every cell is split by what both have judged, then by each of them."""
    pair = Pair([], [], [], [])
    for part in audited:
        counts = pair_counts(run, first, second, part.source.first_step, part.source.last_step)
        both_M, first_M, second_M, neither_M = (
            part.cells.array(of_cells)
            for of_cells in (counts.both, counts.first, counts.second, counts.neither)
        )
        said, other = (outcomes_of(verifier, part.rollouts) for verifier in (first, second))
        judged_M = both_M + first_M + second_M + neither_M
        window, is_judged_M = _refined(part, part.window, judged_M, said.keys() & other.keys())
        # Of what not both have judged nothing counts: as if neither passed it.
        none_M = np.zeros_like(judged_M)
        passed_M = np.concatenate([both_M + first_M, none_M])
        window, first_accepts_M = _refined(part, window, passed_M, _passed_of(said, other))
        passed_M = np.concatenate([both_M, none_M, second_M, none_M])
        window, second_accepts_M = _refined(part, window, passed_M, _passed_of(other, said))
        pair.windows.append(window)
        pair.slices.append(np.tile(is_judged_M, 4).astype(float))
        pair.first.append(np.tile(first_accepts_M, 2))
        pair.second.append(second_accepts_M)
    return pair


def _passed_of(said: Mapping[int, Outcome], other: Collection[int]) -> set[int]:
    """What it passes, of the rollouts of which the other one says something too."""
    return {pk for pk, outcome in said.items() if outcome == Outcome.PASS and pk in other}


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
    """What the verifier can never judge is cut off first: of that nothing is estimated."""
    windows: list[Window] = []
    slices: list[FloatArray] = []
    accepted: list[BoolArray] = []
    judged = left_out = 0
    for part, (window, inside_M) in zip(audited, parts, strict=True):
        said = outcomes_of(verifier, part.rollouts)
        passed = {rollout for rollout, outcome in said.items() if outcome == Outcome.PASS}
        passed_M, judged_M = _judged(run, cells, part, verifier, conditions)
        lost = _lost(run, part, verifier, int(judged_M.sum()))
        if lost:
            window, is_judged_M = _refined(part, window, judged_M, set(said))
            passed_M = np.concatenate([passed_M, np.zeros_like(passed_M)])
            inside_M = np.tile(inside_M, 2) * is_judged_M
        refined, accepted_M = _refined(part, window, passed_M, passed)
        windows.append(refined)
        slices.append(np.tile(inside_M, 2))
        accepted.append(accepted_M)
        judged += int(judged_M.sum())
        left_out += lost
    return Reading(windows, slices, accepted, _rollouts(audited) - left_out, judged, left_out)


def _lost(run: Run, part: AuditedWindow, verifier: VerifierVersion, judged: int) -> int:
    """How many of the window's rollouts the verifier can never judge."""
    if judged == part.window.count_M.sum():
        return 0
    steps = part.source.first_step, part.source.last_step
    return lost_to(verifier, run.rollouts.filter(step__range=steps)).count()


def _judged(
    run: Run,
    cells: RunCells,
    part: AuditedWindow,
    verifier: VerifierVersion,
    conditions: Conditions,
) -> tuple[IntArray, IntArray]:
    """Rollouts per cell that passed and that were judged at all: inside the slice, then outside,
    where it cuts cells."""
    steps = part.source.first_step, part.source.last_step
    passed_M, judged_M = _counted(cells, late_verdict_counts(run, verifier, *steps))
    if not has_row_conditions(conditions):
        return passed_M, judged_M
    inside = late_verdict_counts(run, verifier, *steps, conditions)
    passed_inside_M, judged_inside_M = _counted(cells, inside)
    return (
        np.concatenate([passed_inside_M, passed_M - passed_inside_M]),
        np.concatenate([judged_inside_M, judged_M - judged_inside_M]),
    )


def _counted(
    cells: RunCells, counts: Mapping[int, Mapping[Outcome, int]]
) -> tuple[IntArray, IntArray]:
    passed = {cell: said.get(Outcome.PASS, 0) for cell, said in counts.items()}
    judged = {cell: sum(said.values()) for cell, said in counts.items()}
    return cells.array(passed), cells.array(judged)
