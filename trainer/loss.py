"""The losses of policy and critic, in parts that add up.

A loss is divided by figures of the whole minibatch (`Normaliser`), not of the rows given: losses
and gradients of micro-batches, and of processes, sum to those of the minibatch. Where gradients
are averaged over processes instead, the loss has to be multiplied by their number.

Sources: clipped surrogate PPO (arXiv:1707.06347, eq. 7); k3 to the reference policy and means of
sequences GRPO (arXiv:2402.03300, eq. 3 and 4); constant divisor Dr. GRPO (arXiv:2503.20783,
sec. 3.2); means over tokens and the two-sided clip range DAPO (arXiv:2503.14476, eq. 8); ratio of
sequences GSPO (arXiv:2507.18071, eq. 5 and 7); weighted log-probabilities CISPO (arXiv:2506.13585,
eq. 4). Deviations from them:

1. A log-ratio is clamped to +-20 before the exponential, so that one broken token cannot make the
   whole batch infinite. Beyond that neither ratio nor divergence pulls at the token. GSPO's mean
   log-ratio is of the clamped ones.
2. The mean is over one minibatch; the papers' is over the whole batch. Rows whose advantage is 0
   add no gradient where there is no KL term: callers need not run them through the model, but
   count them in the normaliser.
3. k3 is differentiated as it stands (DeepSeekMath). Some trainers weight it by the policy ratio.
4. Where advantages differ from token to token, a sequence's ratio takes their mean (GSPO's own
   form for tokens stops the gradient at the other tokens).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.objectives import Objective

# N = rows (completions), T = tokens of a completion, right-padded

MAX_LOG_RATIO = 20.0


@dataclass(frozen=True, slots=True)
class Normaliser:
    """What a minibatch holds, over all its micro-batches and processes.

    n_rows: completions that count, those without advantage included. n_tokens: their tokens.
    budget: the most tokens that a completion may have.
    """

    n_rows: int
    n_tokens: int
    budget: int

    def __post_init__(self) -> None:
        """Raises ValueError when nothing is left to average over."""
        if min(self.n_rows, self.n_tokens, self.budget) < 1:
            raise ValueError(f"a batch without tokens has no loss: {self}")

    @classmethod
    def of(cls, mask_NT: Tensor, *, budget: int) -> "Normaliser":
        """Of one minibatch that is at hand as a whole."""
        return cls(n_rows=len(mask_NT), n_tokens=int(mask_NT.sum()), budget=budget)


class Sums(NamedTuple):
    """Sums over the tokens of the rows given, float64 and detached: add them up over micro-batches
    and processes, then divide by `tokens`.

    clipped: tokens whose gradient the clipping removed (CISPO: whose weight it cut).
    k1, k3: KL(sampling policy || this one) by -log ratio (unbiased, can be negative) and by
    ratio - 1 - log ratio (unbiased, never negative). reference_kl: k3 of KL(this policy ||
    reference), 0 without one.
    """

    tokens: Tensor
    clipped: Tensor
    k1: Tensor
    k3: Tensor
    reference_kl: Tensor


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """The loss to minimise and what it says about the update."""

    loss: Tensor
    sums: Sums


def policy_loss(
    logprob_NT: Tensor,
    old_logprob_NT: Tensor,
    advantage: Tensor,
    mask_NT: Tensor,
    *,
    objective: Objective,
    normaliser: Normaliser,
    reference_logprob_NT: Tensor | None = None,
    importance_NT: Tensor | None = None,
) -> PolicyLoss:
    """Minus the objective's surrogate, plus its weight of k3 to the reference policy.

    logprob_NT: log-probabilities (nats) of the sampled tokens under the policy being trained.
    old_logprob_NT: the same under the policy that sampled them, at the same temperature.
    advantage: (N,), the same for all tokens of a completion, or (N, T).
    mask_NT: true for the tokens that count, a completion's end token included. What stands
        elsewhere is never read.
    reference_logprob_NT: under the reference policy; wanted where the objective has a KL term.
    importance_NT: detached weights of the surrogate, see `truncated_importance`.
    Half-precision log-probabilities are taken to float32. Raises ValueError when the reference
    policy is wanted and missing.
    """
    logprob_NT = _where(mask_NT, logprob_NT)
    log_ratio_NT = _log_ratio(logprob_NT, _where(mask_NT, old_logprob_NT))
    advantage = advantage.to(logprob_NT)
    advantage = advantage[:, None] if advantage.ndim == 1 else _where(mask_NT, advantage)
    surrogate_NT, is_clipped_NT = _surrogate(
        logprob_NT, log_ratio_NT, advantage, mask_NT, objective
    )
    if importance_NT is not None:
        surrogate_NT = surrogate_NT * _where(mask_NT, importance_NT)
    loss_NT = -surrogate_NT
    reference_kl_NT = torch.zeros_like(logprob_NT)
    if reference_logprob_NT is not None:
        reference_kl_NT = _k3(_log_ratio(_where(mask_NT, reference_logprob_NT), logprob_NT))
    elif objective.loss_kl > 0:
        raise ValueError("a KL term wants the reference policy's log-probabilities")
    if objective.loss_kl > 0:
        loss_NT = loss_NT + objective.loss_kl * reference_kl_NT
    with torch.no_grad():
        sums = Sums(
            tokens=_total(mask_NT),
            clipped=_total(is_clipped_NT & mask_NT),
            k1=_total(-log_ratio_NT),
            k3=_total(_k3(log_ratio_NT)),
            reference_kl=_total(reference_kl_NT),
        )
    return PolicyLoss(_aggregated(loss_NT, mask_NT, objective.aggregation, normaliser), sums)


def truncated_importance(
    old_logprob_NT: Tensor, sampled_logprob_NT: Tensor, mask_NT: Tensor, *, cap: float = 2.0
) -> Tensor:
    """min(old / sampled, cap): what corrects for a sampling engine other than the trainer's.

    old_logprob_NT: log-probabilities of the sampled tokens by the training engine, before the
    first update; sampled_logprob_NT: as the sampling engine gave them. 1 outside the mask;
    detached. Source: truncated importance sampling (Yao et al. 2025); `cap` as in verl.
    """
    log_ratio_NT = _log_ratio(_where(mask_NT, old_logprob_NT), _where(mask_NT, sampled_logprob_NT))
    return log_ratio_NT.detach().exp().clamp_max(cap)


class ValueSums(NamedTuple):
    """Sums over the tokens of the rows given, float64 and detached."""

    tokens: Tensor
    clipped: Tensor
    squared_error: Tensor


@dataclass(frozen=True, slots=True)
class ValueLoss:
    """The critic's loss to minimise, and how far off its values are."""

    loss: Tensor
    sums: ValueSums


def value_loss(
    value_NT: Tensor,
    old_value_NT: Tensor,
    return_NT: Tensor,
    mask_NT: Tensor,
    *,
    clip: float,
    normaliser: Normaliser,
) -> ValueLoss:
    """Half the mean over tokens of the larger squared error: of v, or of v kept near the old one.

    value_NT: values being trained; old_value_NT: those that the advantages were made with;
    return_NT: what they should have been (`advantages.gae`); clip: how far v may move.
    Source: PPO's reference implementation; InstructGPT (arXiv:2203.02155, app. C).
    """
    value_NT, old_NT, return_NT = (
        _where(mask_NT, values) for values in (value_NT, old_value_NT, return_NT)
    )
    near_NT = old_NT + (value_NT - old_NT).clamp(-clip, clip)
    error_NT, near_error_NT = (value_NT - return_NT).square(), (near_NT - return_NT).square()
    loss_NT = 0.5 * torch.maximum(error_NT, near_error_NT)
    with torch.no_grad():
        sums = ValueSums(
            tokens=_total(mask_NT),
            clipped=_total(near_error_NT > error_NT),
            squared_error=_total(error_NT),
        )
    return ValueLoss(_aggregated(loss_NT, mask_NT, "token", normaliser), sums)


def _total(value_NT: Tensor) -> Tensor:
    return value_NT.sum(dtype=torch.float64)


def _where(mask_NT: Tensor, value_NT: Tensor) -> Tensor:
    """The values, at least in float32, and 0 outside the mask, whatever stands there."""
    dtype = torch.promote_types(value_NT.dtype, torch.float32)
    return torch.where(mask_NT, value_NT.to(dtype), 0.0)


def _log_ratio(logprob_NT: Tensor, other_NT: Tensor) -> Tensor:
    return (logprob_NT - other_NT).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def _k3(log_ratio_NT: Tensor) -> Tensor:
    """KL(q || p) of samples from q, by their log(p / q); Schulman's third estimator."""
    return log_ratio_NT.exp() - 1 - log_ratio_NT


def _surrogate(
    logprob_NT: Tensor,
    log_ratio_NT: Tensor,
    advantage: Tensor,
    mask_NT: Tensor,
    objective: Objective,
) -> tuple[Tensor, Tensor]:
    """What is maximised of each token, and which tokens the clipping has changed: (N, T) each."""
    if objective.ratio == "sequence":
        length_N1 = mask_NT.sum(dim=1, keepdim=True).clamp_min(1)
        mean_N1 = log_ratio_NT.sum(dim=1, keepdim=True) / length_N1
        log_ratio_NT = mean_N1.expand_as(log_ratio_NT)
    ratio_NT = log_ratio_NT.exp()
    clipped_NT = ratio_NT.clamp(1 - objective.clip_low, 1 + objective.clip_high)
    if objective.surrogate == "cispo":
        return clipped_NT.detach() * advantage * logprob_NT, clipped_NT != ratio_NT
    plain_NT = ratio_NT * advantage
    if objective.surrogate == "unclipped":
        return plain_NT, torch.zeros_like(mask_NT)
    return torch.minimum(plain_NT, clipped_NT * advantage), clipped_NT * advantage < plain_NT


def _aggregated(
    value_NT: Tensor, mask_NT: Tensor, aggregation: str, normaliser: Normaliser
) -> Tensor:
    """These rows' part of the minibatch's mean."""
    value_NT = torch.where(mask_NT, value_NT, 0.0)
    if aggregation == "sequence":
        mean_N = value_NT.sum(dim=1) / mask_NT.sum(dim=1).clamp_min(1)
        return mean_N.sum() / normaliser.n_rows
    if aggregation == "token":
        return value_NT.sum() / normaliser.n_tokens
    return value_NT.sum() / (normaliser.n_rows * normaliser.budget)
