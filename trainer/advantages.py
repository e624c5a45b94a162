"""Group-relative advantages of GRPO (arXiv:2402.03300, sec. 4.1.2).

Deviations from the paper:

1. Statistics are in float64. In float32 eight rewards of 0.91 have a standard deviation of 6e-8
   instead of 0, and dividing by it turns rounding noise into advantages.
2. The standard deviation is the population's (divided by n). The paper does not say which; most
   trainers use the sample's, which scales every advantage by sqrt((n - 1) / n).
3. No epsilon is added to the standard deviation. A group at or below `min_std` has no advantage at
   all instead of a very large one.
4. A rollout that is left out (`kept` false: nobody could tell whether it was right) has advantage
   0 and takes no part in its group's mean and standard deviation.
"""

import torch
from torch import Tensor

# B = prompts of a batch, G = rollouts of a prompt's group


def group_advantages(
    reward_BG: Tensor, kept_BG: Tensor, *, min_std: float = 1e-4, std_floor: float = 0.0
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
    if reward_BG.shape != kept_BG.shape:
        raise ValueError(f"rewards {tuple(reward_BG.shape)} and kept {tuple(kept_BG.shape)} differ")
    reward_BG = torch.where(kept_BG, reward_BG.double(), 0.0)
    if not bool(torch.isfinite(reward_BG).all()):
        raise ValueError("a kept reward is not finite")
    n_B1 = kept_BG.sum(dim=1, keepdim=True).clamp_min(1)
    mean_B1 = reward_BG.sum(dim=1, keepdim=True) / n_B1
    centred_BG = torch.where(kept_BG, reward_BG - mean_B1, 0.0)
    std_B1 = (centred_BG.square().sum(dim=1, keepdim=True) / n_B1).sqrt()
    divisor_B1 = std_B1.clamp_min(max(std_floor, min_std))
    return torch.where(std_B1 > min_std, centred_BG / divisor_B1, 0.0)
