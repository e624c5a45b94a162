"""Training from a model in a folder: chat template, several end tokens, adapters, bytes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests import SHARED_DATA
from tests.sandboxes import needs_sandbox
from tests.trainer.tiny_models import tokenizer
from trainer.config import ConfigError, ModelConfig, TrainerConfig, load_config
from trainer.engines.own import OwnEngine
from trainer.metrics import read_rows
from trainer.model import build_model, tokenizer_of
from trainer.policy import Policy
from trainer.tokenizers import ByteTokenizer, ChatTokenizer
from trainer.train import train

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
GRPO = {"steps": 2, "prompts_per_step": 4, "group_size": 4, "max_new_tokens": 8}
GRPO |= {"minibatches": 1, "learning_rate": 1e-2, "warm_up_steps": 1, "overlong_buffer": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    path = tmp_path_factory.mktemp("model")
    words = tokenizer(context=256, chat=CHAT)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config.eos_token_id = [2, 40]
    model.save_pretrained(path)
    words.save_pretrained(path)
    return path


def problems(folder: Path, n: int = 10) -> Path:
    path = folder / "problems.jsonl"
    lines = [{"prompt": f"What is {i} + {i}?", "reference": str(2 * i)} for i in range(n)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def config(folder: Path, out: Path, **changes: dict[str, Any]) -> TrainerConfig:
    sections: dict[str, Any] = {
        "run": {"eval_every": 9, "eval_problems": 2, "checkpoint_every": 1},
        "model": {"path": str(folder), "context": 128} | changes.pop("model", {}),
        "task": {"kind": "jsonl", "path": str(problems(out))},
        "cold_start": {"check_problems": 2},
        "grpo": GRPO,
        "reward": {"source": "random", "verifier": "last-number"},
        "stages": [{"kind": "grpo"}],
    }
    return TrainerConfig.from_dict(sections | changes)


def weights(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = load_file(path / "model.safetensors")
    return found


def test_problem_is_the_user_s_turn_and_any_end_token_ends(folder: Path) -> None:
    words = tokenizer_of(ModelConfig(path=str(folder), system_prompt="Be brief."), None)
    prompt = words.encode_prompt("1+1?")
    assert words.decode(prompt) == "<system>Be brief.\n<user>1+1?\n<assistant>"
    assert words.eos_ids == (2, 40)
    assert words.decode([*words.encode_response("2 ")[:-1], 40, 50]) == "2 "


def test_a_response_that_is_taught_ends_with_the_template_s_own_end_token(folder: Path) -> None:
    words = ChatTokenizer(
        AutoTokenizer.from_pretrained(folder), eos_ids=(1, 2, 40), system_prompt=""
    )
    assert words.eos_ids[0] == 1
    assert words.encode_response("2")[-1] == 2


def test_trained_model_is_left_as_transformers_reads_it(folder: Path, tmp_path: Path) -> None:
    train(config(folder, tmp_path), out=tmp_path / "out", cold_starts=tmp_path)
    assert [row["step"] for row in read_rows(tmp_path / "out")] == [0, 1, 2]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    assert model.config.model_type == "qwen2"
    again = tokenizer_of(ModelConfig(path=str(tmp_path / "out" / "model")), None)
    assert again.encode_prompt("1") == tokenizer_of(
        ModelConfig(path=str(folder)), None
    ).encode_prompt("1")
    before, after = weights(folder), weights(tmp_path / "out" / "model")
    assert any(not torch.equal(before[name], weight) for name, weight in after.items())


def test_adapters_alone_are_trained_and_merged_into_what_is_left(
    folder: Path, tmp_path: Path
) -> None:
    train(
        config(folder, tmp_path, model={"lora_rank": 2}), out=tmp_path / "out", cold_starts=tmp_path
    )
    before, after = weights(folder), weights(tmp_path / "out" / "model")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any("embed" in name or "norm" in name for name in changed)


def test_checkpointed_layers_and_half_precision_train_too(folder: Path, tmp_path: Path) -> None:
    slim = {"gradient_checkpointing": True, "dtype": "bfloat16"}
    train(config(folder, tmp_path, model=slim), out=tmp_path / "out", cold_starts=tmp_path)
    assert read_rows(tmp_path / "out")[-1]["advantage_share"]


def test_checkpointing_changes_memory_and_not_the_numbers(folder: Path, tmp_path: Path) -> None:
    rows = []
    for name, is_on in (("plain", False), ("checkpointed", True)):
        changes = {"gradient_checkpointing": is_on}
        train(config(folder, tmp_path, model=changes), out=tmp_path / name, cold_starts=tmp_path)
        rows.append(weights(tmp_path / name / "model"))
    for name, weight in rows[0].items():
        torch.testing.assert_close(weight, rows[1][name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_a_model_of_any_family_is_sampled_with_what_stands_before(
    is_checkpointed: bool, tmp_path: Path
) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    words = tokenizer(context=64, chat=CHAT)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": len(words)}
    torch.manual_seed(0)
    Gemma2ForCausalLM(Gemma2Config(**shape, max_position_embeddings=64)).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    settings = ModelConfig(path=str(tmp_path), context=64, gradient_checkpointing=is_checkpointed)
    chat = tokenizer_of(settings, None)
    model = build_model(settings, chat, seed=0)
    prompts = [chat.encode_prompt("1+1?"), chat.encode_prompt("What is 2+2?")]
    made = OwnEngine(model, chat, seed=0).sample(
        prompts, ["a", "b"], n=2, budget=12, temperature=1.0
    )
    assert model.training
    with torch.no_grad():
        logprob_NT, _ = Policy(model)(made)
    torch.testing.assert_close(
        made.logprob_NT, torch.where(made.mask_NT, logprob_NT, 0.0), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "/nowhere"}, "model.path: '/nowhere' is no model that can be read"),
        ({"context": 512}, "model.context: 512 is more than the 256 tokens"),
        ({"context": 20}, "model.context: 20 is too short for the longest prompt"),
    ],
)
def test_model_that_cannot_be_used_is_refused_before_anything_is_generated(
    changes: dict[str, Any], message: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(config(folder, tmp_path, model=changes), out=tmp_path / "out", cold_starts=tmp_path)
    assert not (tmp_path / "out" / "metrics.jsonl").exists()


def test_model_without_a_chat_template_is_refused_with_the_way_out(
    folder: Path, tmp_path: Path
) -> None:
    tokenizer(context=256).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no chat template; name a chat or instruct model"):
        tokenizer_of(ModelConfig(path=str(tmp_path)), None)


def test_true_reward_needs_a_task_that_knows_what_is_right(folder: Path, tmp_path: Path) -> None:
    asked = config(folder, tmp_path, reward={"source": "true"})
    with pytest.raises(ConfigError, match=r'reward.source: "true" needs a task that knows'):
        train(asked, out=tmp_path / "out", cold_starts=tmp_path)


@pytest.mark.parametrize("text", ["", "a\n\nb", "Größe → 3 €", "\udcff", "\U0001f600"])
def test_bytes_survive_a_round_trip(text: str) -> None:
    words = ByteTokenizer()
    ids = words.encode_response(text)
    assert len(words) == 259
    assert ids[-1] in words.eos_ids
    expected = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    assert words.decode(ids) == expected


RECIPES = Path(__file__).parents[2] / "trainer" / "recipes"
TINY = ["model.path=", "model.dtype=float32", "model.layers=1", "model.hidden_size=32"]
TINY += ["model.intermediate_size=32", "model.heads=2", "model.context=4096"]
TINY += ["run.eval_problems=2", "run.eval_samples=1", "run.eval_every=50", "grpo.steps=1"]
TINY += ["cold_start.check_problems=2", "grpo.prompts_per_step=2", "grpo.group_size=2"]
TINY += ["grpo.max_new_tokens=16", "grpo.overlong_buffer=8", "reward.source=random"]
TINY += ["grpo.extra_batches=0"]


def run_recipe(name: str, data: Path, out: Path) -> TrainerConfig:
    """The recipe for a small model with random weights, of which nothing can be learnt by heart."""
    loaded = load_config(RECIPES / f"{name}.toml", [*TINY, f"task.path={data}"])
    ungated = [{"kind": stage.kind} for stage in loaded.stages if stage.kind == "grpo"]
    return TrainerConfig.from_dict(loaded.to_dict() | {"stages": ungated})


def test_gsm8k_recipe_runs_with_a_small_model(tmp_path: Path) -> None:
    data = SHARED_DATA / "gsm8k" / "test.jsonl"
    if not data.exists():
        pytest.skip("GSM8K is not beside the project")
    train(run_recipe("gsm8k", data, tmp_path), out=tmp_path / "out", cold_starts=tmp_path)
    rows = read_rows(tmp_path / "out")
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert "reward/format" in rows[1]
    assert "reward/overlong" in rows[1]
    assert (tmp_path / "out" / "tensorboard").exists()


@needs_sandbox
def test_code_recipe_runs_with_a_small_model(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    tests = {"inputs": ["3\n"], "outputs": ["9\n"]}
    lines = [{"prompt": f"Square a number, {i}", "tests": tests} for i in range(10)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    train(run_recipe("code", path, tmp_path), out=tmp_path / "out", cold_starts=tmp_path)
    assert [row["step"] for row in read_rows(tmp_path / "out")] == [0, 1]


def test_adapters_of_one_seed_are_the_same() -> None:
    shape = ModelConfig(layers=1, hidden_size=32, heads=2, lora_rank=2)
    one, same = (build_model(shape, ByteTokenizer(), seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any("lora_A" in name for name in one)
