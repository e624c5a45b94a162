"""PPO's value function: the policy's layers with a head that foretells the return."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainer.generation import Completions, positions, seed_of


class Critic(nn.Module):
    """The layers of a model, with a head that says 0 at first."""

    def __init__(self, model: PreTrainedModel, *, seed: int) -> None:
        """model: a copy of the policy's, to be changed."""
        super().__init__()
        self.layers = model.base_model
        self.head = nn.Linear(int(model.config.hidden_size), 1, dtype=torch.float32)
        generator = torch.Generator().manual_seed(seed_of(seed, "critic"))
        with torch.no_grad():
            nn.init.normal_(self.head.weight, std=1e-3, generator=generator)
            self.head.bias.zero_()

    def forward(self, completions: Completions) -> Tensor:
        """The value (N, T) before each token of the completions."""
        row, length = completions.prompt_of_N, completions.prompt_BL.shape[1]
        token_NS = torch.cat([completions.prompt_BL[row], completions.token_NT], dim=1)[:, :-1]
        column_S = torch.arange(token_NS.shape[1], device=token_NS.device)
        hidden_NSC = self.layers(
            input_ids=token_NS,
            attention_mask=(column_S >= completions.start_B[row, None]).long(),
            position_ids=positions(completions.start_B[row], token_NS.shape[1]),
            use_cache=False,
        ).last_hidden_state
        value_NT: Tensor = self.head(hidden_NSC[:, length - 1 :].float()).squeeze(-1)
        return value_NT
