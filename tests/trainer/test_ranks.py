"""Several processes train what one trains. Real processes, talking over gloo."""

import os
import subprocess
import sys
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import Module

from tests.trainer import parts_of_weights
from tests.trainer.payloads import make_run
from tests.trainer.processes import together
from tests.trainer.recording_server import TOKEN, RecordingServer
from tests.trainer.test_command_line import recipe
from tests.trainer.test_faults import when
from tests.trainer.test_tables import make_feed
from tests.trainer.tiny import TINY, TOKENIZER, make_config
from trainer.__main__ import main
from trainer.client import AssayClient
from trainer.config import ConfigError, ModelConfig, RewardConfig, load_config
from trainer.metrics import read_rows
from trainer.model import build_model
from trainer.optimiser import Optimiser
from trainer.policy import Policy
from trainer.ranks import Ranks
from trainer.spool import RunLink
from trainer.train import MODEL_FOLDER, check_shares, train

T = TypeVar("T")
Sections = dict[str, dict[str, Any]]
STEPS = 12
GRPO = {"steps": STEPS, "prompts_per_step": 4, "group_size": 4, "max_new_tokens": 12}
GRPO |= {"minibatches": 2, "learning_rate": 1e-3, "warm_up_steps": 1, "micro_rows": 3}
GRPO |= {"overlong_buffer": 4}
SECTIONS: Sections = {
    "run": {"eval_every": 6, "eval_problems": 4, "checkpoint_every": 1, "log_completions": True},
    "cold_start": {"max_steps": 4, "min_steps": 2, "check_every": 2, "batch_size": 8}
    | {"check_problems": 4, "warm_up_steps": 2, "threads": 1},
    "reward": {"source": "random"},
    "grpo": GRPO,
    "objective": {"name": "grpo"},
}
TORCHRUN = (
    sys.executable,
    *["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
)
ADAPTERS: Sections = {**SECTIONS, "grpo": GRPO | {"steps": 3}}
ADAPTERS |= {"model": TINY["model"] | {"lora_rank": 2}, "objective": {"name": "grpo", "kl": 0.1}}
CRITIC: Sections = {**SECTIONS, "grpo": GRPO | {"steps": 3}, "objective": {"name": "ppo"}}
CHANNELS: Sections = {**SECTIONS, "grpo": GRPO | {"steps": 3}}
CHANNELS |= {
    "reward": {
        "source": "random",
        "combination": "normalise-first",
        "channels": [{"verifier": "format", "weight": 0.5}],
    }
}


def trained_by_two(out: Path, *options: str, is_spread: bool, sections: Sections = SECTIONS) -> str:
    """The output of a run in two processes."""
    command = ["train", recipe(out, **sections), "--out", str(out / "o"), *options]
    return together(run_trainer, *command, is_spread=is_spread, printed_to=out / "printed")


def run_trainer(*command: str) -> None:
    assert main(list(command)) == 0


def run_alone(out: Path, sections: Sections) -> Path:
    out.mkdir()
    config = load_config(Path(recipe(out, **sections)))
    train(config, out=out / "o", cold_starts=out / "starts")
    return out


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_alone(tmp_path_factory.mktemp("ranks") / "one", SECTIONS)


def figures(out: Path) -> list[dict[str, float | None]]:
    timed = {"seconds", "sampling_s", "waited_s"}
    return [{k: v for k, v in row.items() if k not in timed} for row in read_rows(out / "o")]


def assert_same(two: Path, one: Path, *, steps: int = STEPS) -> None:
    """The same figures, and the same model left behind."""
    assert len(figures(two)) == len(figures(one)) == 1 + steps
    for mine, theirs in zip(figures(two), figures(one), strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            if value is None or theirs[name] is None:
                assert value is theirs[name], name
            else:
                assert value == pytest.approx(theirs[name], rel=1e-4, abs=1e-6), name
    state, whole = (load_file(out / "o" / MODEL_FOLDER / "model.safetensors") for out in (two, one))
    assert state.keys() == whole.keys()
    for name, weight in state.items():
        torch.testing.assert_close(weight, whole[name], atol=1e-4, rtol=1e-4)


def test_two_processes_train_what_one_trains(tmp_path: Path, alone: Path) -> None:
    trained_by_two(tmp_path, is_spread=False)
    assert_same(tmp_path, alone)
    files = sorted(path.name for path in (tmp_path / "o" / "completions").iterdir())
    assert files == [f"completions_{step:05}.parquet" for step in range(1, 1 + STEPS)]


def test_a_process_keeps_half_of_spread_weights_and_sees_all_to_sample(tmp_path: Path) -> None:
    printed = together(parts_of_weights.main, is_spread=True, printed_to=tmp_path / "printed")
    lines = [[int(number) for number in line.split()] for line in printed.splitlines()]
    assert len(lines) == 2
    for kept, seen, whole in lines:
        assert seen == whole
        assert kept == pytest.approx(whole / 2, rel=0.01)


def test_two_processes_with_spread_weights_train_what_one_trains(
    tmp_path: Path, alone: Path
) -> None:
    assert "2 processes, weights spread over them" in trained_by_two(tmp_path, is_spread=True)
    assert_same(tmp_path, alone)


@pytest.mark.parametrize(
    "sections", [ADAPTERS, CRITIC, CHANNELS], ids=["adapters", "critic", "channels"]
)
def test_what_goes_with_a_policy_is_spread_as_well(tmp_path: Path, sections: Sections) -> None:
    """A reference for the divergence, adapters, a critic; the cold start is read from disk."""
    one = run_alone(tmp_path / "one", sections)
    options = ("--cold-starts", str(one / "starts"))
    trained_by_two(tmp_path, *options, is_spread=True, sections=sections)
    assert_same(tmp_path, one, steps=3)


def test_a_run_that_is_stopped_goes_on_with_spread_weights(tmp_path: Path, alone: Path) -> None:
    command = ["-m", "trainer", "train", recipe(tmp_path, **SECTIONS), "--out", str(tmp_path / "o")]
    process = subprocess.Popen(
        [*TORCHRUN, *command, "--cold-starts", str(alone / "starts")],
        env={k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def has_begun_or_died() -> bool:
        return len(read_rows(tmp_path / "o")) > 1 or process.poll() is not None

    when(has_begun_or_died, process.terminate).join()
    process.wait(timeout=120)
    assert 1 < len(read_rows(tmp_path / "o")) < 1 + STEPS
    trained_by_two(tmp_path, "--resume", is_spread=True)
    assert_same(tmp_path, alone)


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def keep_and_restore() -> None:
    """Keep bfloat16 weights and their optimiser, and go on with what was kept: the same?"""
    ranks = Ranks()

    def policy() -> Module:
        shape = ModelConfig(**{**TINY["model"], "dtype": "bfloat16"})
        return ranks.wrapped(Policy(build_model(shape, TOKENIZER, seed=1)))

    def take_steps(policy: Module, optimiser: Optimiser) -> dict[str, torch.Tensor]:
        for _ in range(3):
            for parameter in policy.parameters():
                parameter.grad = torch.ones_like(parameter)
            assert optimiser.take_step(1e-5, largest_norm=1.0)
        return ranks.model_state(policy) | optimiser.states("optimiser")["optimiser_weights"]

    first, second = policy(), policy()
    optimiser, again = Optimiser(first, ranks), Optimiser(second, ranks)
    take_steps(first, optimiser)
    ranks.set_model_state(second, ranks.model_state(first))
    again.restore(deepcopy(optimiser.states("optimiser")), "optimiser")
    expected, made = take_steps(first, optimiser), take_steps(second, again)
    assert expected.keys() == made.keys()
    assert not any("module" in name for name in expected)
    third = policy()
    unstepped = Optimiser(third, ranks)
    taken = unstepped.states("optimiser")
    # What is kept of an optimiser leaves it as it was: its first step is its first.
    Optimiser(policy(), ranks).restore(deepcopy(taken), "optimiser")
    fresh = policy()
    assert_equal(take_steps(third, unstepped), take_steps(fresh, Optimiser(fresh, ranks)))
    if ranks.is_first:
        same = [torch.equal(expected[name], made[name]) for name in expected]
        sys.stdout.write(f"{len(same) > 20} {all(same)}")


def test_a_critic_in_bfloat16_is_spread(tmp_path: Path) -> None:
    sections = {**CRITIC, "model": TINY["model"] | {"dtype": "bfloat16"}}
    sections["grpo"] = GRPO | {"steps": 2}
    sections["critic"] = {"warm_up_steps": 1}
    trained_by_two(tmp_path, is_spread=True, sections=sections)
    assert [row["step"] for row in read_rows(tmp_path / "o")] == [0, 1, 2]


@pytest.mark.parametrize("is_spread", [False, True], ids=["DDP", "FSDP"])
def test_bfloat16_weights_and_their_exact_copies_are_kept(is_spread: bool, tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    assert together(keep_and_restore, is_spread=is_spread, printed_to=printed) == "True True"


def wait_until_stopped(url: str, folder: str) -> None:
    """Stop at the fifth look, and print how often each process has heard of the first."""
    words = 0

    class CountingRanks(Ranks):
        def from_first(self, item: T) -> T:
            nonlocal words
            words += 1
            return super().from_first(item)

    ranks, looks = CountingRanks(), count(1)
    with AssayClient(url, TOKEN) as client:
        link = RunLink(client, make_run(), Path(folder), warn=print) if ranks.is_first else None
        config = RewardConfig(source="table", warm_up_steps=8, wait_s=600.0)
        make_feed(
            link, Path(folder), [], config, ranks=ranks, is_stopping=lambda: next(looks) >= 5
        ).at_step(9)
        sys.stdout.write(f"{ranks.gathered(words)}")
        if link is not None:
            link.close(5)


def test_each_look_is_heard_of_by_every_process(server: RecordingServer, tmp_path: Path) -> None:
    said = together(
        wait_until_stopped,
        *(server.url, str(tmp_path)),
        is_spread=False,
        printed_to=tmp_path / "printed",
    )
    assert said == "[6, 6]"


def test_work_that_cannot_be_shared_out_is_refused() -> None:
    three = Ranks()
    three.size = 3
    with pytest.raises(ConfigError, match=r"grpo.prompts_per_step: 8 cannot be shared out to 3"):
        check_shares(make_config(), three)
    few = make_config(
        grpo={"prompts_per_step": 3}, run={"eval_problems": 3}, rejection={"batch_size": 2}
    )
    with pytest.raises(ConfigError, match=r"rejection.batch_size: 2 is too few for 3 processes"):
        check_shares(few, three)
