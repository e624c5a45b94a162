import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.tiny import TINY
from trainer.__main__ import main
from trainer.metrics import read_rows


def recipe(folder: Path, **changes: dict[str, Any]) -> str:
    sections = TINY | changes
    lines: list[str] = []
    for name, keys in sections.items():
        lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in keys.items())]
    path = folder / "recipe.toml"
    path.write_text("\n".join(lines))
    return str(path)


def _toml(value: object) -> str:
    return json.dumps(value).replace('": ', '" = ')


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ASSAY_", "OMP_"))}
    return subprocess.run(
        [sys.executable, "-m", "trainer", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_cold_start_then_training_from_it(tmp_path: Path) -> None:
    path = recipe(tmp_path, grpo={"steps": 1, "prompts_per_step": 2, "max_new_tokens": 24})
    starts = str(tmp_path / "starts")
    made = run("cold-start", path, "--cold-starts", starts)
    assert made.returncode == 0, made.stderr
    assert "cold start: 100 steps" in made.stdout
    trained = run("train", path, "--out", str(tmp_path / "out"), "--cold-starts", starts)
    assert trained.returncode == 0, trained.stderr
    assert "cold start" not in trained.stdout
    assert trained.stdout.splitlines()[-1].startswith("step   1/1  reward ")
    assert [row["step"] for row in read_rows(tmp_path / "out")] == [0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grpo": {"group_size": 1}}, "grpo.group_size: must be at least 2"),
        ({"grpo": {"stepz": 1}}, "grpo.stepz: unknown; did you mean grpo.steps?"),
    ],
)
def test_bad_recipe_is_refused_before_torch_is_loaded(
    changes: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", recipe(tmp_path, **changes), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_driver_and_client_side_never_load_torch() -> None:
    modules = "trainer.demo.loop, trainer.demo.oracle, trainer.data, trainer.__main__"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
