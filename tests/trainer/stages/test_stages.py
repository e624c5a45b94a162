"""Stages in a row: gates, rejection sampling, and going on in the middle."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.recording_server import TOKEN, RecordingServer
from tests.trainer.tiny import make_config
from trainer import checkpoint
from trainer.config import TrainerConfig
from trainer.metrics import read_rows
from trainer.run import Run
from trainer.stages.errors import TrainingError
from trainer.train import Server, train

FOUR: list[dict[str, Any]] = [
    {"kind": "cold_start"},
    {"kind": "grpo", "settings": {"steps": 2}},
    {"kind": "rejection"},
    {"kind": "grpo", "settings": {"steps": 1, "learning_rate": 1e-4}},
]


@pytest.fixture(scope="module")
def cold_starts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cold-starts")


def config(stages: list[dict[str, Any]], **changes: dict[str, Any]) -> TrainerConfig:
    return make_config(
        stages=stages,
        rejection={"problems": 32, "samples": 4, "kept": 2, "epochs": 1, "batch_size": 8},
        reward={"source": "random"},
        **changes,
    )


def test_stages_follow_each_other_and_count_their_steps_on(
    tmp_path: Path, cold_starts: Path, server: RecordingServer
) -> None:
    where = Server(server.url, TOKEN)
    train(config(FOUR), out=tmp_path, cold_starts=cold_starts, server=where)
    rows = read_rows(tmp_path)
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert ["loss" in row for row in rows] == [False, False, False, True, False]
    assert rows[4]["learning_rate"] == pytest.approx(1e-4 / 8 * 0.1)
    assert server.updates()[-1] == {"status": "finished"}
    # A problem is asked once: the rejection stage goes on where the stage before stopped.
    assert len({prompt["uid"] for prompt in server.sent("prompts")}) == 2 * 8 + 32 + 8


def test_rejection_learns_what_was_accepted(tmp_path: Path, cold_starts: Path) -> None:
    stages = [FOUR[0], FOUR[2]]
    train(config(stages), out=tmp_path, cold_starts=cold_starts)
    first, last = read_rows(tmp_path)
    assert (last["loss"] or 0.0) > 0
    assert last["step"] == 1
    assert first["eval_reward"] is not None


def test_rejection_without_anything_accepted_says_so(tmp_path: Path) -> None:
    wrong = make_config(
        stages=[{"kind": "rejection"}], rejection={"problems": 8, "samples": 2, "batch_size": 8}
    )
    with pytest.raises(TrainingError, match=r"of 16 completions 0 were accepted, too few"):
        train(wrong, out=tmp_path, cold_starts=tmp_path)


def test_stage_under_its_gate_ends_the_run(tmp_path: Path, cold_starts: Path) -> None:
    gated = [{"kind": "cold_start", "gate": 0.99}, {"kind": "grpo"}]
    with pytest.raises(TrainingError, match=r"stage 1 \(cold_start\) .* under its gate of 0.99"):
        train(config(gated), out=tmp_path, cold_starts=cold_starts)
    assert read_rows(tmp_path) == []


def test_run_goes_on_between_stages_as_if_it_had_not_stopped(
    tmp_path: Path, cold_starts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config(FOUR), out=tmp_path / "whole", cold_starts=cold_starts)

    class CrashError(Exception):
        pass

    save = Run.save

    def crash(self: Run, saved: checkpoint.Checkpoint) -> None:
        save(self, saved)
        if saved.place.stage == 2:
            raise CrashError

    with monkeypatch.context() as patched:
        patched.setattr(Run, "save", crash)
        with pytest.raises(CrashError):
            train(config(FOUR), out=tmp_path / "broken", cold_starts=cold_starts)
    train(config(FOUR), out=tmp_path / "broken", cold_starts=cold_starts, resume=True)
    whole, broken = (
        torch.load(tmp_path / name / checkpoint.FILE_NAME, weights_only=True)["policy"]
        for name in ("whole", "broken")
    )
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
