"""The forward pass of training: log-probabilities of sampled tokens, a group's prompt read once."""

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel

from trainer.generation import Completions, positions

# B = prompts, N = rows (completions), L = prompt tokens (left-padded), T = completion tokens
# (right-padded), S = L + T, C = hidden size, V = vocabulary


class Policy(nn.Module):
    """A causal language model, as a loss sees it.

    A module of its own, so that wrappers for several processes see one forward pass a loss.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, completions: Completions, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the completions' tokens and the policy's entropy there: (N, T) each.

        Entropy is in nats and carries no gradient. Values behind a completion's end mean nothing.
        """
        logits_NTV = completion_logits(self.model, completions).float() / temperature
        normaliser_NT = logits_NTV.logsumexp(dim=-1)
        chosen_NT = logits_NTV.gather(2, completions.token_NT[..., None]).squeeze(-1)
        with torch.no_grad():
            share_NTV = functional.softmax(logits_NTV, dim=-1)
            entropy_NT = normaliser_NT - (share_NTV * logits_NTV).sum(dim=-1)
        return chosen_NT - normaliser_NT, entropy_NT


def trained(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that an optimiser changes: all, or the adapters' alone."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def completion_logits(model: PreTrainedModel, completions: Completions) -> Tensor:
    """The logits (N, T, V) that each token of the completions was drawn from.

    A prompt's keys and values are computed once, and its gradient flows back through them from all
    rows of its group. Rows are read whole where no prompt is shared; by a model that is
    checkpointed layer by layer, which keeps no keys and values; and by one whose weights are spread
    over processes, which must run its layers equally often in each.
    """
    is_shared = len(completions.prompt_BL) < len(completions.prompt_of_N)
    is_checkpointed = any(
        getattr(part, "gradient_checkpointing", False) for part in model.modules()
    )
    if not is_shared or (model.training and is_checkpointed) or isinstance(model, FSDPModule):
        return _logits_of_whole_rows(model, completions)
    length, row = completions.prompt_BL.shape[1], completions.prompt_of_N
    column_S = torch.arange(
        length + completions.token_NT.shape[1] - 1, device=completions.start_B.device
    )
    is_real_BS = (column_S >= completions.start_B[:, None]).long()
    position_BS = positions(completions.start_B, len(column_S))
    cache = DynamicCache(config=model.config)
    prompt_B1V = model(
        input_ids=completions.prompt_BL,
        attention_mask=is_real_BS[:, :length],
        position_ids=position_BS[:, :length],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits
    first_N1V: Tensor = prompt_B1V[row]
    if completions.token_NT.shape[1] == 1:
        return first_N1V
    cache.batch_select_indices(row)
    logits_NTV = model(
        input_ids=completions.token_NT[:, :-1],
        attention_mask=is_real_BS[row],
        position_ids=position_BS[row][:, length:],
        past_key_values=cache,
        use_cache=True,
    ).logits
    return torch.cat([first_N1V, logits_NTV], dim=1)


def _logits_of_whole_rows(model: PreTrainedModel, completions: Completions) -> Tensor:
    row, length = completions.prompt_of_N, completions.prompt_BL.shape[1]
    token_NS = torch.cat([completions.prompt_BL[row], completions.token_NT], dim=1)[:, :-1]
    column_S = torch.arange(token_NS.shape[1], device=token_NS.device)
    logits_NTV: Tensor = model(
        input_ids=token_NS,
        attention_mask=(column_S >= completions.start_B[row, None]).long(),
        position_ids=positions(completions.start_B[row], token_NS.shape[1]),
        use_cache=False,
        logits_to_keep=token_NS.shape[1] - length + 1,
    ).logits
    return logits_NTV
