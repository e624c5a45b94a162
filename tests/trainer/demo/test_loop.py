import json
import sys
import time
from pathlib import Path

import pytest

from trainer.config import ConfigError
from trainer.demo import loop
from trainer.demo.arms import Arm, ArmFailedError, Arms, make_cold_start
from trainer.demo.loop import Tokens
from trainer.demo.plans import ARMS, ArmPlan


def test_missing_tokens_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_INGEST_TOKEN", "a")
    monkeypatch.delenv("ASSAY_LABEL_TOKENS", raising=False)
    monkeypatch.delenv("ASSAY_LEAD_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="set ASSAY_LABEL_TOKENS, ASSAY_LEAD_TOKEN"):
        Tokens.from_environment()


def test_driver_without_tokens_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ASSAY_INGEST_TOKEN", raising=False)
    assert loop.main(["--url", "http://127.0.0.1:1", "--out", str(tmp_path)]) == 1
    assert "set ASSAY_INGEST_TOKEN" in capsys.readouterr().err


def test_arm_with_more_reviewers_than_tokens_is_refused() -> None:
    arms = [ARMS["raw"], ARMS["calibrated-300-erring"]]
    Tokens("ingest", ("a", "b", "c"), "lead").check(arms)
    with pytest.raises(ConfigError, match="ASSAY_LABEL_TOKENS: make it 3 tokens"):
        Tokens("ingest", ("a", "b"), "lead").check(arms)


def test_unknown_arm_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        loop.main(["--url", "http://127.0.0.1:1", "--out", str(tmp_path), "--arms", "raw,rew"])
    assert "rew is none of raw" in capsys.readouterr().err


def test_arm_trains_with_its_own_settings(tmp_path: Path) -> None:
    arm = Arm(ARMS["raw-kl-constant"], "uid", tmp_path, {})
    command = arm.command(tmp_path / "demo.toml", seed=3, cold_starts=tmp_path)
    settings = [command[i + 1] for i, part in enumerate(command) if part == "--set"]
    assert {"objective.kl=0.04", "grpo.final_learning_rate_share=1.0"} <= set(settings)
    assert command[command.index("--reward") + 1] == "verdict"


class ScriptArm(Arm):
    """An arm whose process runs a line of Python instead of a training."""

    def command(self, recipe: Path, *, seed: int, cold_starts: Path) -> list[str]:
        return [sys.executable, "-c", self.plan.reward]


def make_arms(folder: Path, *scripts: str) -> Arms:
    arms: list[Arm] = [
        ScriptArm(
            ArmPlan(f"arm-{i}", f"arm {i}", script),
            f"uid-{i}",
            folder / f"arm-{i}",
            {"ASSAY_TOKEN": "mine"},
        )
        for i, script in enumerate(scripts)
    ]
    return Arms(arms, folder / "recipe", seed=0, cold_starts=folder)


def wait_for(arms: Arms) -> None:
    while not arms.is_done:
        arms.tick()
        time.sleep(0.05)


def test_arms_run_two_at_once_and_all_of_them(tmp_path: Path) -> None:
    started = tmp_path / "started"
    script = f"open({str(started)!r}, 'a').write('x'); import time; time.sleep(0.5)"
    arms = make_arms(tmp_path, script, script, script)
    arms.tick()
    arms.tick()
    assert not (tmp_path / "arm-2").exists()
    assert arms.has_started("arm-1")
    assert not arms.has_started("arm-2")
    wait_for(arms)
    assert started.read_text() == "xxx"


def test_arm_gets_its_own_tokens_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_LEAD_TOKEN", "secret")
    script = "import os; print({k: v for k, v in os.environ.items() if k.startswith('ASSAY')})"
    wait_for(make_arms(tmp_path, script))
    assert (tmp_path / "arm-0" / "train.log").read_text() == "{'ASSAY_TOKEN': 'mine'}\n"


def test_failed_arm_ends_the_wait(tmp_path: Path) -> None:
    with pytest.raises(ArmFailedError, match="arm-0: exit status 3"):
        wait_for(make_arms(tmp_path, "raise SystemExit(3)"))


def test_stopping_ends_what_runs(tmp_path: Path) -> None:
    arms = make_arms(tmp_path, "import time; time.sleep(60)")
    arms.tick()
    arms.stop()


def test_progress_shows_the_last_step_of_what_runs(tmp_path: Path) -> None:
    arms = make_arms(tmp_path, *["import time; time.sleep(60)"] * 2)
    arms.tick()
    row = {"step": 7, "verifier_reward": 0.5, "true_accuracy": 0.25}
    (tmp_path / "arm-1" / "metrics.jsonl").write_text(json.dumps(row) + "\n" + '{"step": 8')
    try:
        assert arms.progress() == "arm-1 step 7: reward 0.50, true 0.25"
    finally:
        arms.stop()


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
