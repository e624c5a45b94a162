import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import parquet

from tests.trainer.recording_server import TOKEN, RecordingServer
from tests.trainer.test_tables import ENTRY, make_table
from tests.trainer.tiny import TOKENIZER, make_config
from trainer import checkpoint
from trainer.config import ConfigError, GrpoConfig, TrainerConfig
from trainer.demo.task import is_correct
from trainer.metrics import METRICS_FILE, read_rows
from trainer.stages import grpo as training
from trainer.stages.cold_start import fingerprint
from trainer.stages.errors import TrainingError
from trainer.stages.grpo import learning_rate_at
from trainer.tasks import task_of
from trainer.train import MODEL_FOLDER, Server, train
from trainer.verifiers import Item, build


@pytest.fixture(scope="module")
def cold_starts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cold-starts")


def weights(folder: Path) -> dict[str, Any]:
    contents: dict[str, Any] = torch.load(folder / checkpoint.FILE_NAME, weights_only=True)
    return contents["policy"]


def is_same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(first[name], second[name]) for name in first)


def comparable(folder: Path) -> list[dict[str, float | None]]:
    return [
        {
            key: value
            for key, value in row.items()
            if key not in {"seconds", "waited_s", "sampling_s"}
        }
        for row in read_rows(folder)
    ]


def test_run_alone_leaves_metrics_for_every_step(tmp_path: Path, cold_starts: Path) -> None:
    train(make_config(), out=tmp_path, cold_starts=cold_starts)
    rows = read_rows(tmp_path)
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert ["eval_reward" in row for row in rows] == [True, False, True, False, True]
    assert rows[1]["kept_share"] == 1.0
    assert rows[1]["table_version"] is None


def test_held_out_problems_are_sampled_more_often_at_the_ends(
    tmp_path: Path, cold_starts: Path
) -> None:
    train(make_config(run={"eval_samples": 2}), out=tmp_path, cold_starts=cold_starts)
    rows = read_rows(tmp_path)
    assert ["eval_true_pass_at_2" in row for row in rows] == [True, False, False, False, True]
    assert ["eval_reward" in row for row in rows] == [True, False, True, False, True]


def test_same_seed_gives_the_same_run_and_another_seed_another(
    tmp_path: Path, cold_starts: Path
) -> None:
    config = make_config()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        seeded = config.with_overrides(seed=seed, reward_source=None)
        train(seeded, out=tmp_path / name, cold_starts=cold_starts)
    assert any(row.get("advantage_share") for row in read_rows(tmp_path / "a"))
    assert comparable(tmp_path / "a") == comparable(tmp_path / "b")
    assert is_same(tmp_path / "a", tmp_path / "b")
    assert not is_same(tmp_path / "a", tmp_path / "c")


def test_cold_start_is_made_once_and_shared(tmp_path: Path) -> None:
    config = make_config()
    train(config, out=tmp_path / "a", cold_starts=tmp_path)
    path = tmp_path / f"{fingerprint(config, TOKENIZER)}.safetensors"
    made_at = path.stat().st_mtime_ns
    train(
        config.with_overrides(seed=None, reward_source="true"),
        out=tmp_path / "b",
        cold_starts=tmp_path,
    )
    assert path.stat().st_mtime_ns == made_at
    assert read_rows(tmp_path / "a")[0] == read_rows(tmp_path / "b")[0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_resumed_run_ends_where_an_unbroken_one_does(
    dtype: str, tmp_path: Path, cold_starts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(model={"dtype": dtype})
    train(config, out=tmp_path / "whole", cold_starts=cold_starts)

    class CrashError(Exception):
        """The process ends in step 4, after the checkpoint of step 2 and the row of step 3."""

    def crash(step: int, config: GrpoConfig) -> float:
        if step == 4:
            raise CrashError
        return learning_rate_at(step, config)

    with monkeypatch.context() as patched:
        patched.setattr(training, "learning_rate_at", crash)
        with pytest.raises(CrashError):
            train(config, out=tmp_path / "broken", cold_starts=cold_starts)
    assert len(read_rows(tmp_path / "broken")) == 4
    train(config, out=tmp_path / "broken", cold_starts=cold_starts, resume=True)
    assert comparable(tmp_path / "broken") == comparable(tmp_path / "whole")
    assert is_same(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_after_the_step_and_the_run_can_go_on(
    number: signal.Signals,
    tmp_path: Path,
    cold_starts: Path,
    server: RecordingServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def signalled(step: int, config: GrpoConfig) -> float:
        if step == 3:
            os.kill(os.getpid(), number)
        return learning_rate_at(step, config)

    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr(training, "learning_rate_at", signalled)
        train(
            make_config(),
            out=tmp_path,
            cold_starts=cold_starts,
            server=Server(server.url, TOKEN),
        )
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert "stopped after step 3" in capsys.readouterr().out
    assert server.updates() == [{"completed_step": n} for n in (1, 2, 3)]
    train(
        make_config(),
        out=tmp_path,
        cold_starts=cold_starts,
        resume=True,
        server=Server(server.url, TOKEN),
    )
    assert server.updates()[3:] == [{"completed_step": 4}, {"status": "finished"}]
    assert [row["step"] for row in read_rows(tmp_path)] == [0, 1, 2, 3, 4]


def test_run_that_ends_before_its_first_step_can_go_on(
    tmp_path: Path, cold_starts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CrashError(Exception):
        """The process ends in step 1."""

    def crash(step: int, config: GrpoConfig) -> float:
        raise CrashError

    with monkeypatch.context() as patched:
        patched.setattr(training, "learning_rate_at", crash)
        with pytest.raises(CrashError):
            train(make_config(), out=tmp_path, cold_starts=cold_starts, uid="u")
    train(make_config(), out=tmp_path, cold_starts=cold_starts, resume=True)
    assert [row["step"] for row in read_rows(tmp_path)] == [0, 1, 2, 3, 4]


def test_groups_reach_the_server_whole_and_in_order(
    tmp_path: Path, cold_starts: Path, server: RecordingServer
) -> None:
    train(
        make_config(),
        out=tmp_path,
        cold_starts=cold_starts,
        uid="run-7",
        server=Server(server.url, TOKEN),
    )
    prompts, rollouts = server.sent("prompts"), server.sent("rollouts")
    assert len({prompt["uid"] for prompt in prompts}) == len(prompts) == 32
    assert len({rollout["uid"] for rollout in rollouts}) == len(rollouts) == 128
    assert [rollout["step"] for rollout in rollouts] == [
        step for step in (1, 2, 3, 4) for _ in range(32)
    ]
    assert rollouts[-1]["policy"] == "step-3"
    assert {r["reward"] for r in rollouts} <= {0.0, 1.0}
    assert {r["verdicts"][0]["verifier"] for r in rollouts} == {"boxed-any"}
    registered = server.requests[0].body
    assert registered["uid"] == "run-7"
    assert registered["config"]["grpo"]["group_size"] == registered["group_size"] == 4
    assert server.updates()[-1] == {"status": "finished"}


@pytest.mark.parametrize("probe", [True, False])
def test_rollouts_that_look_like_a_hack_are_marked_where_the_recipe_says_so(
    probe: bool, tmp_path: Path, cold_starts: Path, server: RecordingServer
) -> None:
    train(
        make_config(reward={"probe": probe}),
        out=tmp_path,
        cold_starts=cold_starts,
        server=Server(server.url, TOKEN),
    )
    rollouts = server.sent("rollouts")
    items = [Item("", rollout["messages"][0]["content"], ()) for rollout in rollouts]
    is_hit = [verdict.outcome == "fail" for verdict in build("probe").verify(items)]
    assert any(is_hit)
    assert [rollout["probe"] for rollout in rollouts] == [probe and hit for hit in is_hit]


def test_table_gives_the_reward_after_the_warm_up(
    tmp_path: Path, cold_starts: Path, server: RecordingServer
) -> None:
    abstaining = ENTRY | {"abstain": True, "p_correct": 0.5}
    server.table = make_table(3, first=2, last=4)
    server.table["fallback"] |= {"fail": abstaining}
    train(
        make_config(reward={"source": "table", "warm_up_steps": 2}),
        out=tmp_path,
        cold_starts=cold_starts,
        server=Server(server.url, TOKEN),
    )
    for rollout in server.sent("rollouts"):
        is_accepted = rollout["verdicts"][0]["outcome"] == "pass"
        expected = (
            (1.0 if is_accepted else 0.0) if rollout["step"] <= 2 else 0.5 if is_accepted else None
        )
        assert rollout["reward"] == expected
        assert rollout["table_version"] == (None if rollout["step"] <= 2 else 3)
    last = read_rows(tmp_path)[-1]
    assert last["kept_share"] == last["verifier_reward"]
    assert last["table_version"] == 3


def completions(folder: Path, step: int) -> list[dict[str, Any]]:
    path = folder / "completions" / f"completions_{step:05d}.parquet"
    lines: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return lines


def test_true_reward_is_the_rubric(tmp_path: Path, cold_starts: Path) -> None:
    config = make_config(run={"log_completions": True}, reward={"source": "true"})
    train(config, out=tmp_path, cold_starts=cold_starts)
    lines = completions(tmp_path, 1)
    assert len(lines) == 32
    for line in lines:
        assert line["correctness"] == float(is_correct(line["completion"], line["prompt"]))
        assert line["is_correct"] == bool(line["correctness"])


def test_learning_rate_warms_up_and_falls_to_its_share() -> None:
    config = GrpoConfig(
        steps=100, warm_up_steps=10, learning_rate=1.0, final_learning_rate_share=0.1
    )
    assert learning_rate_at(1, config) == pytest.approx(0.1 * (1 - 0.009))
    assert learning_rate_at(50, config) == pytest.approx(0.55)
    assert learning_rate_at(100, config) == pytest.approx(0.1)


def refusal(config: TrainerConfig, out: Path, **options: Any) -> str:
    """The message; nothing may have been trained or sampled by then."""
    with pytest.raises(ConfigError) as refused:
        train(config, out=out, cold_starts=out / "none", **options)
    assert not (out / "none").exists()
    return str(refused.value)


def test_context_that_is_too_short_is_refused_with_the_length_it_needs(tmp_path: Path) -> None:
    message = refusal(make_config(grpo={"max_new_tokens": 44}), tmp_path)
    assert message.startswith("model.context: 48 is too short for the longest prompt (7 tokens)")
    assert message.endswith("make it at least 51")


def test_table_without_a_server_is_refused(tmp_path: Path) -> None:
    assert "set ASSAY_URL" in refusal(make_config(reward={"source": "table"}), tmp_path)


def test_an_engine_that_is_not_installed_is_refused(tmp_path: Path) -> None:
    message = refusal(make_config(sampling={"engine": "vllm"}), tmp_path)
    assert message == 'sampling.engine: vLLM is not installed; install it, or make it "own"'


def test_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / METRICS_FILE).write_text("")
    assert "--resume" in refusal(make_config(), tmp_path)


def test_resuming_needs_a_checkpoint(tmp_path: Path) -> None:
    assert "no checkpoint" in refusal(make_config(), tmp_path, resume=True)


def test_resuming_with_other_settings_is_refused(tmp_path: Path, cold_starts: Path) -> None:
    train(make_config(), out=tmp_path, cold_starts=cold_starts)
    message = refusal(make_config(objective={"clip_low": 0.1}), tmp_path, resume=True)
    assert "other settings" in message


def test_what_changes_no_step_may_be_other_on_resuming_and_is_said(
    tmp_path: Path, cold_starts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = [{"kind": "cold_start"}, {"kind": "grpo", "gate": 1.0}]
    with pytest.raises(TrainingError, match=r"lower stages\.gate"):
        train(make_config(stages), out=tmp_path, cold_starts=cold_starts)
    stages[1]["gate"] = 0.0
    slower = make_config(stages, grpo={"learning_rate": 1e-5}, run={"on_hold": "pause"})
    train(slower, out=tmp_path, cold_starts=cold_starts, resume=True)
    said = capsys.readouterr().err
    assert "warning: goes on with other settings: grpo.learning_rate, run.on_hold, stages" in said
    assert (tmp_path / MODEL_FOLDER).is_dir()


@pytest.mark.parametrize("name", ["ASSAY_URL", "ASSAY_TOKEN"])
def test_server_needs_both_address_and_token(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ASSAY_URL", "ASSAY_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    assert Server.from_environment() is None
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigError, match="set both"):
        Server.from_environment()


def test_prompt_uid_names_one_problem_whatever_the_seed() -> None:
    texts: dict[str, str] = {}
    task = task_of(make_config().task, n_held_out=8)
    for seed in (0, 1):
        for prompt in [*task.training(seed=seed, first=0, n=32), *task.held_out(8)]:
            assert texts.setdefault(prompt.uid, prompt.text) == prompt.text
