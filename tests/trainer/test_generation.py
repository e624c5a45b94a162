from dataclasses import replace

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.trainer.tiny import TOKENIZER
from trainer.config import ModelConfig
from trainer.generation import (
    BlockDecoder,
    CacheDecoder,
    Completions,
    decoder_of,
    joined,
    left_pad,
    positions,
    sample,
    uniforms,
)
from trainer.model import build_model
from trainer.policy import Policy, completion_logits

PROMPTS = [TOKENIZER.encode_prompt(text) for text in ("1+2=?", "9-9+8-7=?", "3-4-5=?")]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    config = ModelConfig(layers=2, hidden_size=32, intermediate_size=48, heads=4, context=64)
    model = build_model(config, TOKENIZER, seed=3)
    with torch.no_grad():  # peaked enough for mistakes to show
        model.model.embed_tokens.weight.mul_(8)
    return model


def sampled(
    model: PreTrainedModel, prompts: list[list[int]], *, n: int = 12, group: int = 1
) -> Completions:
    uniform_NT = uniforms(0, "test", shape=(group * len(prompts), n))
    return sample(model, prompts, uniform_NT, pad_id=TOKENIZER.pad_id, eos_ids=TOKENIZER.eos_ids)


@torch.no_grad()
def other_models() -> list[PreTrainedModel]:
    """Families whose layers differ: grouped heads, biases, normed heads, and another altogether."""
    shape = {"vocab_size": len(TOKENIZER), "hidden_size": 32, "intermediate_size": 48}
    shape |= {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    gpt = GPT2Config(vocab_size=len(TOKENIZER), n_embd=32, n_layer=2, n_head=4, **ids)
    torch.manual_seed(0)
    models: list[PreTrainedModel] = [
        LlamaForCausalLM(LlamaConfig(**shape, num_key_value_heads=2, **ids)),
        Qwen2ForCausalLM(Qwen2Config(**shape, num_key_value_heads=4, **ids)),
        Qwen3ForCausalLM(Qwen3Config(**shape, num_key_value_heads=2, head_dim=16, **ids)),
        GPT2LMHeadModel(gpt),
    ]
    for model in models:
        model.eval()
        for parameter in model.parameters():
            if parameter.ndim > 1:  # peaked enough for mistakes to show
                torch.nn.init.normal_(parameter, std=0.25)
    return models


def test_prompts_are_padded_on_the_left() -> None:
    block, start = left_pad([[1, 7], [1, 8, 9]], pad_id=0)
    assert block.tolist() == [[0, 1, 7], [1, 8, 9]]
    assert start.tolist() == [1, 0]


def test_positions_start_at_the_first_real_token() -> None:
    assert positions(torch.tensor([2, 0]), 4).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]


def test_logprobs_of_sampled_tokens_equal_a_full_forward_pass(model: LlamaForCausalLM) -> None:
    completions = sampled(model, PROMPTS)
    logprob_NT, _ = Policy(model)(completions)
    difference_NT = (logprob_NT - completions.logprob_NT).abs()
    assert difference_NT[completions.mask_NT].max() < 1e-4


def test_padded_row_has_the_logprobs_it_has_alone(model: LlamaForCausalLM) -> None:
    completions = sampled(model, PROMPTS)
    for i, prompt in enumerate(PROMPTS):
        n = int(completions.mask_NT[i].sum())
        ids = torch.tensor([prompt + completions.token_NT[i, :n].tolist()])
        alone = model(input_ids=ids).logits.log_softmax(dim=-1)[0, len(prompt) - 1 : -1]
        expected = alone.gather(1, ids[0, len(prompt) :, None]).squeeze(1)
        torch.testing.assert_close(completions.logprob_NT[i, :n], expected, atol=1e-4, rtol=0)


def test_mask_ends_with_the_end_token_and_nothing_follows(model: LlamaForCausalLM) -> None:
    completions = sampled(model, PROMPTS * 20, n=40)
    assert 0 < int(completions.is_truncated_N.sum()) < 60
    for tokens, mask, is_truncated in zip(
        completions.token_NT.tolist(),
        completions.mask_NT.tolist(),
        completions.is_truncated_N.tolist(),
        strict=True,
    ):
        n = sum(mask)
        assert mask == [True] * n + [False] * (len(mask) - n)
        assert TOKENIZER.eos_id not in tokens[: n - 1]
        assert (tokens[n - 1] != TOKENIZER.eos_id) == is_truncated
        assert set(tokens[n:]) <= {TOKENIZER.pad_id}


def test_row_comes_out_the_same_whatever_else_is_in_the_batch(model: LlamaForCausalLM) -> None:
    together = sampled(model, PROMPTS, n=40, group=4)
    uniform_NT = uniforms(0, "test", shape=(12, 40))
    for i, prompt in enumerate(PROMPTS):
        alone = sample(model, [prompt], uniform_NT[4 * i : 4 * i + 4], pad_id=0, eos_ids=[2])
        length = alone.token_NT.shape[1]
        assert torch.equal(together.token_NT[4 * i : 4 * i + 4, :length], alone.token_NT)
        assert not together.mask_NT[4 * i : 4 * i + 4, length:].any()


@pytest.mark.parametrize("index", range(4))
def test_every_family_samples_what_its_own_forward_pass_says(index: int) -> None:
    model = other_models()[index]
    completions = sampled(model, PROMPTS, n=30, group=4)
    logprob_NT, _ = Policy(model)(completions)
    difference_NT = (logprob_NT - completions.logprob_NT).abs()
    assert difference_NT[completions.mask_NT].max() < 1e-4
    kind = CacheDecoder if model.config.model_type == "gpt2" else BlockDecoder
    assert decoder_of(model) is kind


def test_shared_prompt_has_the_gradient_of_rows_read_whole(model: LlamaForCausalLM) -> None:
    completions = sampled(model, PROMPTS, n=10, group=4)
    everyone = torch.arange(3).repeat_interleave(4)
    whole = replace(
        completions,
        prompt_BL=completions.prompt_BL[everyone],
        start_B=completions.start_B[everyone],
        prompt_of_N=torch.arange(12),
    )
    gradients = []
    for rows in (completions, whole):
        model.zero_grad()
        (completion_logits(model, rows).log_softmax(-1).amax(-1) * rows.mask_NT).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    model.zero_grad()
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[1].norm()


def test_batches_are_joined_row_by_row(model: LlamaForCausalLM) -> None:
    one, other = sampled(model, PROMPTS[:1], n=4, group=2), sampled(model, PROMPTS[1:], n=9)
    both = joined([one, other], TOKENIZER.pad_id)
    logprob_NT, _ = Policy(model)(both)
    assert (logprob_NT - both.logprob_NT).abs()[both.mask_NT].max() < 1e-4
    assert both.mask_NT.sum() == one.mask_NT.sum() + other.mask_NT.sum()
    assert both.is_truncated_N.tolist() == [
        *one.is_truncated_N.tolist(),
        *other.is_truncated_N.tolist(),
    ]


def test_rows_must_be_shared_out_evenly(model: LlamaForCausalLM) -> None:
    with pytest.raises(ValueError, match="5 rows cannot be shared out to 3 prompts"):
        sample(model, PROMPTS, torch.zeros(5, 2), pad_id=0, eos_ids=[2])


def test_temperature_flattens_what_is_drawn_and_what_is_said_of_it(
    model: LlamaForCausalLM,
) -> None:
    uniform_NT = uniforms(0, "hot", shape=(3, 12))
    hot = sample(model, PROMPTS, uniform_NT, pad_id=0, eos_ids=[2], temperature=3.0)
    logprob_NT, _ = Policy(model)(hot, 3.0)
    assert (logprob_NT - hot.logprob_NT).abs()[hot.mask_NT].max() < 1e-4


def test_tokens_are_drawn_in_proportion_to_their_probability(model: LlamaForCausalLM) -> None:
    completions = sampled(model, [PROMPTS[0]] * 4000, n=1)
    probabilities = model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(dim=-1)
    shares = torch.bincount(completions.token_NT[:, 0], minlength=len(TOKENIZER)) / 4000
    torch.testing.assert_close(shares, probabilities, atol=0.04, rtol=0)


def test_chosen_rows_are_cut_to_their_longest_completion(model: LlamaForCausalLM) -> None:
    completions = sampled(model, PROMPTS * 20, n=40)
    shortest = completions.mask_NT.sum(dim=1).argsort()[:2]
    rows = completions.rows(shortest)
    assert rows.token_NT.shape == rows.mask_NT.shape == rows.logprob_NT.shape
    assert rows.token_NT.shape[1] == int(completions.mask_NT[shortest].sum(dim=1).max())
    logprob_NT, _ = Policy(model)(rows)
    assert (logprob_NT - rows.logprob_NT).abs()[rows.mask_NT].max() < 1e-4


def test_entropy_is_that_of_the_policy_and_has_no_gradient(model: LlamaForCausalLM) -> None:
    completions = sampled(model, PROMPTS[:1], n=1)
    logprob_NT, entropy_NT = Policy(model)(completions)
    distribution = torch.distributions.Categorical(
        logits=model(input_ids=torch.tensor(PROMPTS[:1])).logits[0, -1]
    )
    assert entropy_NT.item() == pytest.approx(distribution.entropy().item(), abs=1e-4)
    assert logprob_NT.requires_grad
    assert not entropy_NT.requires_grad
