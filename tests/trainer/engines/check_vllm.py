"""vLLM's own engine, on CPUs, samples for the trainer."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.tiny import TINY, TOKENIZER, make_config
from trainer.config import ConfigError, TrainerConfig
from trainer.engines.vllm import VllmEngine
from trainer.generation import Completions
from trainer.metrics import read_rows
from trainer.model import build_model
from trainer.policy import Policy, trained
from trainer.train import train

# Of the sizes that its kernels have.
MODEL = TINY["model"] | {"hidden_size": 64, "heads": 2, "context": 64}
SAMPLING = {"engine": "vllm", "cache_gib": 0.1}
PROMPTS = [[5, 6, 7], [5, 6, 7, 8, 9]]


def config(**model: Any) -> TrainerConfig:
    return make_config(model=MODEL | model, sampling=SAMPLING)


class Sampled:
    """A model, and the engine that samples for it."""

    def __init__(self, **shape: Any) -> None:
        made = config(**shape)
        self.model = build_model(made.model, TOKENIZER, seed=0)
        self.engine = VllmEngine(self.model, TOKENIZER, made)

    def rows(self, prompts: list[list[int]], keys: list[str], n: int = 4) -> Completions:
        self.engine.refresh()
        return self.engine.sample(prompts, keys, n=n, budget=12, temperature=0.7)

    def logprobs(self, rows: Completions) -> Tensor:
        with torch.no_grad():
            logprob_NT, _ = Policy(self.model)(rows, 0.7)
        return torch.where(rows.mask_NT, logprob_NT, 0.0)


@pytest.fixture(params=[0, 2], ids=["whole", "adapters"], scope="module")
def sampled(request: pytest.FixtureRequest) -> Iterator[Sampled]:
    yield Sampled(lora_rank=request.param)
    gc.collect()


def test_log_probabilities_are_the_models_at_the_temperature(sampled: Sampled) -> None:
    rows = sampled.rows(PROMPTS, ["a", "b"])
    torch.testing.assert_close(rows.logprob_NT, sampled.logprobs(rows), atol=1e-4, rtol=1e-4)
    assert rows.prompt_of_N.tolist() == [0] * 4 + [1] * 4


def test_rows_end_with_an_end_token_or_are_truncated(sampled: Sampled) -> None:
    rows = sampled.rows(PROMPTS, ["a", "b"], n=64)
    lengths = rows.mask_NT.sum(dim=1)
    last = rows.token_NT.gather(1, lengths[:, None] - 1).squeeze(1)
    ended = torch.isin(last, torch.tensor(sorted(TOKENIZER.eos_ids)))
    assert 0 < int(ended.sum()) < len(last)
    assert rows.is_truncated_N.tolist() == (~ended).tolist()
    assert lengths[rows.is_truncated_N].unique().tolist() == [12]
    assert (rows.token_NT[~rows.mask_NT] == TOKENIZER.pad_id).all()


def test_a_prompts_rows_are_drawn_by_its_key(sampled: Sampled) -> None:
    both = sampled.rows(PROMPTS, ["a", "b"])
    alone = sampled.rows(PROMPTS[1:], ["b"])
    torch.testing.assert_close(both.token_NT[4:, : alone.token_NT.shape[1]], alone.token_NT)
    other = sampled.rows(PROMPTS[1:], ["c"])
    assert other.token_NT.tolist() != alone.token_NT.tolist()
    assert len({tuple(row) for row in alone.token_NT.tolist()}) == 4


def test_a_change_of_the_weights_is_taken_over(sampled: Sampled) -> None:
    before = sampled.rows(PROMPTS, ["a", "b"])
    with torch.no_grad():
        for weight in trained(sampled.model):
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    after = sampled.rows(PROMPTS, ["a", "b"])
    torch.testing.assert_close(after.logprob_NT, sampled.logprobs(after), atol=1e-4, rtol=1e-4)
    assert before.token_NT.tolist() != after.token_NT.tolist()


def test_a_run_trains_with_it(tmp_path: Path) -> None:
    train(config(), out=tmp_path / "out", cold_starts=tmp_path)
    rows = read_rows(tmp_path / "out")
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert (tmp_path / "out" / "model" / "model.safetensors").exists()


def test_what_it_cannot_serve_is_refused() -> None:
    starved = make_config(model=MODEL, sampling=SAMPLING | {"cache_gib": 1e-6})
    model = build_model(starved.model, TOKENIZER, seed=0)
    with pytest.raises(ConfigError, match=r"sampling.engine: vLLM cannot serve this model: .+"):
        VllmEngine(model, TOKENIZER, starved)
