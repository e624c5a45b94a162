"""Advantages of rollouts, of their steps, or of their tokens.

Sources: group statistics GRPO (arXiv:2402.03300, sec. 4.1.2), steps the same, sec. 4.1.3; centred
Dr. GRPO (arXiv:2503.20783, sec. 3.2); leave-one-out RLOO (arXiv:2402.14740); pass@k training
(arXiv:2508.10751, its analytical form); generalised advantages (arXiv:1506.02438, eq. 16), with
the KL in the reward (arXiv:2203.02155, eq. 2). Deviations from them:

1. Statistics are in float64, of rewards less the smallest of their group. In float32 eight rewards
   of 0.91 have a standard deviation of 6e-8 instead of 0, and dividing by it turns rounding noise
   into advantages.
2. The standard deviation is the population's (divided by n). The paper does not say which; most
   trainers use the sample's, which scales every advantage by sqrt((n - 1) / n).
3. No epsilon is added to the standard deviation. A group at or below `min_std` has no advantage at
   all instead of a very large one.
4. A rollout or step that is left out (`kept` false: nobody could tell whether it was right) has
   advantage 0 and takes no part in its group's statistics.
5. Rollouts end at the length budget: no value is taken of what might have followed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from trainer.objectives import Objective

# B = prompts of a batch, G = rollouts of a prompt's group, S = steps of a rollout,
# N = rows (rollouts), T = tokens of a completion, right-padded, K = successes 0..G

MIN_STD = 1e-4


def outcome_advantages(
    reward_BG: Tensor,
    kept_BG: Tensor,
    *,
    objective: Objective,
    class_id_BG: Tensor | None = None,
) -> Tensor:
    """One advantage per rollout, as the objective says; float64 of shape (B, G).

    class_id_BG: answer classes, which "expected" wants. Raises ValueError when that is missing,
    and for the two kinds that are not of whole rollouts, "steps" and "gae".
    """
    match objective.advantage:
        case "group":
            return group_advantages(reward_BG, kept_BG, std_floor=objective.std_floor)
        case "centred":
            return centred_advantages(reward_BG, kept_BG)
        case "leave-one-out":
            return leave_one_out_advantages(reward_BG, kept_BG)
        case "pass-at-k":
            return pass_at_k_advantages(reward_BG, kept_BG, k=objective.k)
        case "expected" if class_id_BG is not None:
            return expected_advantages(reward_BG, class_id_BG, kept_BG)
        case "expected":
            raise ValueError("expected advantages want the answer classes")
    raise ValueError(f"{objective.advantage!r} makes no advantages of whole rollouts")


def group_advantages(
    reward_BG: Tensor, kept_BG: Tensor, *, min_std: float = MIN_STD, std_floor: float = 0.0
) -> Tensor:
    """(r - mean) / std within each group, over its kept rollouts; float64 of shape (B, G).

    reward_BG: rewards; what stands where `kept_BG` is false is ignored, NaN included.
    kept_BG: boolean, false for a rollout that is left out of its group.
    min_std: groups whose rewards vary no more than this have exactly zero advantage.
    std_floor: the divisor is at least this. For rewards that are probabilities (posterior tables:
        0.3), where plain division would blow up tiny differences in all-wrong groups.

    A group with one kept rollout or none has zero advantage.
    Raises ValueError when the shapes differ or a kept reward is not finite.
    """
    centred_BG = centred_advantages(reward_BG, kept_BG)
    variance_B1 = centred_BG.square().sum(dim=1, keepdim=True) / _sizes(kept_BG)
    std_B1 = variance_B1.sqrt()
    divisor_B1 = std_B1.clamp_min(max(std_floor, min_std))
    return torch.where(std_B1 > min_std, centred_BG / divisor_B1, 0.0)


def centred_advantages(reward_BG: Tensor, kept_BG: Tensor) -> Tensor:
    """r - mean within each group, over its kept rollouts; float64 of shape (B, G).

    Arguments and errors as in `group_advantages`.
    """
    above_BG = _above_lowest(reward_BG, kept_BG)
    mean_B1 = above_BG.sum(dim=1, keepdim=True) / _sizes(kept_BG)
    return torch.where(kept_BG, above_BG - mean_B1, 0.0)


def leave_one_out_advantages(reward_BG: Tensor, kept_BG: Tensor) -> Tensor:
    """r - mean of the group's other kept rollouts; float64 of shape (B, G).

    Arguments and errors as in `group_advantages`. A rollout without others has advantage 0.
    """
    n_B1 = _sizes(kept_BG)
    return centred_advantages(reward_BG, kept_BG) * n_B1 / (n_B1 - 1).clamp_min(1)


def pass_at_k_advantages(reward_BG: Tensor, kept_BG: Tensor, *, k: int) -> Tensor:
    """Of a rollout, the mean advantage of all sets of k rollouts that it is in; (B, G).

    A set is worth 1 if one of its rollouts is right; sets are normalised as groups are. Of n kept
    rollouts with w wrong ones, m = 1 - C(w, k) / C(n, k) and s = sqrt(m (1 - m)), a right one has
    (1 - m) / s and a wrong one (1 - m - C(w - 1, k - 1) / C(n - 1, k - 1)) / s; 0 where s is 0 or
    n is below k.

    Arguments as in `group_advantages`. Raises ValueError as well for a kept reward that is neither
    0 nor 1: of probabilities no set's worth is known.
    """
    _check(reward_BG, kept_BG)
    is_right_BG = kept_BG & (reward_BG == 1)
    if not bool((is_right_BG | ~kept_BG | (reward_BG == 0)).all()):
        raise ValueError("pass@k wants rewards of 0 and 1")
    n_B1 = kept_BG.sum(dim=1, keepdim=True).double()
    wrong_B1 = n_B1 - is_right_BG.sum(dim=1, keepdim=True)
    all_wrong_B1 = _share_of_sets(wrong_B1, n_B1, k)
    others_wrong_B1 = _share_of_sets(wrong_B1 - 1, n_B1 - 1, k - 1)
    std_B1 = (all_wrong_B1 * (1 - all_wrong_B1)).sqrt()
    worth_BG = all_wrong_B1 - torch.where(is_right_BG, 0.0, others_wrong_B1)
    return torch.where(kept_BG & (std_B1 > 0), worth_BG / std_B1.clamp_min(1e-300), 0.0)


def expected_advantages(p_BG: Tensor, class_id_BG: Tensor, kept_BG: Tensor) -> Tensor:
    """The mean of `group_advantages` over what may be true; float64 of shape (B, G).

    Answers are right or wrong class by class, independently, each class with the mean
    probability of its kept rollouts. The mean over all 2^classes truths is exact.

    p_BG: P(correct) of each rollout.
    class_id_BG: integers; equal ones of 0 or more within a group are one class, and a negative
        one is a rollout in no class (a hedge, a hack probe's hit).
    kept_BG: as in `group_advantages`.
    A group of equal probabilities has exactly zero advantage. Raises ValueError when shapes differ
    or a kept probability is not in [0, 1].
    """
    _check(class_id_BG, kept_BG)
    above_BG = _above_lowest(p_BG, kept_BG)
    p_BG = torch.where(kept_BG, p_BG.double(), 0.0)
    if not bool(((p_BG >= 0) & (p_BG <= 1)).all()):
        raise ValueError("a kept probability is not in [0, 1]")
    is_same_BGG = _same_class(class_id_BG, kept_BG)
    size_BG = is_same_BGG.sum(dim=2)
    class_p_BG = (is_same_BGG * p_BG[:, None, :]).sum(dim=2) / size_BG.clamp_min(1)
    others_BGK = _successes_of_others(class_p_BG, size_BG, is_same_BGG)
    n_B11 = kept_BG.sum(dim=1)[:, None, None]
    right_K = torch.arange(kept_BG.shape[1] + 1, device=p_BG.device, dtype=torch.float64)
    with_own_BGK = right_K + size_BG[..., None]
    if_right_BGK = ((n_B11 - with_own_BGK).clamp_min(0) / with_own_BGK.clamp_min(1)).sqrt()
    if_wrong_BGK = -(right_K / (n_B11 - right_K).clamp_min(1)).sqrt()
    p_BG1 = class_p_BG[..., None]
    mean_BG = (others_BGK * (p_BG1 * if_right_BGK + (1 - p_BG1) * if_wrong_BGK)).sum(dim=2)
    varies_B1 = above_BG.any(dim=1, keepdim=True)
    return torch.where(kept_BG & varies_B1, mean_BG, 0.0)


def step_advantages(
    reward_BGS: Tensor,
    kept_BGS: Tensor,
    end_BGS: Tensor,
    *,
    length: int,
    min_std: float = MIN_STD,
    std_floor: float = 0.0,
) -> Tensor:
    """Of a token, the sum of the normalised rewards of the steps that end at or after it.

    Process supervision: rewards are normalised together over all steps of all rollouts of the
    group. float64 of shape (B, G, length).

    reward_BGS: rewards of steps; what stands where `kept_BGS` is false is ignored.
    kept_BGS: false for a step that is left out (undecided, or padding).
    end_BGS: index of the step's last token, below `length`.
    min_std, std_floor: as in `group_advantages`, of the group's steps.
    Raises ValueError when shapes differ, a kept reward is not finite or a kept step ends outside.
    """
    _check(end_BGS, kept_BGS)
    end_BGS = torch.where(kept_BGS, end_BGS, 0)
    if not bool(((end_BGS >= 0) & (end_BGS < length)).all()):
        raise ValueError(f"a step ends outside the {length} tokens")
    step_BGS = group_advantages(
        reward_BGS.flatten(1), kept_BGS.flatten(1), min_std=min_std, std_floor=std_floor
    ).view(reward_BGS.shape)
    at_end_BGT = step_BGS.new_zeros(*reward_BGS.shape[:2], length)
    at_end_BGT.scatter_add_(2, end_BGS, step_BGS)
    return at_end_BGT.flip(2).cumsum(2).flip(2)


@dataclass(frozen=True, slots=True)
class TokenAdvantages:
    """Advantages, and the returns that the critic should have foretold; float64, 0 outside."""

    advantage_NT: Tensor
    return_NT: Tensor


def gae(
    reward_N: Tensor,
    kept_N: Tensor,
    value_NT: Tensor,
    mask_NT: Tensor,
    *,
    objective: Objective,
    kl_NT: Tensor | None = None,
) -> TokenAdvantages:
    """Generalised advantages: A_t = sum over l of (gamma lambda)^l d_(t + l), with
    d_t = r_t + gamma V_(t + 1) - V_t.

    reward_N: of the whole rollout, paid at its last token; ignored where `kept_N` is false.
    kept_N: false for a rollout that nobody could judge: it has neither advantage nor return, and
        belongs in no loss.
    value_NT: the critic's value before each token; nothing is expected behind the last.
    mask_NT: true for a completion's tokens, which begin the row and are one run.
    kl_NT: log(policy / reference) of each sampled token, taken from its reward `objective.kl`
        times; wanted where that is above 0.
    Raises ValueError when that is missing, the mask has gaps, or something kept is not finite.
    """
    if bool((mask_NT[:, 1:] & ~mask_NT[:, :-1]).any()):
        raise ValueError("the mask has gaps")
    kept_NT = mask_NT & kept_N[:, None]
    value_NT = torch.where(kept_NT, value_NT.detach().double(), 0.0)
    reward_NT = torch.where(
        _is_last(mask_NT) & kept_NT, reward_N.double()[:, None].expand(mask_NT.shape), 0.0
    )
    if kl_NT is not None:
        reward_NT = reward_NT - objective.kl * torch.where(kept_NT, kl_NT.double(), 0.0)
    elif objective.kl > 0:
        raise ValueError("a KL term in the reward wants the reference policy's log-probabilities")
    if not bool((torch.isfinite(reward_NT) & torch.isfinite(value_NT)).all()):
        raise ValueError("a kept reward or value is not finite")
    next_NT = pad(value_NT[:, 1:], (0, 1))
    delta_NT = reward_NT + objective.gamma * next_NT - value_NT
    advantage_NT = _discounted_sums(delta_NT, objective.gamma * objective.gae_lambda)
    return TokenAdvantages(advantage_NT, advantage_NT + value_NT)


def _check(value: Tensor, kept: Tensor) -> None:
    if value.shape != kept.shape:
        raise ValueError(f"rewards {tuple(value.shape)} and kept {tuple(kept.shape)} differ")


def _above_lowest(reward_BG: Tensor, kept_BG: Tensor) -> Tensor:
    """Rewards less the smallest kept one of their group: equal ones are exactly 0.

    Raises ValueError when the shapes differ or a kept reward is not finite.
    """
    _check(reward_BG, kept_BG)
    reward_BG = torch.where(kept_BG, reward_BG.double(), torch.inf)
    # Groups of no rollouts have a smallest reward as well.
    lowest_B1 = pad(reward_BG, (0, 1), value=torch.inf).amin(dim=1, keepdim=True)
    above_BG = torch.where(kept_BG, reward_BG - lowest_B1, 0.0)
    if not bool(torch.isfinite(above_BG).all()):
        raise ValueError("a kept reward is not finite")
    return above_BG


def _sizes(kept_BG: Tensor) -> Tensor:
    """Kept rollouts of each group, at least 1: (B, 1)."""
    return kept_BG.sum(dim=1, keepdim=True).clamp_min(1)


def _share_of_sets(wrong_B1: Tensor, n_B1: Tensor, k: int) -> Tensor:
    """C(wrong, k) / C(n, k): the share of sets of k that hold wrong ones only; 0 where n < k."""
    share_B1 = torch.ones_like(n_B1)
    for i in range(k):
        share_B1 = share_B1 * (wrong_B1 - i).clamp_min(0) / (n_B1 - i).clamp_min(1)
    return share_B1


def _same_class(class_id_BG: Tensor, kept_BG: Tensor) -> Tensor:
    """Whether two kept rollouts are of one class, each of its own at least: (B, G, G)."""
    is_equal_BGG = class_id_BG[:, :, None] == class_id_BG[:, None, :]
    is_equal_BGG = is_equal_BGG & (class_id_BG >= 0)[:, :, None]
    is_self_GG = torch.eye(class_id_BG.shape[1], dtype=torch.bool, device=class_id_BG.device)
    return (is_equal_BGG | is_self_GG) & kept_BG[:, :, None] & kept_BG[:, None, :]


def _successes_of_others(class_p_BG: Tensor, size_BG: Tensor, is_same_BGG: Tensor) -> Tensor:
    """P(K rollouts of the classes other than a rollout's own are right): (B, G, K)."""
    n_groups, n_rollouts = class_p_BG.shape
    is_earlier_GG = torch.ones_like(is_same_BGG[0]).tril(-1)
    is_first_BG = is_same_BGG.any(dim=2) & ~(is_same_BGG & is_earlier_GG).any(dim=2)
    chance_BGK = class_p_BG.new_zeros(n_groups, n_rollouts, n_rollouts + 1)
    chance_BGK[..., 0] = 1.0
    k_K = torch.arange(n_rollouts + 1, device=class_p_BG.device)
    for j in range(n_rollouts):
        is_other_BG = is_first_BG[:, j, None] & ~is_same_BGG[:, :, j]
        p_BG1 = (class_p_BG[:, j, None] * is_other_BG)[..., None]
        from_BK = k_K - size_BG[:, j, None]
        from_BGK = from_BK.clamp_min(0)[:, None, :].expand_as(chance_BGK)
        moved_BGK = torch.where((from_BK >= 0)[:, None, :], chance_BGK.gather(2, from_BGK), 0.0)
        chance_BGK = chance_BGK + p_BG1 * (moved_BGK - chance_BGK)
    return chance_BGK


def _is_last(mask_NT: Tensor) -> Tensor:
    return mask_NT & ~pad(mask_NT[:, 1:], (0, 1))


def _discounted_sums(value_NT: Tensor, discount: float) -> Tensor:
    """Of each token, its value plus the discounted sums of those behind it."""
    sums_NT = value_NT.clone()
    for t in range(value_NT.shape[1] - 2, -1, -1):
        sums_NT[:, t] += discount * sums_NT[:, t + 1]
    return sums_NT
