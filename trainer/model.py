"""A small Llama built from a configuration, and the tokenizer of a closed vocabulary."""

import re
from collections.abc import Iterable, Sequence

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from trainer.config import ModelConfig

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"


class UnknownTextError(ValueError):
    """The text holds characters that the vocabulary has no token for."""


class Tokenizer:
    """Longest-match tokenizer over a fixed list of strings; three special tokens come first."""

    pad_id, bos_id, eos_id = 0, 1, 2

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.tokens = (PAD, BOS, EOS, *vocabulary)
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        longest_first = sorted(vocabulary, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without special tokens; UnknownTextError where it has no token."""
        pieces = self._pattern.findall(text)
        if sum(map(len, pieces)) != len(text):
            unknown = self._pattern.sub("", text)
            raise UnknownTextError(f"no token for {unknown!r} in {text!r}")
        return [self._ids[piece] for piece in pieces]

    def encode_prompt(self, problem: str) -> list[int]:
        """What the policy continues: the start token, the problem, a line break."""
        return [self.bos_id, *self.encode(problem + "\n")]

    def encode_response(self, response: str) -> list[int]:
        return [*self.encode(response), self.eos_id]

    def decode(self, ids: Iterable[int]) -> str:
        """The text up to the end token; padding and the start token are skipped."""
        pieces = []
        for i in ids:
            if i == self.eos_id:
                break
            if i > self.eos_id:
                pieces.append(self.tokens[i])
        return "".join(pieces)


def build_model(config: ModelConfig, tokenizer: Tokenizer, *, seed: int) -> LlamaForCausalLM:
    """A randomly initialised model; the same seed gives the same weights."""
    llama = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.context,
        pad_token_id=tokenizer.pad_id,
        bos_token_id=tokenizer.bos_id,
        eos_token_id=tokenizer.eos_id,
        tie_word_embeddings=True,
    )
    llama._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(llama)
