"""What a run leaves behind, read as others read it."""

import math
from itertools import combinations
from pathlib import Path

import pytest
from pyarrow import parquet
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.trainer.test_train import make_config
from trainer.metrics import RunLog, pass_at_k, read_rows
from trainer.train import train


def log(folder: Path, said: list[str], *, first_step: int = 0, tensorboard: bool = False) -> RunLog:
    return RunLog(
        folder, n_steps=9, first_step=first_step, tensorboard=tensorboard, warn=said.append
    )


@pytest.mark.parametrize(("n", "right", "k"), [(5, 2, 3), (4, 0, 2), (4, 4, 1), (6, 1, 6)])
def test_pass_at_k_is_the_share_of_sets_that_hold_a_right_one(n: int, right: int, k: int) -> None:
    sets = list(combinations(range(n), k))
    share = sum(min(one) < right for one in sets) / len(sets)
    assert pass_at_k(n, right, k) == pytest.approx(share)


def test_pass_at_more_than_there_are_is_no_number() -> None:
    with pytest.raises(ValueError, match="k: 5 is not between 1 and 4"):
        pass_at_k(4, 1, 5)


def test_collapse_of_entropy_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    written = log(tmp_path, said)
    for step, entropy in enumerate([1.0, 1.2, 0.8, 0.2, 0.09, 0.05], start=1):
        written.add({"step": step, "entropy": entropy})
    assert len(said) == 1
    assert said[0].startswith("step 5: the policy's entropy has collapsed to 0.090 nats")


def test_rows_are_shown_on_tensorboard_too(tmp_path: Path) -> None:
    written = log(tmp_path, [], tensorboard=True)
    written.add({"step": 1, "entropy": 0.5, "kl_k1": None})
    written.add({"step": 2, "entropy": 0.25})
    written.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("entropy")]
    assert found == [(1, 0.5), (2, 0.25)]


def test_process_that_is_not_the_first_writes_nothing(tmp_path: Path) -> None:
    silent = RunLog(None, n_steps=1, first_step=0, tensorboard=True, warn=print)
    silent.add({"step": 1, "entropy": 0.5})
    silent.close()
    assert list(tmp_path.iterdir()) == []


def test_several_completions_a_problem_give_pass_at_k(tmp_path: Path) -> None:
    config = make_config(run={"eval_samples": 4}, cold_start={"max_steps": 4})
    train(config, out=tmp_path, cold_starts=tmp_path)
    row = read_rows(tmp_path)[0]
    for name in ("eval_pass_at_4", "eval_true_pass_at_4"):
        value = row[name]
        assert value is not None
        assert value >= (row["eval_reward"] or 0.0)
        assert math.isclose(value * 8, round(value * 8))


def test_completions_have_the_columns_that_trl_writes(tmp_path: Path) -> None:
    config = make_config(run={"log_completions": True}, cold_start={"max_steps": 4})
    train(config, out=tmp_path, cold_starts=tmp_path)
    path = tmp_path / "completions" / "completions_00001.parquet"
    columns = parquet.read_schema(path).names
    assert columns[:4] == ["step", "prompt", "completion", "correctness"]
    assert {"verdict", "cell", "table_version", "advantage"} <= set(columns)
