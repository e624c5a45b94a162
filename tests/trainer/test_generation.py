import pytest
import torch
from transformers import LlamaForCausalLM

from tests.trainer.tiny import TOKENIZER
from trainer.config import ModelConfig
from trainer.generation import Completions, completion_logprobs, left_pad, positions, sample
from trainer.model import Tokenizer, build_model

PROMPTS = [TOKENIZER.encode_prompt(text) for text in ("1+2=?", "9-9+8-7=?", "3-4-5=?")]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    config = ModelConfig(layers=2, hidden_size=32, intermediate_size=48, heads=4, context=64)
    model = build_model(config, TOKENIZER, seed=3)
    with torch.no_grad():  # peaked enough for mistakes to show
        model.model.embed_tokens.weight.mul_(8)
    return model


def sampled(model: LlamaForCausalLM, prompts: list[list[int]], *, n: int = 12) -> Completions:
    generator = torch.Generator().manual_seed(0)
    return sample(model, prompts, max_new_tokens=n, generator=generator)


def test_prompts_are_padded_on_the_left() -> None:
    block, start = left_pad([[1, 7], [1, 8, 9]], pad_id=0)
    assert block.tolist() == [[0, 1, 7], [1, 8, 9]]
    assert start.tolist() == [1, 0]


def test_positions_start_at_the_first_real_token() -> None:
    assert positions(torch.tensor([2, 0]), 4).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]


def test_logprobs_of_sampled_tokens_equal_a_full_forward_pass(model: LlamaForCausalLM) -> None:
    completions = sampled(model, PROMPTS)
    logprob_NT, _ = completion_logprobs(model, completions)
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
        assert Tokenizer.eos_id not in tokens[: n - 1]
        assert (tokens[n - 1] != Tokenizer.eos_id) == is_truncated
        assert set(tokens[n:]) <= {Tokenizer.pad_id}


def test_same_generator_state_gives_the_same_completions(model: LlamaForCausalLM) -> None:
    assert torch.equal(sampled(model, PROMPTS).token_NT, sampled(model, PROMPTS).token_NT)


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
    logprob_NT, _ = completion_logprobs(model, rows)
    assert (logprob_NT - rows.logprob_NT).abs()[rows.mask_NT].max() < 1e-4


def test_entropy_is_that_of_the_policy_and_has_no_gradient(model: LlamaForCausalLM) -> None:
    completions = sampled(model, PROMPTS[:1], n=1)
    logprob_NT, entropy_NT = completion_logprobs(model, completions)
    distribution = torch.distributions.Categorical(
        logits=model(input_ids=torch.tensor(PROMPTS[:1])).logits[0, -1]
    )
    assert entropy_NT.item() == pytest.approx(distribution.entropy().item(), abs=1e-4)
    assert logprob_NT.requires_grad
    assert not entropy_NT.requires_grad
