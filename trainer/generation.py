"""Sampling groups of completions, with the log-probabilities that the loss needs.

A group's prompt is read once and its keys and values are shared out to the group's rows. Rows that
have ended are dropped from the batch as soon as they are half of it. `BlockDecoder` runs the layers
of Llama, Mistral, Qwen2 and Qwen3 over keys and values in one preallocated block; every other
causal model runs through its own forward pass and cache (`CacheDecoder`).

Which token is drawn depends on the row's own uniform random number alone, so that a row comes out
the same whatever else is in the batch, in however many processes the batch is sampled.
"""

import hashlib
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, functional
from transformers import DynamicCache, PreTrainedModel
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

# B = prompts, N = rows (completions), M = rows that still run, L = prompt tokens (left-padded),
# T = completion tokens (right-padded), S = L + T, H = heads, D = size of a head, C = hidden size,
# V = vocabulary

# Families whose layers are the same but for biases and norms of queries and keys.
_BLOCK_DECODED = frozenset({"llama", "mistral", "qwen2", "qwen3"})


@dataclass(frozen=True, slots=True)
class Completions:
    """What was sampled, row by row. Rows of the same prompt share one row of `prompt_BL`."""

    prompt_BL: Tensor
    start_B: Tensor  # index of the first real prompt token
    prompt_of_N: Tensor
    token_NT: Tensor
    mask_NT: Tensor  # true up to and including the end token
    logprob_NT: Tensor  # of the sampled tokens, at the sampling temperature; 0 behind the end
    is_truncated_N: Tensor  # no end token within the budget

    def to(self, device: torch.device) -> "Completions":
        return Completions(*(getattr(self, name).to(device) for name in self.__slots__))

    def rows(self, index_M: Tensor) -> "Completions":
        """The chosen rows, cut to the longest completion and prompt among them."""
        longest = int(self.mask_NT[index_M].sum(dim=1).max())
        used_B, prompt_of_M = torch.unique(self.prompt_of_N[index_M], return_inverse=True)
        first = int(self.start_B[used_B].min())
        return Completions(
            prompt_BL=self.prompt_BL[used_B, first:],
            start_B=self.start_B[used_B] - first,
            prompt_of_N=prompt_of_M,
            token_NT=self.token_NT[index_M, :longest],
            mask_NT=self.mask_NT[index_M, :longest],
            logprob_NT=self.logprob_NT[index_M, :longest],
            is_truncated_N=self.is_truncated_N[index_M],
        )


def joined(parts: Sequence[Completions], pad_id: int) -> Completions:
    """The rows of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    prompt_length = max(part.prompt_BL.shape[1] for part in parts)
    length = max(part.token_NT.shape[1] for part in parts)
    n_prompts = [0, *itertools.accumulate(len(part.prompt_BL) for part in parts)]

    def pad(block: Tensor, value: float) -> Tensor:
        return functional.pad(block, (0, length - block.shape[1]), value=value)

    return Completions(
        prompt_BL=torch.cat(
            [
                functional.pad(
                    part.prompt_BL, (prompt_length - part.prompt_BL.shape[1], 0), value=pad_id
                )
                for part in parts
            ]
        ),
        start_B=torch.cat(
            [part.start_B + prompt_length - part.prompt_BL.shape[1] for part in parts]
        ),
        prompt_of_N=torch.cat(
            [part.prompt_of_N + first for part, first in zip(parts, n_prompts, strict=False)]
        ),
        token_NT=torch.cat([pad(part.token_NT, pad_id) for part in parts]),
        mask_NT=torch.cat([pad(part.mask_NT, False) for part in parts]),
        logprob_NT=torch.cat([pad(part.logprob_NT, 0.0) for part in parts]),
        is_truncated_N=torch.cat([part.is_truncated_N for part in parts]),
    )


def left_pad(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Prompts as one block that ends at the same column, and where each begins: (B, L), (B,)."""
    length = max(map(len, prompts))
    rows = [[pad_id] * (length - len(prompt)) + list(prompt) for prompt in prompts]
    return torch.tensor(rows), torch.tensor([length - len(prompt) for prompt in prompts])


def positions(start_N: Tensor, length: int) -> Tensor:
    """Position ids (N, length): 0 at each row's first real token; padding has 0 as well."""
    return (torch.arange(length, device=start_N.device) - start_N[:, None]).clamp_min(0)


def uniforms(*parts: object, shape: tuple[int, ...]) -> Tensor:
    """Numbers from [0, 1) that depend on the parts alone (a seed, a step, a prompt ...)."""
    generator = torch.Generator().manual_seed(seed_of(*parts))
    return torch.rand(shape, generator=generator)


def seed_of(*parts: object) -> int:
    """A seed of 63 bits for this use: the same parts give the same seed, in every process."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    uniform_NT: Tensor,
    *,
    pad_id: int,
    eos_ids: Collection[int],
    temperature: float = 1.0,
    decoder: "type[BlockDecoder] | type[CacheDecoder] | None" = None,
) -> Completions:
    """A group of completions per prompt, group after group: N / B rows each.

    uniform_NT: the random number in [0, 1) that draws each token; its shape says how many rows
        there are and how many tokens a completion has at most.
    decoder: how the model is run; None = the fastest way there is for it.
    Raises ValueError when the rows are no multiple of the prompts.
    """
    (n_rows, budget), device = uniform_NT.shape, model.device
    if n_rows % len(prompts):
        raise ValueError(f"{n_rows} rows cannot be shared out to {len(prompts)} prompts")
    prompt_BL, start_B = (block.to(device) for block in left_pad(prompts, pad_id))
    prompt_of_N = torch.arange(len(prompts), device=device).repeat_interleave(
        n_rows // len(prompts)
    )
    uniform_NT, ends = uniform_NT.to(device), torch.tensor(sorted(eos_ids), device=device)
    token_NT = torch.full((n_rows, budget), pad_id, device=device)
    mask_NT = torch.zeros((n_rows, budget), dtype=torch.bool, device=device)
    logprob_NT = torch.zeros((n_rows, budget), device=device)
    kind = decoder or decoder_of(model)
    rows = kind(model, prompt_BL, start_B, prompt_of_N, budget)
    row_M = torch.arange(n_rows, device=device)  # the rows in the decoder, in its order
    runs_M = torch.ones_like(row_M, dtype=torch.bool)  # the others have ended, and wait to be cut
    logits_MV, length = rows.first_logits(), 0
    while length < budget and row_M.numel():
        logprob_MV = functional.log_softmax(logits_MV.float() / temperature, dim=-1)
        drawn_M = _drawn(logprob_MV, uniform_NT[row_M, length])
        running_M = row_M[runs_M]
        token_NT[running_M, length] = drawn_M[runs_M]
        mask_NT[running_M, length] = True
        chosen_M = logprob_MV.gather(1, drawn_M[:, None]).squeeze(1)
        logprob_NT[running_M, length] = chosen_M[runs_M]
        length += 1
        runs_M = runs_M & ~torch.isin(drawn_M, ends)
        if 2 * int(runs_M.sum()) <= len(row_M):
            rows.keep(runs_M)
            row_M, drawn_M, runs_M = row_M[runs_M], drawn_M[runs_M], runs_M[runs_M]
        if length < budget and row_M.numel():
            logits_MV = rows.extend(drawn_M[:, None])
    is_truncated_N = torch.zeros(n_rows, dtype=torch.bool, device=device)
    is_truncated_N[row_M[runs_M]] = True
    return Completions(
        prompt_BL=prompt_BL,
        start_B=start_B,
        prompt_of_N=prompt_of_N,
        token_NT=token_NT[:, :length],
        mask_NT=mask_NT[:, :length],
        logprob_NT=logprob_NT[:, :length],
        is_truncated_N=is_truncated_N,
    )


def _drawn(logprob_MV: Tensor, uniform_M: Tensor) -> Tensor:
    """The token in whose share of [0, 1) each row's number lies.

    In float64: of 100,000 probabilities added up in float32 the last would be drawn wrongly.
    """
    edge_MV = logprob_MV.double().exp().cumsum(dim=-1)
    place_M1 = uniform_M.double()[:, None] * edge_MV[:, -1:]
    drawn_M = torch.searchsorted(edge_MV, place_M1, right=True).squeeze(1)
    return drawn_M.clamp_max(logprob_MV.shape[1] - 1)


def decoder_of(model: PreTrainedModel) -> "type[BlockDecoder] | type[CacheDecoder]":
    """The fastest decoder for this model."""
    config = model.config
    is_windowed = getattr(config, "sliding_window", None) and getattr(
        config, "use_sliding_window", True
    )
    is_known = config.model_type in _BLOCK_DECODED and not is_windowed
    return BlockDecoder if is_known else CacheDecoder


class CacheDecoder:
    """Any causal model of transformers, by its own forward pass and cache.

    A batch of rows that grows by one token a call; all prompts are read when it is made.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompt_BL: Tensor,
        start_B: Tensor,
        prompt_of_N: Tensor,
        budget: int,
    ) -> None:
        self._model = model
        length = prompt_BL.shape[1]
        self._cache = DynamicCache(config=model.config)
        capacity = torch.arange(length + budget, device=prompt_BL.device)
        is_real_BS = capacity >= start_B[:, None]
        logits_BV = self._forward(prompt_BL, is_real_BS[:, :length], positions(start_B, length))
        self._cache.batch_select_indices(prompt_of_N)
        self._logits_NV = logits_BV[prompt_of_N]
        self._is_real_MS, self._start_M = is_real_BS[prompt_of_N], start_B[prompt_of_N]
        self._length = length

    def first_logits(self) -> Tensor:
        """(N, V): what may follow each row's prompt."""
        return self._logits_NV

    def extend(self, token_M1: Tensor) -> Tensor:
        """Append a token to every row; (M, V) for what may follow."""
        self._length += 1
        position_M1 = self._length - 1 - self._start_M[:, None]
        return self._forward(token_M1, self._is_real_MS[:, : self._length], position_M1)

    def keep(self, is_kept_M: Tensor) -> None:
        """Go on with these rows only."""
        self._cache.batch_select_indices(is_kept_M.nonzero().squeeze(1))
        self._is_real_MS, self._start_M = self._is_real_MS[is_kept_M], self._start_M[is_kept_M]

    def _forward(self, token_MT: Tensor, is_real_MS: Tensor, position_MT: Tensor) -> Tensor:
        logits_M1V: Tensor = self._model(
            input_ids=token_MT,
            attention_mask=is_real_MS.long(),
            position_ids=position_MT,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits_M1V[:, -1]


class BlockDecoder:
    """The same for layers like Llama's, over keys and values in a block of fixed size."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompt_BL: Tensor,
        start_B: Tensor,
        prompt_of_N: Tensor,
        budget: int,
    ) -> None:
        config: Any = model.config
        self._model: Any = model.model
        self._head: Module = model.lm_head
        self._eps = float(config.rms_norm_eps)
        self._n_kv_heads = int(config.num_key_value_heads)
        self._is_grouped = self._n_kv_heads < int(config.num_attention_heads)
        self._head_size = int(self._model.layers[0].self_attn.head_dim)
        self._n_layers = len(self._model.layers)
        self._dtype, self._length = model.dtype, 0
        n_prompts, length = prompt_BL.shape
        self._set_rows(start_B, length + budget, self._block(n_prompts, length, start_B.device))
        logits_BV = self.extend(prompt_BL)
        prompt_blocks = (self._keys, self._values)
        blocks = self._block(len(prompt_of_N), length + budget, start_B.device)
        for block, prompt_block in zip(blocks, prompt_blocks, strict=True):
            block[:, :, :, :length] = prompt_block[:, prompt_of_N]
        self._set_rows(start_B[prompt_of_N], length + budget, blocks)
        self._logits_NV = logits_BV[prompt_of_N]

    def _block(self, n_rows: int, capacity: int, device: torch.device) -> tuple[Tensor, Tensor]:
        shape = (self._n_layers, n_rows, self._n_kv_heads, capacity, self._head_size)
        block = torch.zeros(shape, dtype=self._dtype, device=device)
        return block, torch.zeros_like(block)

    def _set_rows(self, start_M: Tensor, capacity: int, blocks: tuple[Tensor, Tensor]) -> None:
        self._keys, self._values = blocks
        column_S = torch.arange(capacity, device=start_M.device)
        self._is_real_MS = column_S >= start_M[:, None]
        self._is_padded = bool(start_M.any())
        self._cos, self._sin = self._model.rotary_emb(self._keys, positions(start_M, capacity))

    def first_logits(self) -> Tensor:
        return self._logits_NV

    def keep(self, is_kept_M: Tensor) -> None:
        self._keys, self._values = self._keys[:, is_kept_M], self._values[:, is_kept_M]
        self._is_real_MS = self._is_real_MS[is_kept_M]
        self._cos, self._sin = self._cos[is_kept_M], self._sin[is_kept_M]

    def extend(self, token_MT: Tensor) -> Tensor:
        first, last = self._length, self._length + token_MT.shape[1]
        mask = self._attention_mask(first, last)
        rotary = (self._cos[:, first:last], self._sin[:, first:last])
        hidden_MTC = self._model.embed_tokens(token_MT)
        for index, layer in enumerate(self._model.layers):
            hidden_MTC = self._layer(index, layer, hidden_MTC, rotary, mask, first, last)
        self._length = last
        logits_MV: Tensor = self._head(self._norm(hidden_MTC[:, -1], self._model.norm))
        return logits_MV

    def _attention_mask(self, first: int, last: int) -> Tensor | None:
        """Causal, without padding; a padding row sees itself, or its softmax would be NaN."""
        if last - first == 1 and not self._is_padded:
            return None
        is_causal = torch.ones(last - first, last, dtype=torch.bool, device=self._keys.device)
        is_causal = is_causal.tril(first)
        is_self = torch.zeros_like(is_causal)
        is_self.diagonal(first).fill_(True)
        return (is_causal & self._is_real_MS[:, None, :last] | is_self)[:, None]

    def _norm(self, hidden: Tensor, norm: Any) -> Tensor:
        return functional.rms_norm(hidden, (hidden.shape[-1],), norm.weight, self._eps)

    def _layer(
        self,
        index: int,
        layer: Any,
        hidden_MTC: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | None,
        first: int,
        last: int,
    ) -> Tensor:
        attention = layer.self_attn
        normed_MTC = self._norm(hidden_MTC, layer.input_layernorm)
        query, key, value = (
            self._by_head(projection(normed_MTC))
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "q_norm"):
            query, key = self._norm(query, attention.q_norm), self._norm(key, attention.k_norm)
        query, key = apply_rotary_pos_emb(query, key, *rotary)
        self._keys[index, :, :, first:last] = key
        self._values[index, :, :, first:last] = value
        seen_MHTD = functional.scaled_dot_product_attention(
            query,
            self._keys[index, :, :, :last],
            self._values[index, :, :, :last],
            attn_mask=mask,
            enable_gqa=self._is_grouped,
        )
        seen_MTC = seen_MHTD.transpose(1, 2).flatten(2)
        hidden_MTC = hidden_MTC + attention.o_proj(seen_MTC)
        changed_MTC: Tensor = layer.mlp(self._norm(hidden_MTC, layer.post_attention_layernorm))
        return hidden_MTC + changed_MTC

    def _by_head(self, projected_MTC: Tensor) -> Tensor:
        n_rows, n_tokens, _ = projected_MTC.shape
        return projected_MTC.view(n_rows, n_tokens, -1, self._head_size).transpose(1, 2)
