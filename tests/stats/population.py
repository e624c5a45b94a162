"""A synthetic run of rollouts, and audits of it as they would happen.

Shape suffixes: M = cells, O = outcomes (correct, wrong, hack), I = items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from review.stats.cells import CellFrame, FloatArray, IntArray
from review.stats.design import COMPROMISE, Focus, draw_counts, plan_wave
from review.stats.windows import Counts, Items, Wave, Window, no_items
from review.stats.working_model import fit_working_model, hack_model

CORRECT, WRONG, HACK = range(3)


@dataclass(frozen=True, slots=True)
class Population:
    frame: CellFrame
    outcomes_MO: IntArray

    @property
    def count_M(self) -> IntArray:  # noqa: N802
        return self.outcomes_MO.sum(1)

    def truth(self) -> dict[str, float]:
        accepted_M = self.frame.accepted_M
        correct_M, count_M = self.outcomes_MO[:, CORRECT], self.count_M
        accepted, rejected = accepted_M.astype(float), (~accepted_M).astype(float)
        with np.errstate(invalid="ignore"):
            return {
                "recall": accepted @ correct_M / correct_M.sum(),
                "fpr": accepted @ (count_M - correct_M) / (count_M - correct_M).sum(),
                "precision": accepted @ correct_M / (accepted @ count_M),
                "rejected_correct": rejected @ correct_M / (rejected @ count_M),
                "accuracy": correct_M.sum() / count_M.sum(),
                "hack_rate": accepted @ self.outcomes_MO[:, HACK] / count_M.sum(),
            }


def make_frame(cells: int, **columns) -> CellFrame:
    """Rejected cells without score, share, probe hit, signature or domain, but for `columns`."""
    default = {
        "accepted_M": np.zeros(cells, bool),
        "score_M": np.full(cells, np.nan),
        "share_bin_M": np.full(cells, -1),
        "probe_M": np.zeros(cells, bool),
        "signature_M": np.zeros(cells, int),
        "domain_M": np.zeros(cells, int),
    }
    return CellFrame(**(default | {name: np.asarray(x) for name, x in columns.items()}))


def make_population(rng: np.random.Generator, *, rollouts: int = 20_000) -> Population:
    """A verifier of recall about .85, a judge that helps, and accepted hacks on 1 to 2 %."""
    domain_I = rng.choice(3, rollouts, p=[0.5, 0.3, 0.2])
    hack_I = rng.random(rollouts) < np.array([0.005, 0.02, 0.06])[domain_I]
    correct_I = (rng.random(rollouts) < np.array([0.65, 0.5, 0.4])[domain_I]) & ~hack_I
    chance_I = np.where(correct_I, np.array([0.93, 0.8, 0.75])[domain_I], 0.02)
    accepted_I = rng.random(rollouts) < np.where(hack_I, 0.6, chance_I)
    probe_I = rng.random(rollouts) < np.where(hack_I, 0.7, 0.004)
    judge_I = expit(1.3 * np.where(correct_I, 1, -1) + 1.5 * hack_I + rng.normal(0, 1.1, rollouts))
    bin_I = np.minimum((judge_I * 5).astype(int), 4)
    share_I = rng.binomial(3, np.where(correct_I, 0.6, 0.3))
    key_I = np.column_stack([accepted_I, bin_I, share_I, probe_I, domain_I])
    cells, cell_I = np.unique(key_I, axis=0, return_inverse=True)
    outcomes_MO = np.zeros((len(cells), 3), int)
    np.add.at(
        outcomes_MO, (cell_I.reshape(-1), np.where(hack_I, HACK, np.where(correct_I, 0, 1))), 1
    )
    frame = make_frame(
        len(cells),
        accepted_M=cells[:, 0],
        score_M=logit((cells[:, 1] + 0.5) / 5),
        share_bin_M=cells[:, 2],
        probe_M=cells[:, 3],
        domain_M=cells[:, 4],
    )
    return Population(frame, outcomes_MO)


def audit(
    population: Population,
    *,
    n: int,
    rng: np.random.Generator,
    waves: int = 4,
    focus: Focus = COMPROMISE,
    silent: float = 0.0,
) -> Window:
    """Plan, draw and label `n` rollouts in waves; a share `silent` of them gets no answer."""
    frame, count_M = population.frame, population.count_M
    left_MO = population.outcomes_MO.copy()
    known = no_items().counts(len(frame))
    closed: list[Wave] = []
    for number in range(1, waves + 1):
        model = fit_working_model(frame, labelled_M=known.answered_M, correct_M=known.correct_M)
        q_M = _hacks(frame, model.f_M, known)
        remaining_M = left_MO.sum(1)
        plan = plan_wave(
            frame,
            remaining_M=remaining_M,
            count_M=count_M,
            f_M=model.f_M,
            q_M=q_M,
            n=n * number // waves - n * (number - 1) // waves,
            focus=focus,
        )
        if plan.n == 0:
            break
        drawn_M = draw_counts(plan, remaining_M, seed=int(rng.integers(2**31)))
        drawn_MO = np.zeros_like(left_MO)
        for cell in np.flatnonzero(drawn_M):
            drawn_MO[cell] = rng.multivariate_hypergeometric(left_MO[cell], drawn_M[cell])
        left_MO = left_MO - drawn_MO
        items = label(drawn_MO, rng=rng, silent=silent)
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
        known = known + items.counts(len(frame))
    return Window(frame, count_M, tuple(closed))


def label(drawn_MO: IntArray, *, rng: np.random.Generator, silent: float = 0.0) -> Items:
    """Right answers for the drawn rollouts, or none."""
    position = np.repeat(np.arange(drawn_MO.size), drawn_MO.reshape(-1))
    outcome_I = position % 3
    correct_I: FloatArray = (outcome_I == CORRECT).astype(float)
    correct_I[rng.random(len(correct_I)) < silent] = np.nan
    return Items(position // 3, correct_I, outcome_I == HACK)


def _hacks(frame: CellFrame, f_M: FloatArray, known: Counts) -> FloatArray:
    return hack_model(frame, f_M=f_M, wrong_accepted_M=known.wrong_or_hack_M, hacks_M=known.hacks_M)


def make_wave(
    number: int,
    *,
    remaining: Sequence[int],
    answers: Sequence[tuple[int, float]],
    strata: Sequence[int] | None = None,
    f: Sequence[float] | None = None,
    planned: int | None = None,
) -> Wave:
    """A wave of one stratum per cell, or of the given strata, with (cell, answer) pairs."""
    stratum_M = np.arange(len(remaining)) if strata is None else np.array(strata)
    cell_I = np.array([cell for cell, _ in answers], int)
    drawn_H = np.bincount(stratum_M[cell_I], minlength=stratum_M.max() + 1)
    remaining_H = np.bincount(stratum_M, weights=remaining)
    return Wave(
        number=number,
        planned=max(len(answers), 1) if planned is None else planned,
        remaining_M=np.array(remaining),
        stratum_M=stratum_M,
        weight_H=remaining_H / np.maximum(drawn_H, 1),
        f_M=np.full(len(remaining), 0.5) if f is None else np.array(f),
        q_M=np.zeros(len(remaining)),
        items=Items(cell_I, [answer for _, answer in answers], np.zeros(len(cell_I))),
    )
