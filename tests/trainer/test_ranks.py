"""Several processes train what one trains. Real processes, talking over gloo."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.test_command_line import recipe
from tests.trainer.tiny import make_config
from trainer import checkpoint
from trainer.config import ConfigError
from trainer.metrics import read_rows
from trainer.train import check_shares

GRPO = {"steps": 2, "prompts_per_step": 4, "group_size": 4, "max_new_tokens": 12}
GRPO |= {"minibatches": 2, "learning_rate": 1e-2, "warm_up_steps": 1, "micro_rows": 3}
GRPO |= {"overlong_buffer": 4}
SECTIONS: dict[str, dict[str, Any]] = {
    "run": {"eval_every": 2, "eval_problems": 4, "checkpoint_every": 1, "log_completions": True},
    "cold_start": {"max_steps": 4, "min_steps": 2, "check_every": 2, "batch_size": 8}
    | {"check_problems": 4, "warm_up_steps": 2, "threads": 1},
    "reward": {"source": "random"},
    "grpo": GRPO,
    "objective": {"name": "grpo"},
}


def run(out: Path, *launcher: str, cold_starts: Path | None = None) -> None:
    out.mkdir()
    command = [*launcher, "-m", "trainer", "train", recipe(out, **SECTIONS)]
    command += ["--out", str(out / "o")]
    command += [] if cold_starts is None else ["--cold-starts", str(cold_starts)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ASSAY_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, *command],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def figures(out: Path) -> list[dict[str, float | None]]:
    timed = {"seconds", "sampling_s", "waited_s"}
    return [{k: v for k, v in row.items() if k not in timed} for row in read_rows(out / "o")]


def weights(out: Path) -> dict[str, Any]:
    path = out / "o" / checkpoint.FILE_NAME
    state: dict[str, Any] = torch.load(path, weights_only=True)["policy"]
    return state


TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ranks") / "one"
    run(out)
    return out


def assert_same(two: Path, one: Path) -> None:
    assert len(figures(two)) == len(figures(one)) == 3
    for mine, theirs in zip(figures(two), figures(one), strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            if value is None or theirs[name] is None:
                assert value is theirs[name], name
            else:
                assert value == pytest.approx(theirs[name], rel=1e-4, abs=1e-6), name
    state, whole = weights(two), weights(one)
    assert state.keys() == whole.keys()
    for name, weight in state.items():
        torch.testing.assert_close(weight, whole[name], atol=1e-4, rtol=1e-4)


def test_two_processes_train_what_one_trains(tmp_path: Path, alone: Path) -> None:
    run(tmp_path / "two", *TWO)
    assert_same(tmp_path / "two", alone)
    files = sorted(path.name for path in (tmp_path / "two" / "o" / "completions").iterdir())
    assert files == ["completions_00001.parquet", "completions_00002.parquet"]


def test_two_processes_start_from_a_kept_cold_start(tmp_path: Path) -> None:
    """Two on an empty folder make it; two more read what they kept, and end the same."""
    starts = tmp_path / "starts"
    for name in ("made", "read"):
        run(tmp_path / name, *TWO, cold_starts=starts)
    assert_same(tmp_path / "read", tmp_path / "made")


def test_work_that_cannot_be_shared_out_is_refused() -> None:
    class Three:
        size = 3

    with pytest.raises(ConfigError, match=r"grpo.prompts_per_step: 8 cannot be shared out to 3"):
        check_shares(make_config(), Three())  # type: ignore[arg-type]
