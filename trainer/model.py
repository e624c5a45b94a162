"""The policy's model and tokenizer: of a shape with random weights, or loaded from where it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from trainer.config import ConfigError, ModelConfig
from trainer.generation import seed_of
from trainer.tokenizers import ByteTokenizer, ChatTokenizer, ClosedTokenizer, Tokenizer


def tokenizer_of(config: ModelConfig, vocabulary: Sequence[str] | None) -> Tokenizer:
    """The model's own; for one with random weights the task's vocabulary, or bytes.

    Raises ConfigError for a model that cannot be read or is no chat model.
    """
    if not config.path:
        return ByteTokenizer() if vocabulary is None else ClosedTokenizer(vocabulary)
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.path)
    except (OSError, ValueError) as error:
        raise _unreadable(config, error) from error
    return ChatTokenizer(
        tokenizer, eos_ids=_generation_ends(config), system_prompt=config.system_prompt
    )


def build_model(config: ModelConfig, tokenizer: Tokenizer, *, seed: int) -> PreTrainedModel:
    """The model to start from; the same seed gives the same weights.

    Raises ConfigError for a model that cannot be read or whose context is too short.
    """
    model = _loaded(config) if config.path else _random(config, tokenizer, seed=seed)
    _remove_dropout(model)
    if config.lora_rank:
        model = _with_adapters(model, config.lora_rank, seed=seed)
    if config.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    return model


def save_model(model: PreTrainedModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Merge the model's adapters into it, and leave it and a chat model's tokenizer in `folder`, as
    transformers reads them."""
    _merge_adapters(model)
    model.save_pretrained(folder)
    if isinstance(tokenizer, ChatTokenizer):
        tokenizer.save(str(folder))


def _random(config: ModelConfig, tokenizer: Tokenizer, *, seed: int) -> LlamaForCausalLM:
    llama = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.context,
        pad_token_id=tokenizer.pad_id,
        bos_token_id=1,
        eos_token_id=tokenizer.eos_ids[0],
        tie_word_embeddings=True,
    )
    llama._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(llama)
    model.to(getattr(torch, config.dtype))
    return model


def _loaded(config: ModelConfig) -> PreTrainedModel:
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            config.path, dtype=getattr(torch, config.dtype), trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise _unreadable(config, error) from error
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and config.context > longest:
        raise ConfigError(
            f"model.context: {config.context} is more than the {longest} tokens that"
            f" {config.path} was made for"
        )
    return model


def _unreadable(config: ModelConfig, error: Exception) -> ConfigError:
    reason = str(error).strip().splitlines()[0]
    return ConfigError(f"model.path: {config.path!r} is no model that can be read: {reason}")


def _generation_ends(config: ModelConfig) -> list[int]:
    """The end tokens that a model generates with; chat models often have several."""
    from transformers import GenerationConfig

    try:
        ends: Any = GenerationConfig.from_pretrained(config.path).eos_token_id
    except OSError:
        return []
    return ends if isinstance(ends, list) else [] if ends is None else [ends]


def _remove_dropout(model: PreTrainedModel) -> None:
    """A policy that is another one at each pass has no ratio to itself."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            setattr(module, "attention_dropout", 0.0)  # noqa: B010 - a number, no submodule


def _merge_adapters(model: PreTrainedModel) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in [*model.named_modules()]:
        if isinstance(module, BaseTunerLayer):
            module.merge()
            model.set_submodule(name, module.get_base_layer())


def _with_adapters(model: PreTrainedModel, rank: int, *, seed: int) -> Any:
    """Low-rank adapters in place (LoRA, arXiv:2106.09685) on every linear layer but the head."""
    from peft import LoraConfig, inject_adapter_in_model

    for parameter in model.parameters():
        parameter.requires_grad_(False)
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", bias="none"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "adapters"))
        return inject_adapter_in_model(config, model)
