"""The reinforcement learning loop, through whole runs of a tiny model with random weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file

from tests.trainer.test_reward_table import make_cell
from tests.trainer.tiny import TOKENIZER, make_config
from tests.trainer.tiny_models import random_scorer
from trainer import checkpoint
from trainer.data import Group, Prompt, Rollout
from trainer.metrics import read_rows
from trainer.ranks import Ranks
from trainer.stages.errors import TrainingError
from trainer.stages.experience import Experience, advantages_of, step_ends
from trainer.stages.supervised import as_completions
from trainer.tokenizers import ByteTokenizer
from trainer.train import train
from trainer.verifiers import Outcome, Verdict

# Without a cold start no answer is right; a coin gives the groups something to differ by.
ALONE: dict[str, Any] = {
    "stages": [{"kind": "grpo"}],
    "reward": {"source": "random"},
    "run": {"eval_every": 100, "eval_problems": 4, "checkpoint_every": 1},
    "cold_start": {"check_problems": 4},
}
SMALL = {"steps": 2, "prompts_per_step": 4, "group_size": 4, "max_new_tokens": 12}
SMALL |= {"overlong_buffer": 4, "minibatches": 2, "learning_rate": 1e-2, "warm_up_steps": 1}


def run(out: Path, *, grpo: dict[str, Any] | None = None, **changes: dict[str, Any]) -> Path:
    sections = {name: ALONE.get(name, {}) for name in ALONE if name != "stages"}
    merged = {n: sections.get(n, {}) | changes.get(n, {}) for n in sections | changes}
    config = make_config(stages=ALONE["stages"], grpo=SMALL | (grpo or {}), **merged)
    train(config, out=out, cold_starts=out / "none")
    return out


def weights(out: Path) -> torch.Tensor:
    state = torch.load(out / checkpoint.FILE_NAME, weights_only=True)["policy"]
    return torch.cat([weight.flatten() for weight in state.values()])


@pytest.mark.parametrize(
    "name", ["grpo", "dr-grpo", "dapo", "gspo", "cispo", "rloo", "pass-at-k", "ppo"]
)
def test_every_objective_trains_and_says_what_it_did(name: str, tmp_path: Path) -> None:
    changes = {"k": 2} if name == "pass-at-k" else {}
    rows = read_rows(
        run(tmp_path, objective={"name": name, **changes}, critic={"warm_up_steps": 0})
    )
    assert all(row["advantage_share"] for row in rows[1:])
    assert all(abs(row["kl_k1"] or 0.0) < 1.0 for row in rows[1:])
    assert bool(rows[-1]["reference_kl"]) == (name in {"grpo", "ppo"})
    assert (rows[-1]["value_error"] or 0.0) > 0 if name == "ppo" else rows[-1]["value_error"] == 0


def test_objectives_lead_to_different_policies(tmp_path: Path) -> None:
    found = [
        weights(run(tmp_path / name, objective={"name": name})) for name in ("dapo", "dr-grpo")
    ]
    assert not torch.equal(*found)


def test_micro_batches_are_the_same_step(tmp_path: Path) -> None:
    whole = weights(run(tmp_path / "whole"))
    parts = weights(run(tmp_path / "parts", grpo={"micro_rows": 3}))
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)


def test_critic_learns_alone_at_first(tmp_path: Path) -> None:
    out = run(tmp_path, objective={"name": "ppo"}, critic={"warm_up_steps": 2}, grpo={"steps": 2})
    start = load_file(run(tmp_path / "untouched", grpo={"learning_rate": 1e-30}) / MODEL)
    for name, weight in load_file(out / MODEL).items():
        torch.testing.assert_close(weight, start[name], atol=1e-20, rtol=0)


MODEL = Path("model") / "model.safetensors"


def completions(out: Path, step: int = 1) -> list[dict[str, Any]]:
    path = out / "completions" / f"completions_{step:05d}.parquet"
    lines: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return lines


LOGGED = {"eval_every": 100, "eval_problems": 4, "log_completions": True}


@pytest.mark.parametrize(
    ("treated", "rewards"),
    [("judged", {0.0, 1.0}), ("wrong", {0.0}), ("filtered", {None}), ("punished", {0.0, 1.0})],
)
def test_truncated_completions_are_treated_as_declared(
    treated: str, rewards: set[float | None], tmp_path: Path
) -> None:
    out = run(tmp_path, run=LOGGED, grpo={"truncated": treated, "max_new_tokens": 6})
    cut = [line for line in completions(out) if line["truncated"]]
    assert {line["correctness"] for line in cut} == rewards
    if treated == "filtered":
        assert {line["advantage"] for line in cut} == {0.0}
    row = read_rows(out)[1]
    assert ("reward/overlong" in row) == (treated == "punished")
    assert row["truncated_share"] == len(cut) / 16


def test_other_channels_are_logged_apart_and_paid(tmp_path: Path) -> None:
    channels = [{"verifier": "format", "weight": 0.5}]
    out = run(
        tmp_path, run=LOGGED, reward={"source": "random", "channels": channels}, grpo={"steps": 1}
    )
    lines = completions(out)
    assert {line["format"] for line in lines} <= {0.0, 1.0, None}
    assert "reward/format" in read_rows(out)[1]
    assert {line["verdict"] for line in lines} == {"fail"}
    assert all(line["cell"].startswith("fail/") for line in lines)


def test_dynamic_sampling_takes_further_problems_until_it_may_not(tmp_path: Path) -> None:
    out = run(tmp_path, grpo={"extra_batches": 2, "steps": 1})
    row = read_rows(out)[1]
    # Nothing is right, so no group is mixed: three batches, of which none is trained on.
    assert row["chosen_share"] == 0.0
    assert row["advantage_share"] == 0.0
    assert torch.load(out / checkpoint.FILE_NAME, weights_only=True)["place"] == [0, 1, 1, 12]


def test_gradient_that_is_not_finite_stops_the_run_before_it_is_applied(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"step 2: the gradient is not finite.*--resume"):
        run(tmp_path, grpo={"learning_rate": 1e20, "steps": 5, "minibatches": 1})
    assert bool(torch.isfinite(weights(tmp_path)).all())


def test_supervised_gradient_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    teach = {"learning_rate": 1e30, "warm_up_steps": 1, "max_steps": 20, "batch_size": 8}
    with pytest.raises(TrainingError, match="the gradient of a supervised step is not finite"):
        train(make_config(cold_start=teach), out=tmp_path / "out", cold_starts=tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_verifier_that_decides_nothing_stops_the_run(tmp_path: Path) -> None:
    # It wants instructions where the task has a number.
    with pytest.raises(TrainingError, match="step 3: constraints has decided next to nothing"):
        run(tmp_path, reward={"source": "verdict", "verifier": "constraints"}, grpo={"steps": 5})
    assert [row["step"] for row in read_rows(tmp_path)] == [0, 1, 2]


def test_steps_end_where_their_text_does() -> None:
    response = "9-9=0\n\n0+8=8\n\nso \\boxed{8}"
    tokens = TOKENIZER.encode_response(response)
    ends = step_ends(tokens, response, TOKENIZER)
    assert [TOKENIZER.decode(tokens[: end + 1]) for end in ends] == [
        "9-9=0",
        "9-9=0\n\n0+8=8",
        response,
    ]
    assert ends[-1] == len(tokens) - 1
    accented = "é=1\n\n  ü"
    tokens = ByteTokenizer().encode_response(accented)
    first, _ = step_ends(tokens, accented, ByteTokenizer())
    assert ByteTokenizer().decode(tokens[: first + 1]) == "é=1"
    assert step_ends([], "", TOKENIZER) == []


def test_steps_of_a_rollout_that_is_left_out_are_no_part_of_its_group() -> None:
    scores = (0.9, 0.1, 0.1, 0.9)
    judged = Verdict(Outcome.PASS, 1.0, "a", "bare", "text", 1, 0.0)
    tokens = ByteTokenizer().encode_response("a")
    rollouts = tuple(
        Rollout(
            *(f"r-{i}", "a", len(tokens), False, judged, make_cell(), None, None),
            reward=None if i == 3 else 1.0,
            step_scores=(score,),
        )
        for i, score in enumerate(scores)
    )
    group = Group("g", Prompt("p", "1", "1", "sums", "made"), rollouts)
    rows = as_completions([([1], tokens)] * 4, 0)
    counted = torch.tensor([True, True, True, False])
    experience = Experience([0], [group], rows, [0], counted)
    steps = make_config(
        objective={"name": "process"},
        reward={"channels": [{"verifier": "process", "parameters": {"model": "m"}}]},
    )
    found = advantages_of(experience, steps, None, ByteTokenizer(), Ranks())
    three = torch.tensor(scores[:3], dtype=torch.float64)
    wanted = (three - three.mean()) / three.std(correction=0)
    torch.testing.assert_close(found[:3, 0], wanted, atol=0.02, rtol=0.02)
    assert found[3].count_nonzero() == 0


def test_process_supervision_pays_each_token_for_the_steps_from_it_on(tmp_path: Path) -> None:
    random_scorer(tmp_path / "scorer")
    scorer = {"verifier": "process", "parameters": {"model": str(tmp_path / "scorer")}}
    out = run(
        tmp_path / "out",
        run=LOGGED,
        objective={"name": "process", "kl": 0.0},
        reward={"source": "random", "channels": [scorer]},
        grpo={"steps": 1},
    )
    lines = completions(out)
    assert any(line["advantage"] for line in lines)
    assert all(0.0 <= line["process"] <= 1.0 for line in lines if line["process"] is not None)
    assert read_rows(out)[1]["advantage_share"]
