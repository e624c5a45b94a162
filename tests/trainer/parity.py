"""One batch and one tiny model, on which two trainers are compared, and how to make them agree."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from trainer.objectives import NAMED, Objective

BUDGET = 12  # tokens; the longest completion of the batch is shorter
WORDS = 15


@dataclass(frozen=True, slots=True)
class Case:
    """An objective of ours, and TRL's settings that say the same."""

    objective: Objective
    loss_type: str
    level: str = "token"
    epsilon_low: float = 0.2
    epsilon_high: float = 0.2
    beta: float = 0.0
    by_token: bool = False
    has_importance: bool = False


GRPO = replace(NAMED["grpo"], kl=0.0)

CASES = {
    "grpo": Case(GRPO, "grpo"),
    "grpo with KL": Case(NAMED["grpo"], "grpo", beta=0.04),
    "grpo, token by token": Case(GRPO, "grpo", by_token=True),
    "dr-grpo": Case(NAMED["dr-grpo"], "dr_grpo"),
    "dapo": Case(NAMED["dapo"], "dapo", epsilon_high=0.28),
    "dapo with KL": Case(replace(NAMED["dapo"], kl=0.1), "dapo", epsilon_high=0.28, beta=0.1),
    "dapo, two engines": Case(NAMED["dapo"], "dapo", epsilon_high=0.28, has_importance=True),
    "gspo": Case(NAMED["gspo"], "grpo", level="sequence", epsilon_low=3e-4, epsilon_high=4e-4),
    "gspo, wide": Case(
        replace(NAMED["gspo"], clip_low=0.2, clip_high=0.2), "grpo", level="sequence"
    ),
    # TRL's upper bound is the ratio's, ours is what is added to 1.
    "cispo": Case(NAMED["cispo"], "cispo", epsilon_high=5.0),
    "cispo, narrow": Case(replace(NAMED["cispo"], clip_high=0.1), "cispo", epsilon_high=1.1),
}


def batch_and_model() -> tuple[dict[str, Tensor], LlamaForCausalLM]:
    """Four completions of unequal lengths, and log-probabilities as after some updates."""
    generator = torch.Generator().manual_seed(0)
    model = build(seed=1)

    def noise(scale: float) -> Tensor:
        return scale * torch.randn(4, 9, generator=generator)

    lengths_N = torch.tensor([9, 4, 1, 7])
    batch = {
        "prompt_ids": torch.randint(3, WORDS, (4, 5), generator=generator),
        "prompt_mask": torch.tensor([[1] * 5, [0, 0, 1, 1, 1], [0, 1, 1, 1, 1], [1] * 5]),
        "completion_ids": torch.randint(3, WORDS, (4, 9), generator=generator),
        "mask": torch.arange(9) < lengths_N[:, None],
        "advantages": torch.tensor([1.5, -0.5, -1.5, 0.5]),
        "token_advantages": noise(1.0),
        "importance": noise(0.2).exp().clamp_max(1.2),
    }
    with torch.no_grad():
        logprob_NT = logprobs(model, batch)
    return batch | {"old": logprob_NT + noise(0.3), "reference": logprob_NT + noise(0.5)}, model


def build(*, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=WORDS,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            initializer_range=0.3,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
        )
    )


def logprobs(model: LlamaForCausalLM, batch: Mapping[str, Tensor]) -> Tensor:
    """Of the completions' tokens, (N, T)."""
    completion_NT = batch["completion_ids"]
    logits_NSV = model(
        input_ids=torch.cat([batch["prompt_ids"], completion_NT], dim=1),
        attention_mask=torch.cat([batch["prompt_mask"], batch["mask"].long()], dim=1),
    ).logits
    logprob_NTV = logits_NSV[:, batch["prompt_ids"].shape[1] - 1 : -1].log_softmax(dim=2)
    return logprob_NTV.gather(2, completion_NT[..., None]).squeeze(2)
