from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.tiny import TINY, TOKENIZER, make_config
from trainer.config import ColdStartConfig, TrainerConfig
from trainer.stages.cold_start import fingerprint, learning_rate_at
from trainer.train import make_cold_start, train

SHORT = {"max_steps": 4, "min_steps": 2, "check_every": 2}
ONLY = [{"kind": "cold_start"}]


def made(config: TrainerConfig, folder: Path) -> dict[str, torch.Tensor]:
    """The weights that are kept."""
    with TemporaryDirectory() as scratch:
        make_cold_start(config, cold_starts=folder, scratch=Path(scratch))
    (path,) = folder.glob("*.safetensors")
    return load_file(path)


def test_cold_start_is_the_same_for_the_same_seed_and_made_once(tmp_path: Path) -> None:
    config = make_config(cold_start=SHORT)
    first, again, read = (made(config, tmp_path / folder) for folder in "aba")
    for name, weight in first.items():
        assert torch.equal(weight, again[name])
        assert torch.equal(weight, read[name])


def test_run_reads_the_kept_weights_exactly(tmp_path: Path) -> None:
    config = make_config(cold_start=SHORT, grpo={"steps": 1}, stages=ONLY)
    kept = made(config, tmp_path / "kept")
    train(config, out=tmp_path / "out", cold_starts=tmp_path / "kept")
    model = load_file(tmp_path / "out" / "model" / "model.safetensors")
    assert all(torch.equal(model[name], weight) for name, weight in kept.items() if name in model)


def test_it_stops_when_the_target_is_reached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(make_config(cold_start=SHORT | {"target_accuracy": 0.0}), tmp_path)
    assert "cold start: 2 steps" in capsys.readouterr().out


def test_fingerprint_depends_on_what_the_weights_depend_on_and_no_more() -> None:
    config = make_config()
    same = make_config(grpo={"steps": 9, "learning_rate": 1e-3}, reward={"source": "true"})
    others = [
        config.with_overrides(seed=1, reward_source=None),
        make_config(model={"layers": 2}),
        make_config(task={"odd_share": 0.5}),
        make_config(cold_start={"max_steps": 7}),
    ]
    assert fingerprint(same, TOKENIZER) == fingerprint(config, TOKENIZER)
    assert len({fingerprint(other, TOKENIZER) for other in [config, *others]}) == 5


def test_learning_rate_rises_stays_and_falls() -> None:
    config = ColdStartConfig(learning_rate=1.0, warm_up_steps=10, max_steps=100)
    steps = (1, 10, 70, 85, 100)
    assert [learning_rate_at(step, config) for step in steps] == pytest.approx(
        [0.1, 1, 1, 0.5, 0.1]
    )


def test_fingerprint_depends_on_the_problems_in_a_file_and_on_who_judges_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "problems.jsonl"
    task = {"task": {"kind": "jsonl", "path": str(path)}}

    def found(line: str, verifier: str) -> str:
        path.write_text(line)
        sections = {k: v for k, v in TINY.items() if k != "task"} | task
        config = TrainerConfig.from_dict(sections | {"reward": {"verifier": verifier}})
        return fingerprint(config, TOKENIZER)

    line = '{"prompt": "1+1", "reference": "2"}'
    names = {found(line, "math"), found(line + "\n", "math"), found(line, "boxed-any")}
    assert len(names) == 3
    assert found(line, "math") in names
