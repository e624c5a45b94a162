"""Sampling with the log-probabilities that the loss needs.

`sample` runs the weights of a transformers Llama through a loop of its own: keys and values are
written into one preallocated block, which for small models on a CPU is faster than `generate`.
`completion_logprobs` is the forward pass of the model itself; both see the same positions and the
same masks, so that the first update of a batch starts at ratio 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, apply_rotary_pos_emb

from trainer.model import Tokenizer

# N = rows, L = prompt tokens (left-padded), T = completion tokens (right-padded), S = L + T,
# H = heads, D = size of a head, C = hidden size, V = vocabulary


@dataclass(frozen=True, slots=True)
class Completions:
    """What was sampled, row by row."""

    prompt_NL: Tensor
    start_N: Tensor  # index of the first real prompt token
    token_NT: Tensor
    mask_NT: Tensor  # true up to and including the end token
    logprob_NT: Tensor  # of the sampled tokens, at temperature 1; 0 behind the end
    is_truncated_N: Tensor  # no end token within the budget

    def rows(self, index_M: Tensor) -> "Completions":
        """The chosen rows, cut to the longest completion among them."""
        longest = int(self.mask_NT[index_M].sum(dim=1).max())
        return Completions(
            prompt_NL=self.prompt_NL[index_M],
            start_N=self.start_N[index_M],
            token_NT=self.token_NT[index_M, :longest],
            mask_NT=self.mask_NT[index_M, :longest],
            logprob_NT=self.logprob_NT[index_M, :longest],
            is_truncated_N=self.is_truncated_N[index_M],
        )


def left_pad(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Prompts as one block that ends at the same column, and where each begins: (N, L), (N,)."""
    length = max(map(len, prompts))
    rows = [[pad_id] * (length - len(prompt)) + list(prompt) for prompt in prompts]
    return torch.tensor(rows), torch.tensor([length - len(prompt) for prompt in prompts])


def positions(start_N: Tensor, length: int) -> Tensor:
    """Position ids (N, length): 0 at each row's first real token; padding has 0 as well."""
    return (torch.arange(length) - start_N[:, None]).clamp_min(0)


@torch.no_grad()
def sample(
    model: LlamaForCausalLM,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    generator: torch.Generator,
) -> Completions:
    """One completion per prompt at temperature 1, at most `max_new_tokens` long."""
    pad_id, eos_id = Tokenizer.pad_id, Tokenizer.eos_id
    prompt_NL, start_N = left_pad(prompts, pad_id)
    decoder = _Decoder(model, start_N, prompt_NL.shape[1] + max_new_tokens)
    is_done_N = torch.zeros(len(prompts), dtype=torch.bool)
    tokens: list[Tensor] = []
    masks: list[Tensor] = []
    logprobs: list[Tensor] = []
    next_N1 = prompt_NL
    while len(tokens) < max_new_tokens and not bool(is_done_N.all()):
        logprob_NV = functional.log_softmax(decoder.extend(next_N1), dim=-1)
        drawn_N1 = torch.multinomial(logprob_NV.exp(), 1, generator=generator)
        next_N1 = torch.where(is_done_N[:, None], pad_id, drawn_N1)
        tokens.append(next_N1)
        masks.append(~is_done_N)
        logprobs.append(torch.where(is_done_N, 0.0, logprob_NV.gather(1, drawn_N1).squeeze(1)))
        is_done_N = is_done_N | (next_N1.squeeze(1) == eos_id)
    return Completions(
        prompt_NL=prompt_NL,
        start_N=start_N,
        token_NT=torch.cat(tokens, dim=1),
        mask_NT=torch.stack(masks, dim=1),
        logprob_NT=torch.stack(logprobs, dim=1),
        is_truncated_N=~is_done_N,
    )


def completion_logprobs(model: LlamaForCausalLM, completions: Completions) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the completions' tokens and the policy's entropy there: (N, T) each.

    Entropy is in nats and carries no gradient. Values behind a completion's end mean nothing.
    """
    token_NS = torch.cat([completions.prompt_NL, completions.token_NT], dim=1)
    position_NS = positions(completions.start_N, token_NS.shape[1])
    attention_NS = torch.arange(token_NS.shape[1]) >= completions.start_N[:, None]
    logits_NSV = model(
        input_ids=token_NS,
        attention_mask=attention_NS.long(),
        position_ids=position_NS,
        use_cache=False,
    ).logits
    first = completions.prompt_NL.shape[1] - 1
    logprob_NTV = functional.log_softmax(logits_NSV[:, first:-1].float(), dim=-1)
    chosen_NT = logprob_NTV.gather(2, completions.token_NT[..., None]).squeeze(-1)
    with torch.no_grad():
        entropy_NT = -(logprob_NTV.exp() * logprob_NTV).sum(dim=-1)
    return chosen_NT, entropy_NT


class _Decoder:
    """Incremental forward pass with keys and values in a block of fixed size."""

    def __init__(self, model: LlamaForCausalLM, start_N: Tensor, capacity: int) -> None:
        config = model.config
        self._model = model.model
        self._head = model.lm_head.weight
        self._eps = float(config.rms_norm_eps)
        self._n_heads = int(config.num_attention_heads)
        head_size = int(config.hidden_size) // self._n_heads
        shape = (int(config.num_hidden_layers), len(start_N), self._n_heads, capacity, head_size)
        self._keys, self._values = torch.zeros(shape), torch.zeros(shape)
        self._is_real_NS = torch.arange(capacity) >= start_N[:, None]
        position_NS = positions(start_N, capacity)
        self._cos, self._sin = self._model.rotary_emb(self._keys, position_NS)
        self._length = 0

    def extend(self, token_NT: Tensor) -> Tensor:
        """Append tokens to every row; the logits (N, V) for what follows them."""
        first, last = self._length, self._length + token_NT.shape[1]
        mask = self._attention_mask(first, last)
        rotary = (self._cos[:, first:last], self._sin[:, first:last])
        hidden_NTC = functional.embedding(token_NT, self._model.embed_tokens.weight)
        for index, layer in enumerate(self._model.layers):
            hidden_NTC = self._layer(index, layer, hidden_NTC, rotary, mask, first, last)
        self._length = last
        return functional.linear(self._norm(hidden_NTC[:, -1], self._model.norm.weight), self._head)

    def _attention_mask(self, first: int, last: int) -> Tensor:
        """Causal, without padding; a padding row sees itself, or its softmax would be NaN."""
        is_causal = torch.ones(last - first, last, dtype=torch.bool).tril(first)
        is_self = torch.zeros_like(is_causal)
        is_self.diagonal(first).fill_(True)
        return (is_causal & self._is_real_NS[:, None, :last] | is_self)[:, None]

    def _norm(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(hidden, (hidden.shape[-1],), weight, self._eps)

    def _layer(
        self,
        index: int,
        layer: LlamaDecoderLayer,
        hidden_NTC: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor,
        first: int,
        last: int,
    ) -> Tensor:
        attention = layer.self_attn
        normed_NTC = self._norm(hidden_NTC, layer.input_layernorm.weight)
        query, key, value = (
            self._by_head(functional.linear(normed_NTC, projection.weight))
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        query, key = apply_rotary_pos_emb(query, key, *rotary)
        self._keys[index, :, :, first:last] = key
        self._values[index, :, :, first:last] = value
        seen_NHTD = functional.scaled_dot_product_attention(
            query, self._keys[index, :, :, :last], self._values[index, :, :, :last], attn_mask=mask
        )
        seen_NTC = seen_NHTD.transpose(1, 2).reshape(hidden_NTC.shape)
        hidden_NTC = hidden_NTC + functional.linear(seen_NTC, attention.o_proj.weight)
        normed_NTC = self._norm(hidden_NTC, layer.post_attention_layernorm.weight)
        changed_NTC: Tensor = layer.mlp(normed_NTC)
        return hidden_NTC + changed_NTC

    def _by_head(self, projected_NTC: Tensor) -> Tensor:
        n_rows, n_tokens, _ = projected_NTC.shape
        return projected_NTC.view(n_rows, n_tokens, self._n_heads, -1).transpose(1, 2)
