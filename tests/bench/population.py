"""The reference population: a synthetic GRPO run of 200,000 rollouts whose truth is known.

20,000 prompts of four domains, ten rollouts each. A rollout is correct, wrong, or a hack (wrong,
and made to be accepted). Equal answers to a prompt form a class. The verifier decides by class
and misses most answers in an unusual form; some references are wrong; hacks get through by luck.
A judge scores each rollout with errors that prompts and classes share, and likes hacks.

Shape suffixes: P = prompts, G = rollouts of a prompt, C = answer classes, D = domains, S = steps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from review.stats.cells import BoolArray, FloatArray, IntArray
from tests.stats.population import CORRECT, HACK, WRONG, Population, make_frame

PROMPTS, GROUP = 20_000, 10
# Numeric, expression, code, free text.
DOMAIN_SHARES_D = (0.35, 0.30, 0.20, 0.15)
EASE_D = np.array([1.0, -0.2, 0.0, 0.2])
UNUSUAL_FORM_D = np.array([0.06, 0.42, 0.06, 0.26])
CODE, FREE_TEXT = 2, 3
# The policy learns to hack the tests of its code.
CODE_HACKS_S = np.array([0.02, 0.05, 0.085, 0.12, 0.16])
ACCEPTS_USUAL_D = np.array([0.99, 0.97, 0.96, 0.95])
ACCEPTS_UNUSUAL_D = np.array([0.55, 0.42, 0.60, 0.35])
ACCEPTS_WRONG_D = np.array([0.008, 0.012, 0.03, 0.02])
ACCEPTS_HACK = 0.6
WRONG_REFERENCE = 0.012
JUDGE_STRENGTH = 0.68  # AUC .88
JUDGE_STRENGTH_D = np.array([2.0, 1.7, 1.5, 1.1])
SCORE_BINS = 10

# Codes of answers in a prompt: correct ones by form (0 is the usual), wrong ones by popularity (a
# wrong reference names the most popular), wrong ones that hardly anyone repeats, and hacks.
UNUSUAL, POPULAR_WRONG, RARE_WRONG, HACKS, END = 1, 10, 20, 5000, 10_000


@dataclass(frozen=True, slots=True)
class Answers:
    """Each rollout's truth, and the classes of equal answers to a prompt."""

    domain_P: IntArray
    is_correct_PG: BoolArray
    is_hack_PG: BoolArray
    class_PG: IntArray
    prompt_C: IntArray
    code_C: IntArray
    size_C: IntArray


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Every rollout of the run: what is true of it, and what the machine sees.

    score_PG: the judge's logits. share_PG: the class's share of its group.
    """

    domain_P: IntArray
    is_correct_PG: BoolArray
    is_hack_PG: BoolArray
    class_PG: IntArray
    is_accepted_PG: BoolArray
    score_PG: FloatArray
    share_PG: FloatArray
    is_probe_PG: BoolArray

    @property
    def outcome_PG(self) -> IntArray:  # noqa: N802
        return np.where(self.is_hack_PG, HACK, np.where(self.is_correct_PG, CORRECT, WRONG))


def reference_rollouts(seed: int, *, judge_strength: float = JUDGE_STRENGTH) -> Rollouts:
    rng = np.random.default_rng(seed)
    answers = _answers(rng)
    is_accepted_PG = _verdicts(answers, rng)
    score_PG = _scores(answers, judge_strength, rng)
    is_probe_PG = np.where(
        answers.is_hack_PG,
        rng.random((PROMPTS, GROUP)) < 0.7,
        rng.random((PROMPTS, GROUP)) < 0.004,
    )
    return Rollouts(
        domain_P=answers.domain_P,
        is_correct_PG=answers.is_correct_PG,
        is_hack_PG=answers.is_hack_PG,
        class_PG=answers.class_PG,
        is_accepted_PG=is_accepted_PG,
        score_PG=score_PG,
        share_PG=answers.size_C[answers.class_PG] / GROUP,
        is_probe_PG=is_probe_PG,
    )


def reference_population(seed: int, *, judge_strength: float = JUDGE_STRENGTH) -> Population:
    """The run in cells of domain, verdict, score decile, share of the group, and probe hit."""
    rollouts = reference_rollouts(seed, judge_strength=judge_strength)
    deciles = np.quantile(rollouts.score_PG, np.arange(1, SCORE_BINS) / SCORE_BINS)
    return _counted(
        domain=np.repeat(rollouts.domain_P, GROUP),
        accepted=rollouts.is_accepted_PG,
        score_bin=np.searchsorted(deciles, rollouts.score_PG),
        share_bin=np.digitize(rollouts.share_PG, [0.15, 0.35, 0.65]),
        probe=rollouts.is_probe_PG,
        score=rollouts.score_PG,
        outcome=rollouts.outcome_PG,
    )


def _answers(rng: np.random.Generator) -> Answers:
    domain_P = rng.choice(4, PROMPTS, p=DOMAIN_SHARES_D)
    step_P = rng.integers(0, 5, PROMPTS)
    ease_P = rng.normal(EASE_D[domain_P], 1.8) + 0.25 * step_P - 0.5
    mean_P = UNUSUAL_FORM_D[domain_P]
    unusual_P = rng.beta(mean_P * 3, (1 - mean_P) * 3)
    hacks_P = np.where(domain_P == FREE_TEXT, 0.02, 0.001)
    hacks_P = np.where(domain_P == CODE, CODE_HACKS_S[step_P], hacks_P)
    all_PG = (PROMPTS, GROUP)
    is_correct_PG = rng.random(all_PG) < expit(ease_P)[:, None]
    is_hack_PG = rng.random(all_PG) < hacks_P[:, None]
    is_correct_PG &= ~is_hack_PG
    is_unusual_PG = rng.random(all_PG) < unusual_P[:, None]
    right_PG = np.where(is_unusual_PG, UNUSUAL + rng.integers(0, 3, all_PG), 0)
    popularity = 1 / np.arange(1, 9) ** 1.3
    wrong_PG = POPULAR_WRONG + rng.choice(8, all_PG, p=popularity / popularity.sum())
    is_rare_PG = rng.random(all_PG) < 0.30
    wrong_PG = np.where(is_rare_PG, RARE_WRONG + rng.integers(0, 1000, all_PG), wrong_PG)
    code_PG = np.where(is_correct_PG, right_PG, wrong_PG)
    code_PG = np.where(is_hack_PG, HACKS + rng.integers(0, 2, all_PG), code_PG)
    key_C, class_I, size_C = np.unique(
        np.arange(PROMPTS)[:, None] * END + code_PG, return_inverse=True, return_counts=True
    )
    return Answers(
        domain_P=domain_P,
        is_correct_PG=is_correct_PG,
        is_hack_PG=is_hack_PG,
        class_PG=class_I.reshape(all_PG),
        prompt_C=key_C // END,
        code_C=key_C % END,
        size_C=size_C,
    )


def _verdicts(answers: Answers, rng: np.random.Generator) -> BoolArray:
    """The verifier's verdict on each class of answers; on hacks, one for each rollout."""
    code_C, domain_C = answers.code_C, answers.domain_P[answers.prompt_C]
    is_reference_wrong_C = (rng.random(PROMPTS) < WRONG_REFERENCE)[answers.prompt_C]
    is_right_C = code_C < POPULAR_WRONG
    chance_C = np.where(is_right_C, ACCEPTS_UNUSUAL_D[domain_C], ACCEPTS_WRONG_D[domain_C])
    chance_C = np.where(code_C == 0, ACCEPTS_USUAL_D[domain_C], chance_C)
    is_accepted_C = rng.random(len(code_C)) < chance_C
    is_accepted_C &= ~(is_reference_wrong_C & is_right_C)
    is_accepted_C |= is_reference_wrong_C & (code_C == POPULAR_WRONG)
    is_lucky_PG = rng.random((PROMPTS, GROUP)) < ACCEPTS_HACK
    return np.where(answers.is_hack_PG, is_lucky_PG, is_accepted_C[answers.class_PG])


def _scores(answers: Answers, strength: float, rng: np.random.Generator) -> FloatArray:
    """The judge's logits."""
    error_C = rng.normal(0, 0.7, len(answers.code_C))
    error_P = rng.normal(0, 0.7, PROMPTS)
    error_PG = error_P[:, None] + error_C[answers.class_PG] + rng.normal(0, 0.8, (PROMPTS, GROUP))
    strength_PG = strength * JUDGE_STRENGTH_D[answers.domain_P][:, None]
    liked_PG = 0.3 + 1.8 * answers.is_hack_PG
    return strength_PG * np.where(answers.is_correct_PG, 1, -1) + liked_PG + error_PG


def _counted(
    *, score: FloatArray, outcome: IntArray, **features: NDArray[np.generic]
) -> Population:
    """Rollouts counted by cell and outcome; a cell's score is the mean logit of its rollouts."""
    key = np.column_stack([column.reshape(-1) for column in features.values()])
    code = np.ravel_multi_index(tuple(key.T), tuple(key.max(0) + 1))
    _, first, cell = np.unique(code, return_index=True, return_inverse=True)
    outcomes_MO = np.zeros((len(first), 3), int)
    np.add.at(outcomes_MO, (cell, outcome.reshape(-1)), 1)
    columns = dict(zip(features, key[first].T, strict=True))
    frame = make_frame(
        len(first),
        accepted_M=columns["accepted"],
        score_M=np.bincount(cell, weights=score.reshape(-1)) / outcomes_MO.sum(1),
        share_bin_M=columns["share_bin"],
        probe_M=columns["probe"],
        domain_M=columns["domain"],
    )
    return Population(frame, outcomes_MO)
