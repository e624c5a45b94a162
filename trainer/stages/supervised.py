"""Supervised steps: the policy learns responses by heart."""

import random
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import Module

from trainer.generation import Completions, left_pad
from trainer.optimiser import Optimiser
from trainer.ranks import Ranks
from trainer.stages.errors import TrainingError
from trainer.tokenizers import Tokenizer

# N = rows, T = tokens of a response

Example = tuple[list[int], list[int]]  # tokens of prompt and response

_POOL_BATCHES = 20  # batches' worth of rows that are sorted by length together
_LARGEST_NORM = 1.0


def batches(examples: Sequence[Example], *, size: int, seed: object) -> Iterator[list[Example]]:
    """Batches of rows of about the same length, in random order: a third less padding."""
    rng = random.Random(str(seed))  # noqa: S311 - no secret
    pool_size = size * _POOL_BATCHES
    for first in range(0, len(examples), pool_size):
        pool = sorted(examples[first : first + pool_size], key=lambda row: sum(map(len, row)))
        parts = [pool[i : i + size] for i in range(0, len(pool), size)]
        rng.shuffle(parts)
        yield from parts


def supervised_step(
    policy: Module,
    optimiser: Optimiser,
    examples: Sequence[Example],
    *,
    rate: float,
    tokenizer: Tokenizer,
    ranks: Ranks,
) -> float:
    """One optimiser step on the mean loss over the responses' tokens; answers that loss, in nats.

    rate: the learning rate. Each process takes its share of the examples; there must be one for
    each. Raises TrainingError for a gradient that is not finite.
    """
    rows = as_completions([examples[i] for i in ranks.share(len(examples))], tokenizer.pad_id)
    rows = rows.to(ranks.device)
    n_tokens = sum(len(response) for _, response in examples)
    logprob_NT, _ = policy(rows)
    loss: Tensor = -torch.where(rows.mask_NT, logprob_NT, 0.0).sum() / n_tokens
    (loss * ranks.size).backward()  # type: ignore[no-untyped-call]
    if not optimiser.take_step(rate, largest_norm=_LARGEST_NORM):
        raise TrainingError(
            "the gradient of a supervised step is not finite; nothing was changed by it. Lower the"
            " learning rate of its section and start again"
        )
    return ranks.sums([float(loss.detach())])[0]


def as_completions(examples: Sequence[Example], pad_id: int) -> Completions:
    """Prompts and responses in the shape of what was sampled."""
    prompt_BL, start_B = left_pad([prompt for prompt, _ in examples], pad_id)
    length = max(len(response) for _, response in examples)
    token_NT = torch.full((len(examples), length), pad_id)
    mask_NT = torch.zeros((len(examples), length), dtype=torch.bool)
    for i, (_, response) in enumerate(examples):
        token_NT[i, : len(response)] = torch.tensor(response)
        mask_NT[i, : len(response)] = True
    return Completions(
        prompt_BL=prompt_BL,
        start_B=start_B,
        prompt_of_N=torch.arange(len(examples)),
        token_NT=token_NT,
        mask_NT=mask_NT,
        logprob_NT=torch.zeros(token_NT.shape),
        is_truncated_N=torch.zeros(len(examples), dtype=torch.bool),
    )
