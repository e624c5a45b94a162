"""How text becomes tokens: of a closed vocabulary, of bytes, or as a chat model has it."""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from trainer.config import ConfigError

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"


class UnknownTextError(ValueError):
    """The text holds characters that the vocabulary has no token for."""


class Tokenizer(Protocol):
    """Text to tokens and back. A completion ends with one of `eos_ids`."""

    @property
    def pad_id(self) -> int: ...

    @property
    def eos_ids(self) -> tuple[int, ...]: ...

    @property
    def identity(self) -> str:
        """What it is, for whoever must know that two are the same."""

    def __len__(self) -> int: ...

    def encode_prompt(self, problem: str) -> list[int]:
        """What the policy continues."""

    def encode_response(self, response: str) -> list[int]:
        """A response with its end token."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text up to the end token; special tokens are skipped."""


class SpecialTokens:
    """Three special tokens come first: padding, start, end."""

    pad_id, bos_id, eos_id = 0, 1, 2
    eos_ids = (2,)


class ClosedTokenizer(SpecialTokens):
    """Longest-match tokenizer over a fixed list of strings."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.tokens = (PAD, BOS, EOS, *vocabulary)
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        longest_first = sorted(vocabulary, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    @property
    def identity(self) -> str:
        return "closed/" + "|".join(self.tokens)

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
        return [self.bos_id, *self.encode(problem + "\n")]

    def encode_response(self, response: str) -> list[int]:
        return [*self.encode(response), self.eos_id]

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self.tokens[i] for i in _up_to_end(ids, self.eos_id) if i > self.eos_id)


class ByteTokenizer(SpecialTokens):
    """UTF-8 bytes: for a model with random weights and any text."""

    identity = "bytes"

    def __len__(self) -> int:
        return self.eos_id + 1 + 256

    def encode(self, text: str) -> list[int]:
        return [self.eos_id + 1 + byte for byte in text.encode("utf-8", "surrogatepass")]

    def encode_prompt(self, problem: str) -> list[int]:
        return [self.bos_id, *self.encode(problem + "\n")]

    def encode_response(self, response: str) -> list[int]:
        return [*self.encode(response), self.eos_id]

    def decode(self, ids: Iterable[int]) -> str:
        codes = [i - self.eos_id - 1 for i in _up_to_end(ids, self.eos_id) if i > self.eos_id]
        return bytes(codes).decode("utf-8", "replace")


class ChatTokenizer:
    """The tokenizer of a chat model: a problem is its user's turn."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        eos_ids: Sequence[int],
        system_prompt: str,
    ) -> None:
        """Raises ConfigError for a tokenizer without a chat template or an end token."""
        if not tokenizer.chat_template:
            raise ConfigError(
                "model.path: its tokenizer has no chat template; name a chat or instruct model, or"
                " put a chat_template.jinja into its folder"
            )
        own = _present(tokenizer.eos_token_id)
        self.eos_ids = tuple(sorted({*eos_ids, *own}))
        if not self.eos_ids:
            raise ConfigError("model.path: its tokenizer names no end token (eos_token)")
        # A model may stop at several; its template ends a turn with the tokenizer's own.
        self._end_id = (own or self.eos_ids)[0]
        pad_id = tokenizer.pad_token_id
        self.pad_id = self.eos_ids[0] if pad_id is None else int(pad_id)
        self._tokenizer, self._system_prompt = tokenizer, system_prompt

    @property
    def identity(self) -> str:
        return f"chat/{self._tokenizer.name_or_path}/{self._system_prompt}"

    def __len__(self) -> int:
        return len(self._tokenizer)

    def encode_prompt(self, problem: str) -> list[int]:
        system = [{"role": "system", "content": self._system_prompt}] if self._system_prompt else []
        ids = self._tokenizer.apply_chat_template(
            [*system, {"role": "user", "content": problem}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
        )
        return list(ids)

    def encode_response(self, response: str) -> list[int]:
        return [*self._tokenizer.encode(response, add_special_tokens=False), self._end_id]

    def decode(self, ids: Iterable[int]) -> str:
        kept = _up_to_end(ids, *self.eos_ids)
        return str(self._tokenizer.decode(kept, skip_special_tokens=True))

    def save(self, folder: str) -> None:
        self._tokenizer.save_pretrained(folder)


def _present(token: int | list[int] | None) -> list[int]:
    if token is None:
        return []
    return token if isinstance(token, list) else [token]


def _up_to_end(ids: Iterable[int], *ends: int) -> list[int]:
    kept = []
    for i in ids:
        if i in ends:
            break
        kept.append(i)
    return kept
