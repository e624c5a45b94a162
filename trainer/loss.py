"""The clipped policy loss with DAPO's normaliser and clip range (arXiv:2503.14476, eq. 8).

Deviations from the paper:

1. The log-ratio is clamped to +-20 before the exponential, so that one broken token cannot make
   the whole batch infinite.
2. The mean is over the tokens of the rows given, one minibatch; the paper's is over the whole
   batch. Rows without advantage add no gradient, so callers may leave them out; this rescales the
   loss.
3. No KL term (as in DAPO; in GRPO, arXiv:2402.03300, it has a weight). The divergence from the
   policy that sampled is reported.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# N = rows (completions), T = tokens of a completion, right-padded

MAX_LOG_RATIO = 20.0


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """The loss to minimise and what it says about the update, as means over tokens."""

    loss: Tensor
    clip_fraction: float  # tokens whose gradient the clipping removed
    kl_k1: float  # KL(old || new) estimated by -log ratio: unbiased, can be negative
    kl_k3: float  # the same by ratio - 1 - log ratio: unbiased, never negative


def policy_loss(
    logprob_NT: Tensor,
    old_logprob_NT: Tensor,
    advantage_N: Tensor,
    mask_NT: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
) -> PolicyLoss:
    """-mean over tokens of min(w A, clip(w, 1 - clip_low, 1 + clip_high) A), w = new / old.

    logprob_NT: log-probabilities of the sampled tokens under the policy being trained.
    old_logprob_NT: the same under the policy that sampled them, at the same temperature.
    advantage_N: one advantage per completion, the same for all its tokens.
    mask_NT: true for the tokens of the completion, its end token included.
    Raises ValueError when no token is left.
    """
    n_tokens = mask_NT.sum()
    if n_tokens == 0:
        raise ValueError("a batch without tokens has no loss")
    log_ratio_NT = (logprob_NT - old_logprob_NT).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    log_ratio_NT = torch.where(mask_NT, log_ratio_NT, 0.0)
    ratio_NT = log_ratio_NT.exp()
    clipped_NT = ratio_NT.clamp(1 - clip_low, 1 + clip_high)
    advantage_N1 = advantage_N.to(ratio_NT.dtype)[:, None]
    surrogate_NT = torch.minimum(ratio_NT * advantage_N1, clipped_NT * advantage_N1)
    loss = -torch.where(mask_NT, surrogate_NT, 0.0).sum() / n_tokens
    with torch.no_grad():
        is_clipped_NT = (clipped_NT * advantage_N1 < ratio_NT * advantage_N1) & mask_NT
        k3_NT = ratio_NT - 1 - log_ratio_NT
        return PolicyLoss(
            loss=loss,
            clip_fraction=float(is_clipped_NT.sum() / n_tokens),
            kl_k1=float(-log_ratio_NT.sum() / n_tokens),
            kl_k3=float(k3_NT.sum() / n_tokens),
        )
