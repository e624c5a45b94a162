"""The policy's model and tokenizer: of a shape with random weights, or loaded from where it is."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
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
        # The second name is that of the releases which vLLM goes with.
        enable = getattr(model, "activation_checkpointing_enable", None)
        (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
    model.train()
    return model


def save_model(model: PreTrainedModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Leave the model, adapters merged into it, and a chat model's tokenizer in `folder`, as
    transformers reads them."""
    model.save_pretrained(folder, state_dict=dict(whole_weights(model)))
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


def whole_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Its weights by the names that transformers keeps them under, with what adapters have learnt
    added to copies of them."""
    from peft.tuners.lora import Linear

    adapted = {name: part for name, part in model.named_modules() if isinstance(part, Linear)}
    for name, weight in model.state_dict().items():
        owner, _, kind = name.rpartition(".base_layer.")
        if owner and kind == "weight":
            learnt = adapted[owner].get_delta_weight("default")
            yield f"{owner}.weight", weight + learnt.to(weight.dtype)
        elif owner:
            yield f"{owner}.{kind}", weight
        elif ".lora_" not in name:
            yield name, weight


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
