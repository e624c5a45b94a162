"""What a fit starts from: a model of one's own, or a small one with random weights."""

from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from trainer.config import ConfigError
from trainer.fitting.config import FitConfig
from trainer.verifiers.models.local import LocalModel
from trainer.verifiers.texts import encodable

# What a head's outputs mean, as a `process` reward model has them: index 1 is right.
CLASSES = {0: "wrong", 1: "right"}
PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"


def start_from(config: FitConfig, texts: Iterable[str]) -> LocalModel:
    """The model and tokenizer to fit; `texts` make the vocabulary where there is none.

    Raises ConfigError for a model that cannot be loaded. None of its code is run.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model, tokenizer = _given(config) if config.model else _random(config, texts)
    # Saved with it: what is longer will be undecided.
    tokenizer.model_max_length = min(tokenizer.model_max_length, config.context)
    model.to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]
    return LocalModel(model, tokenizer)


def _given(config: FitConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    kind: Any = (
        AutoModelForSequenceClassification
        if config.level == "outcome"
        else AutoModelForTokenClassification
    )
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.model, trust_remote_code=False)
        model = kind.from_pretrained(
            config.model,
            trust_remote_code=False,
            use_safetensors=True,
            id2label=CLASSES,
            label2id={name: i for i, name in CLASSES.items()},
            # Another head than the one it came with, if any: of two classes.
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ConfigError(f"model: {config.model} cannot be loaded: {error}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def _random(
    config: FitConfig, texts: Iterable[str]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    tokenizer = _byte_pairs(config, texts)
    llama = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=4 * config.hidden_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.context,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        id2label=CLASSES,
        label2id={name: i for i, name in CLASSES.items()},
    )
    if config.level == "outcome":
        return LlamaForSequenceClassification(llama), tokenizer  # type: ignore[no-untyped-call]
    return LlamaForTokenClassification(llama), tokenizer  # type: ignore[no-untyped-call]


def _byte_pairs(config: FitConfig, texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level pairs: there is no text that it has no tokens for."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(map(encodable, texts), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS
    )
