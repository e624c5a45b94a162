"""vLLM samples, in this process, from a copy of the weights beside the model that is trained.

Its kernels are not the trained model's: log-probabilities are computed again before an update, and
rows weighed by what they differ (truncated importance sampling). Draws depend on the run's seed and
the prompt's key, but a row may still come out otherwise in another batch, as its sums may.
"""

import os
from collections.abc import Iterable, Sequence
from itertools import chain
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainer.config import ConfigError, TrainerConfig
from trainer.generation import Completions, left_pad, seed_of
from trainer.model import whole_weights
from trainer.tokenizers import Tokenizer

_GIB = 2**30
# Set before the package is read: in this process, without telemetry, threads or lines of its own.
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


class VllmEngine:
    """vLLM, and the model whose weights it serves."""

    is_exact = False

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, config: TrainerConfig) -> None:
        """Raises ConfigError where vLLM is not installed, or cannot serve the model."""
        self._model, self._tokenizer, self._seed = model, tokenizer, config.run.seed
        self._llm = _served(model, config)

    def refresh(self) -> None:
        """Give vLLM the weights as they are now, adapters merged into them."""
        self._llm.collective_rpc(
            "reload_weights", kwargs={"weights_iterator": whole_weights(self._model)}
        )
        self._llm.reset_prefix_cache()

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
        from vllm import SamplingParams

        settings = [
            SamplingParams(
                n=n,
                seed=seed_of(self._seed, key),
                temperature=temperature,
                max_tokens=budget,
                logprobs=0,  # of the sampled token alone
                stop_token_ids=sorted(self._tokenizer.eos_ids),
                detokenize=False,
            )
            for key in keys
        ]
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        made = self._llm.generate(asked, settings, use_tqdm=False)
        rows = chain.from_iterable(sorted(one.outputs, key=lambda row: row.index) for one in made)
        return _completions(prompts, list(rows), pad_id=self._tokenizer.pad_id).to(
            self._model.device
        )


def _served(model: PreTrainedModel, config: TrainerConfig) -> Any:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from vllm import LLM
    except ImportError as error:
        raise ConfigError(
            'sampling.engine: vLLM is not installed; install it, or make it "own"'
        ) from error
    with TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        try:
            return LLM(
                folder,
                load_format="dummy",  # the weights come with each refresh
                skip_tokenizer_init=True,
                generation_config="vllm",  # nothing but what is asked for
                dtype=config.model.dtype,
                max_model_len=config.model.context,
                kv_cache_memory_bytes=int(config.sampling.cache_gib * _GIB),
                logprobs_mode="processed_logprobs",  # at the sampling temperature
                enforce_eager=model.device.type == "cpu",
                seed=seed_of(config.run.seed, "vllm") % 2**31,
            )
        except (ValueError, RuntimeError) as error:  # whatever it does not support
            reason = " ".join(str(error).split())
            raise ConfigError(
                f'sampling.engine: vLLM cannot serve this model: {reason}; make it "own"'
            ) from error


def _completions(
    prompts: Sequence[Sequence[int]], rows: Sequence[Any], *, pad_id: int
) -> Completions:
    prompt_BL, start_B = left_pad(prompts, pad_id)
    lengths_N = torch.tensor([len(row.token_ids) for row in rows])
    mask_NT = torch.arange(int(lengths_N.max())) < lengths_N[:, None]

    def filled(values: Iterable[Sequence[float]], block_NT: Tensor) -> Tensor:
        flat = torch.tensor(list(chain.from_iterable(values)), dtype=block_NT.dtype)
        return block_NT.masked_scatter(mask_NT, flat)

    return Completions(
        prompt_BL=prompt_BL,
        start_B=start_B,
        prompt_of_N=torch.arange(len(prompts)).repeat_interleave(len(rows) // len(prompts)),
        token_NT=filled((row.token_ids for row in rows), torch.full(mask_NT.shape, pad_id)),
        mask_NT=mask_NT,
        logprob_NT=filled(map(_logprobs, rows), torch.zeros(mask_NT.shape)),
        is_truncated_N=torch.tensor([row.finish_reason == "length" for row in rows]),
    )


def _logprobs(row: Any) -> list[float]:
    return [seen[token].logprob for token, seen in zip(row.token_ids, row.logprobs, strict=True)]
