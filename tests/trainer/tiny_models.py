"""Models in a folder, small enough to be made in a test: random ones, and ones that always say the
same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForTokenClassification,
    PreTrainedTokenizerFast,
)

torch.set_num_threads(1)  # two collapse where other processes use the same cores

PAD, BOS, EOS = "<pad>", "<start>", "<end>"
_BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def tokenizer(*, context: int, words: Sequence[str] = (), chat: str = "") -> Any:
    """A token for each byte, and one for each of the words."""
    vocabulary = {token: i for i, token in enumerate([PAD, BOS, EOS, *_BYTES])}
    found = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=found,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=context,
    )
    fast.add_tokens(list(words))
    if chat:
        fast.chat_template = chat
    return fast


def _config(size: int, hidden_size: int, context: int, **more: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=size,
        hidden_size=hidden_size,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=context,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
        **more,
    )


def random_judge(folder: Path, *, context: int = 4_096) -> None:
    words = tokenizer(context=context)
    torch.manual_seed(0)
    _save(LlamaForCausalLM(_config(len(words), 16, context)), words, folder)


def saying_judge(
    folder: Path, saying: Sequence[str], *, ends: bool = True, chat: str = "", context: int = 8_192
) -> None:
    """Says the words one after the other, whatever it is asked; then ends, or begins again.

    Its state is the token at hand alone: attention and feed-forward are zero, and each token has a
    direction of its own.
    """
    words = tokenizer(context=context, words=saying, chat=chat)
    model = LlamaForCausalLM(_config(len(words), len(words), context))
    ids = words.convert_tokens_to_ids(list(saying))
    following = torch.full((len(words),), ids[0])
    following[ids] = torch.tensor([*ids[1:], 2 if ends else ids[0]])
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(len(words)))
        model.lm_head.weight.zero_()
        model.lm_head.weight[following, torch.arange(len(words))] = 1.0
    _save(model, words, folder)


def random_scorer(folder: Path, *, context: int = 512, labels: int = 2) -> None:
    """Scores that differ from step to step: what came before weighs more than the token at hand."""
    words = tokenizer(context=context)
    torch.manual_seed(0)
    config = _config(len(words), 16, context, num_labels=labels, initializer_range=1.0)
    model = LlamaForTokenClassification(config)
    with torch.no_grad():
        model.model.embed_tokens.weight *= 0.1
        model.model.layers[0].self_attn.q_proj.weight *= 0.1
        model.score.weight *= 0.2
    _save(model, words, folder)


def _save(model: Any, words: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    words.save_pretrained(folder)
