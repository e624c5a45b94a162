"""The trained model samples itself."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from trainer.generation import Completions, sample, uniforms
from trainer.tokenizers import Tokenizer


class OwnEngine:
    """Each row is drawn by its prompt's key alone: it is the same in any batch."""

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, *, seed: int) -> None:
        self._model, self._tokenizer, self._seed = model, tokenizer, seed
        self.is_exact = model.dtype == torch.float32

    def refresh(self) -> None:
        """The weights are the model's own."""

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[str],
        *,
        n: int,
        budget: int,
        temperature: float,
    ) -> Completions:
        """As `Engine.sample`."""
        is_training = self._model.training
        # While it trains, a model that is checkpointed layer by layer keeps no keys and values.
        self._model.train(mode=False)
        try:
            return sample(
                self._model,
                prompts,
                torch.cat([uniforms(self._seed, key, shape=(n, budget)) for key in keys]),
                pad_id=self._tokenizer.pad_id,
                eos_ids=self._tokenizer.eos_ids,
                temperature=temperature,
            )
        finally:
            self._model.train(is_training)
