"""Advantages that trainers make of rewards, for the server, which runs without torch.

The formulas, their sources and their numbered deviations are those of `trainer.advantages`; a test
holds one against the other. Expected advantages are summed in another order here: the classes
behind a class are summed once for all, which takes G^2 instead of G^3 steps for a group of G.

Shape suffixes: N = rollouts, B = groups of one size, G = rollouts of a group, K = right ones, 0..G.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from review.stats.cells import BoolArray, FloatArray, IntArray

# Groups whose rewards vary no more than this have exactly zero advantage.
MIN_STD = 1e-4
# Numbers that one array of expected advantages may hold.
_MOST_NUMBERS = 2**21


class Advantage(StrEnum):
    """How rewards become advantages, by the trainer's names."""

    GROUP = "group"
    CENTRED = "centred"
    LEAVE_ONE_OUT = "leave-one-out"
    EXPECTED = "expected"


@dataclass(frozen=True, slots=True)
class Loss:
    """What a loss does with a group's rewards. std_floor: of "group", the divisor is at least so
    much."""

    advantage: Advantage
    std_floor: float = 0.0

    @property
    def key(self) -> str:
        """Its name: "group", or with a floor "group-0.3"."""
        return f"{self.advantage}-{self.std_floor:g}" if self.std_floor else self.advantage.value

    @property
    def normalises(self) -> bool:
        """Whether it divides by the group's own standard deviation."""
        return self.advantage is Advantage.GROUP and not self.std_floor


def advantages(
    reward_N: FloatArray, group_N: IntArray, class_N: IntArray, loss: Loss
) -> FloatArray:
    """One advantage per rollout.

    reward_N: nan = left out of its group: advantage 0, and no part in its group's statistics.
    group_N: numbers of groups, ascending; groups may be of any sizes.
    class_N: of "expected": equal numbers of 0 or more within a group are one answer class, a
        negative one is a rollout in no class.
    Raises ValueError for "expected" of a reward that is no probability.
    """
    advantage_N = np.zeros(len(reward_N))
    for rows_BG in _groups_of_one_size(group_N):
        reward_BG = reward_N[rows_BG]
        kept_BG = ~np.isnan(reward_BG)
        match loss.advantage:
            case Advantage.GROUP:
                made_BG = group_advantages(reward_BG, kept_BG, std_floor=loss.std_floor)
            case Advantage.CENTRED:
                made_BG = centred_advantages(reward_BG, kept_BG)
            case Advantage.LEAVE_ONE_OUT:
                made_BG = leave_one_out_advantages(reward_BG, kept_BG)
            case Advantage.EXPECTED:
                made_BG = expected_advantages(reward_BG, class_N[rows_BG], kept_BG)
        advantage_N[rows_BG] = made_BG
    return advantage_N


def group_advantages(
    reward_BG: FloatArray, kept_BG: BoolArray, *, std_floor: float = 0.0
) -> FloatArray:
    """(r - mean) / max(std, std_floor) within each group, over its kept rollouts; 0 for groups
    that vary no more than `MIN_STD`. The standard deviation is the population's."""
    centred_BG = centred_advantages(reward_BG, kept_BG)
    std_B1 = np.sqrt(np.square(centred_BG).sum(axis=1, keepdims=True) / _sizes(kept_BG))
    divisor_B1 = np.maximum(std_B1, max(std_floor, MIN_STD))
    return np.where(std_B1 > MIN_STD, centred_BG / divisor_B1, 0.0)


def centred_advantages(reward_BG: FloatArray, kept_BG: BoolArray) -> FloatArray:
    """r - mean within each group, over its kept rollouts: exactly 0 where all are equal."""
    above_BG = _above_lowest(reward_BG, kept_BG)
    mean_B1 = above_BG.sum(axis=1, keepdims=True) / _sizes(kept_BG)
    return np.where(kept_BG, above_BG - mean_B1, 0.0)


def leave_one_out_advantages(reward_BG: FloatArray, kept_BG: BoolArray) -> FloatArray:
    """r - mean of the group's other kept rollouts; 0 where there are none."""
    n_B1 = _sizes(kept_BG)
    return np.asarray(centred_advantages(reward_BG, kept_BG) * n_B1 / np.maximum(n_B1 - 1, 1))


def expected_advantages(p_BG: FloatArray, class_BG: IntArray, kept_BG: BoolArray) -> FloatArray:
    """The mean of `group_advantages` over what may be true: answers are right class by class,
    independently, each class with the mean probability of its kept rollouts. Exact.

    A group of equal probabilities has exactly zero advantage. Raises ValueError for a kept
    probability outside [0, 1].
    """
    p_BG = np.where(kept_BG, p_BG, 0.0)
    if not ((p_BG >= 0) & (p_BG <= 1)).all():
        raise ValueError("a kept probability is not in [0, 1]")
    varies_B1 = _above_lowest(p_BG, kept_BG).any(axis=1, keepdims=True)
    rows = max(1, _MOST_NUMBERS // max(1, p_BG.shape[1] ** 2))
    parts = [
        _mean_over_truths(p_BG[i : i + rows], class_BG[i : i + rows], kept_BG[i : i + rows])
        for i in range(0, len(p_BG), rows)
    ]
    return np.where(kept_BG & varies_B1, np.concatenate(parts), 0.0)


def _mean_over_truths(p_BG: FloatArray, class_BG: IntArray, kept_BG: BoolArray) -> FloatArray:
    """Each class stands at the place of its first rollout. A rollout of a class that is right (or
    wrong) has an advantage that hangs only on how many of the group are right in all: the mean is
    taken over the classes before its own, forwards, and over those behind it, backwards."""
    size = p_BG.shape[1]
    is_same_BGG = _same_class(class_BG, kept_BG)
    members_BG = is_same_BGG.sum(axis=2)
    class_p_BG = (is_same_BGG * p_BG[:, None, :]).sum(axis=2) / np.maximum(members_BG, 1)
    first_BG = is_same_BGG.argmax(axis=2)
    is_first_BG = kept_BG & (first_BG == np.arange(size))
    chance_BG = np.where(is_first_BG, class_p_BG, 0.0)
    places = np.flatnonzero(is_first_BG.any(axis=0))
    right_K = np.arange(size + 1)
    n_B1 = kept_BG.sum(axis=1, keepdims=True)
    if_right_BK = np.sqrt(np.maximum(n_B1 - right_K, 0) / np.maximum(right_K, 1))
    if_wrong_BK = -np.sqrt(right_K / np.maximum(n_B1 - right_K, 1))
    behind = []
    for j in reversed(places):
        # Beyond the group's size nothing is ever right.
        more_BK = np.minimum(right_K + members_BG[:, j, None], size)
        when_right_BK = np.take_along_axis(if_right_BK, more_BK, axis=1)
        behind.append((when_right_BK, if_wrong_BK))
        chance_B1 = chance_BG[:, j, None]
        if_right_BK = if_right_BK + chance_B1 * (when_right_BK - if_right_BK)
        when_wrong_BK = np.take_along_axis(if_wrong_BK, more_BK, axis=1)
        if_wrong_BK = if_wrong_BK + chance_B1 * (when_wrong_BK - if_wrong_BK)
    mean_BG, before_BK = np.zeros(p_BG.shape), np.zeros((len(p_BG), size + 1))
    before_BK[:, 0] = 1.0
    for j, (when_right_BK, when_wrong_BK) in zip(places, reversed(behind), strict=True):
        right_B, wrong_B = ((before_BK * x).sum(axis=1) for x in (when_right_BK, when_wrong_BK))
        mean_BG[:, j] = wrong_B + class_p_BG[:, j] * (right_B - wrong_B)
        fewer_BK = right_K - members_BG[:, j, None]
        moved_BK = np.take_along_axis(before_BK, np.maximum(fewer_BK, 0), axis=1)
        moved_BK = np.where(fewer_BK >= 0, moved_BK, 0.0)
        before_BK = before_BK + chance_BG[:, j, None] * (moved_BK - before_BK)
    return np.take_along_axis(mean_BG, first_BG, axis=1)


def _same_class(class_BG: IntArray, kept_BG: BoolArray) -> BoolArray:
    """Whether two kept rollouts are of one class, each of its own at least: (B, G, G)."""
    is_same_BGG = class_BG[:, :, None] == class_BG[:, None, :]
    is_same_BGG = is_same_BGG & (class_BG >= 0)[:, :, None]
    is_same_BGG = is_same_BGG | np.eye(class_BG.shape[1], dtype=np.bool_)
    return np.asarray(is_same_BGG & kept_BG[:, :, None] & kept_BG[:, None, :])


def _above_lowest(reward_BG: FloatArray, kept_BG: BoolArray) -> FloatArray:
    """Rewards less the smallest kept one of their group: equal ones are exactly 0."""
    lowest_B1 = np.where(kept_BG, reward_BG, np.inf).min(axis=1, keepdims=True)
    # Without a kept rollout there is no lowest.
    lowest_B1 = np.where(np.isfinite(lowest_B1), lowest_B1, 0.0)
    return np.where(kept_BG, reward_BG - lowest_B1, 0.0)


def _sizes(kept_BG: BoolArray) -> IntArray:
    """Kept rollouts of each group, at least 1: (B, 1)."""
    return np.asarray(np.maximum(kept_BG.sum(axis=1, keepdims=True), 1))


def _groups_of_one_size(group_N: IntArray) -> Iterator[IntArray]:
    """Positions of the rollouts, (B, G), of all groups of each size."""
    _, start_B, size_B = np.unique(group_N, return_index=True, return_counts=True)
    for size in np.unique(size_B):
        yield start_B[size_B == size][:, None] + np.arange(size)
