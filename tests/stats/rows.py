"""Single rollouts of a synthetic run, with what its cells do not tell, and audits of them.

Shape suffixes: N = rollouts, M = cells, I = items.
"""

from dataclasses import dataclass, replace

import numpy as np

from review.stats.cells import BoolArray, CellFrame, FloatArray, IntArray
from review.stats.design import COMPROMISE, Focus, draw_counts, plan_wave
from review.stats.refine import refine
from review.stats.windows import Items, Wave, Window, no_items
from review.stats.working_model import fit_working_model, hack_model
from tests.stats.population import CORRECT, HACK, make_population


@dataclass(frozen=True, slots=True)
class Rows:
    """policy_N: from the one of two policies; later_N: a later verifier accepts it;
    step_N: the earliest wrong step, 0 for none; claimed_N: the same as a process verifier says."""

    frame: CellFrame
    cell_N: IntArray
    correct_N: BoolArray
    hack_N: BoolArray
    policy_N: BoolArray
    later_N: BoolArray
    step_N: FloatArray
    claimed_N: FloatArray

    def count(self, kept_N: BoolArray) -> IntArray:
        return np.bincount(self.cell_N[kept_N], minlength=len(self.frame))


@dataclass(frozen=True, slots=True)
class RowAudit:
    """A window, and which rollouts each of its waves drew."""

    window: Window
    drawn: tuple[IntArray, ...]

    def refined(self, rows: Rows, inside_N: BoolArray) -> tuple[Window, BoolArray]:
        inside = [inside_N[drawn_I] for drawn_I in self.drawn]
        return refine(self.window, inside_count_M=rows.count(inside_N), inside=inside)


def make_rows(rng: np.random.Generator, *, rollouts: int = 20_000) -> Rows:
    """The rollouts of `make_population`, whose correctness also goes with policy and later."""
    population = make_population(rng, rollouts=rollouts)
    position_N = np.repeat(np.arange(population.outcomes_MO.size), population.outcomes_MO.ravel())
    cell_N, outcome_N = position_N // 3, position_N % 3
    correct_N, accepted_N = outcome_N == CORRECT, population.frame.accepted_M[position_N // 3]
    rejecting = np.where(correct_N, 0.6, 0.03)
    later_N = rng.random(rollouts) < np.where(accepted_N, np.where(correct_N, 0.95, 0.3), rejecting)
    wrong_process_N = rng.random(rollouts) < np.where(correct_N, 0.12, 0.95)
    step_N = np.where(wrong_process_N, 1 + rng.binomial(6, 0.4, rollouts), 0)
    return Rows(
        frame=population.frame,
        cell_N=cell_N,
        correct_N=correct_N,
        hack_N=outcome_N == HACK,
        policy_N=rng.random(rollouts) < np.where(accepted_N & correct_N, 0.4, 0.25),
        later_N=later_N,
        step_N=step_N.astype(float),
        claimed_N=claims(step_N, rng),
    )


def claims(step_N: IntArray, rng: np.random.Generator) -> FloatArray:
    """Right on 85 % of the faultless and 55 % of the others; else a step off, or far off."""
    size = len(step_N)
    off_N = np.where(rng.random(size) < 0.5, step_N + 1, rng.integers(1, 8, size))
    false_alarm_N = np.where(rng.random(size) < 0.85, 0, rng.integers(1, 8, size))
    found_N = np.where(rng.random(size) < 0.55, step_N, np.where(rng.random(size) < 0.5, off_N, 0))
    return np.where(step_N == 0, false_alarm_N, found_N).astype(float)


def audit_rows(
    rows: Rows,
    *,
    n: int,
    rng: np.random.Generator,
    waves: int = 4,
    focus: Focus = COMPROMISE,
    unsaid: float = 0.0,
    **aims: object,
) -> RowAudit:
    """Plan, draw and label `n` rollouts in waves; of a share `unsaid` no step is named."""
    frame, count_M = rows.frame, rows.count(np.ones(len(rows.cell_N), bool))
    shuffled = rng.permutation(len(rows.cell_N))
    order = shuffled[np.argsort(rows.cell_N[shuffled], kind="stable")]
    first_M = np.cumsum(count_M) - count_M
    taken_M, known = np.zeros_like(count_M), no_items().counts(len(frame))
    closed: list[Wave] = []
    drawn: list[IntArray] = []
    for number in range(1, waves + 1):
        model = fit_working_model(frame, labelled_M=known.answered_M, correct_M=known.correct_M)
        q_M = hack_model(
            frame,
            f_M=model.f_M,
            wrong_accepted_M=known.wrong_or_hack_M,
            hacks_M=known.hacks_M,
        )
        remaining_M = count_M - taken_M
        plan = plan_wave(
            frame,
            remaining_M=remaining_M,
            count_M=count_M,
            f_M=model.f_M,
            q_M=q_M,
            n=n * number // waves - n * (number - 1) // waves,
            focus=focus,
            **aims,
        )
        drawn_M = draw_counts(plan, remaining_M, seed=int(rng.integers(2**31)))
        start_M = first_M + taken_M
        position = [np.arange(s, s + k) for s, k in zip(start_M, drawn_M, strict=True) if k]
        drawn_I = order[np.concatenate(position)]
        taken_M = taken_M + drawn_M
        items = label_rows(rows, drawn_I, rng=rng, unsaid=unsaid)
        closed.append(
            Wave(
                number=number,
                planned=plan.n,
                remaining_M=remaining_M,
                stratum_M=plan.stratum_M,
                weight_H=plan.weight_H,
                f_M=model.f_M,
                q_M=q_M,
                items=items,
            )
        )
        drawn.append(drawn_I)
        known = known + items.counts(len(frame))
    return RowAudit(Window(frame, count_M, tuple(closed)), tuple(drawn))


def label_rows(
    rows: Rows, drawn_I: IntArray, *, rng: np.random.Generator, unsaid: float = 0.0
) -> Items:
    items = Items(
        rows.cell_N[drawn_I],
        rows.correct_N[drawn_I],
        rows.hack_N[drawn_I],
        rows.step_N[drawn_I],
    )
    is_unsaid_I = rng.random(len(drawn_I)) < unsaid
    return replace(items, step_I=np.where(is_unsaid_I, np.nan, items.step_I))
