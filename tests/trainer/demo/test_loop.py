import json
import sys
from pathlib import Path

import pytest

from trainer.config import ConfigError, TrainerConfig
from trainer.demo import loop
from trainer.demo.arms import Arm, ArmFailedError, Arms, make_cold_start
from trainer.demo.loop import LABEL_LIMIT, WARM_UP_BUDGET, WINDOW_BUDGET, Tokens, planned_tables


def test_plan_of_the_demo_stays_within_the_labels_and_covers_every_step() -> None:
    plan = planned_tables(TrainerConfig())
    windows = [(table.first_step, table.last_step) for table in plan]
    assert windows == [(1, 8), (9, 18), (19, 28), (29, 38), (39, 48)]
    assert [table.valid_to_step for table in plan] == [18, 28, 38, 48, 60]
    assert WARM_UP_BUDGET + WINDOW_BUDGET * (len(plan) - 1) <= LABEL_LIMIT


@pytest.mark.parametrize(("steps", "last_valid"), [(12, [12]), (18, [18]), (25, [18, 25])])
def test_plan_of_a_short_run_ends_with_it(steps: int, last_valid: list[int]) -> None:
    plan = planned_tables(TrainerConfig.from_dict({"grpo": {"steps": steps}}))
    assert [table.valid_to_step for table in plan] == last_valid


def test_missing_tokens_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_INGEST_TOKEN", "a")
    monkeypatch.delenv("ASSAY_LABEL_TOKEN", raising=False)
    monkeypatch.delenv("ASSAY_LEAD_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="set ASSAY_LABEL_TOKEN, ASSAY_LEAD_TOKEN"):
        Tokens.from_environment()


def test_driver_without_tokens_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ASSAY_INGEST_TOKEN", raising=False)
    assert loop.main(["--url", "http://127.0.0.1:1", "--out", str(tmp_path)]) == 1
    assert "set ASSAY_INGEST_TOKEN" in capsys.readouterr().err


class ScriptArm(Arm):
    """An arm whose process runs a line of Python instead of a training."""

    def command(self, recipe: Path, *, seed: int, cold_starts: Path) -> list[str]:
        return [sys.executable, "-c", self.reward]


def make_arms(folder: Path, *scripts: str) -> Arms:
    arms: list[Arm] = [
        ScriptArm(f"arm-{i}", script, f"uid-{i}", folder / f"arm-{i}", {"ASSAY_TOKEN": "mine"})
        for i, script in enumerate(scripts)
    ]
    return Arms(arms, folder / "recipe", seed=0, cold_starts=folder)


def test_arms_run_two_at_once_and_all_of_them(tmp_path: Path) -> None:
    started = tmp_path / "started"
    script = f"open({str(started)!r}, 'a').write('x'); import time; time.sleep(0.5)"
    arms = make_arms(tmp_path, script, script, script)
    arms.tick()
    arms.tick()
    assert not (tmp_path / "arm-2").exists()
    arms.wait()
    assert started.read_text() == "xxx"


def test_arm_gets_its_own_tokens_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_LEAD_TOKEN", "secret")
    script = "import os; print({k: v for k, v in os.environ.items() if k.startswith('ASSAY')})"
    make_arms(tmp_path, script).wait()
    assert (tmp_path / "arm-0" / "train.log").read_text() == "{'ASSAY_TOKEN': 'mine'}\n"


def test_failed_arm_ends_the_wait(tmp_path: Path) -> None:
    with pytest.raises(ArmFailedError, match="arm-0: exit status 3"):
        make_arms(tmp_path, "raise SystemExit(3)").wait()


def test_stopping_ends_what_runs(tmp_path: Path) -> None:
    arms = make_arms(tmp_path, "import time; time.sleep(60)")
    arms.tick()
    arms.stop()


def test_progress_shows_each_arms_last_step(tmp_path: Path) -> None:
    arms = make_arms(tmp_path, "", "")
    (tmp_path / "arm-1").mkdir()
    row = {"step": 7, "verifier_reward": 0.5, "true_accuracy": 0.25}
    (tmp_path / "arm-1" / "metrics.jsonl").write_text(json.dumps(row) + "\n" + '{"step": 8')
    assert arms.progress() == "arm-1 step 7: reward 0.50, true 0.25"


def test_cold_start_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArmFailedError, match="cold start: exit status 2"):
        make_cold_start(tmp_path / "nowhere.toml", seed=0, cold_starts=tmp_path)


def test_batch_that_the_server_refused_ends_the_comparison(tmp_path: Path) -> None:
    arms = make_arms(tmp_path, "import time; time.sleep(60)")
    arms.tick()
    refused = tmp_path / "arm-0" / "link" / "refused"
    refused.mkdir(parents=True)
    (refused / "0000000002-prompts.json.gz.error.json").write_text("{}")
    try:
        with pytest.raises(ArmFailedError, match="arm-0: the server refused a batch"):
            arms.tick()
    finally:
        arms.stop()
