"""Problems from a file: what is asked, what is held out, and what a file must hold."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import SHARED_DATA
from trainer.config import ConfigError, JsonlConfig, SumsConfig
from trainer.tasks import Jsonl, Sums


def write(folder: Path, *rows: dict[str, Any] | str) -> Path:
    path = folder / "problems.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def rows(n: int) -> list[dict[str, Any]]:
    return [
        {"question": f"What is {i} + {i}?", "answer": f"{i}+{i}\n#### {2 * i}", "level": i}
        for i in range(n)
    ]


def config(path: Path, **changes: Any) -> JsonlConfig:
    keys: dict[str, Any] = {
        **{"path": str(path), "prompt_field": "question", "reference_field": "answer"},
        **{"reference_after": "####", "demonstration_field": "answer"},
        **{"difficulty_field": "level"},
    }
    return JsonlConfig(**keys | changes)


def test_every_problem_is_asked_once_before_any_is_asked_again(tmp_path: Path) -> None:
    task = Jsonl(config(write(tmp_path, *rows(10))), n_held_out=2)
    asked = [prompt.uid for prompt in task.training(seed=0, first=0, n=16)]
    assert len(set(asked[:8])) == 8
    assert sorted(asked[:8]) == sorted(asked[8:])
    assert asked[:8] != asked[8:]
    assert [p.uid for p in task.training(seed=0, first=5, n=6)] == asked[5:11]
    assert [p.uid for p in task.training(seed=1, first=0, n=8)] != asked[:8]


def test_held_out_problems_are_never_asked_and_stay_held_out_when_the_file_grows(
    tmp_path: Path,
) -> None:
    small = Jsonl(config(write(tmp_path, *rows(40))), n_held_out=4)
    held_out = {prompt.text for prompt in small.held_out(4)}
    asked = {prompt.text for prompt in small.training(seed=0, first=0, n=36)}
    assert len(held_out) == 4
    assert not held_out & asked
    grown = Jsonl(config(write(tmp_path, *rows(44))), n_held_out=8)
    assert held_out <= {prompt.text for prompt in grown.held_out(8)}


def test_problem_has_its_reference_its_difficulty_and_its_demonstration(tmp_path: Path) -> None:
    task = Jsonl(config(write(tmp_path, *rows(10))), n_held_out=1)
    for prompt, response in task.demonstrations(seed=0, n=20):
        assert prompt.reference == str(2 * (prompt.difficulty or 0))
        assert response.endswith(f"#### {prompt.reference}")
        assert task.is_correct(response, prompt) is None
    assert len(task.demonstrations(seed=0, n=20)) == 20


def test_tests_of_a_program_are_kept_as_json(tmp_path: Path) -> None:
    tests = {"inputs": ["3\n"], "outputs": ["9\n"]}
    path = write(tmp_path, *({"prompt": f"Square {i}", "tests": tests} for i in range(6)))
    task = Jsonl(JsonlConfig(path=str(path), reference_field="tests"), n_held_out=1)
    assert json.loads(task.held_out(1)[0].reference) == tests


@pytest.mark.parametrize(
    ("lines", "changes", "message"),
    [
        (["{"], {}, "task.path: line 1 of .* is not JSON"),
        (["[1]"], {}, "task.path: line 1 of .* is no JSON object"),
        ([{"question": "q"}], {}, "task.reference_field: line 1 has no 'answer'; it has: question"),
        ([{"answer": "#### 1"}], {}, "task.prompt_field: line 1 has no 'question'"),
        ([{"question": "q", "answer": "1"}], {}, "task.reference_after: line 1 has no '####'"),
        (
            [{"question": "q", "answer": "#### 1", "level": 101}],
            {},
            "task.difficulty_field: line 1: must be a whole number, 0 to 100",
        ),
        (rows(4), {}, "task.path: .* holds too few problems to hold one out"),
        (rows(1) * 9, {}, "task.path: .* holds one problem alone"),
        (
            [*rows(9), rows(1)[0] | {"answer": "#### 77"}],
            {},
            "task.path: lines 1 and 10 of .* ask the same and differ in the reference",
        ),
    ],
)
def test_file_that_cannot_be_used_is_refused_with_line_and_key(
    lines: list[Any], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        Jsonl(config(write(tmp_path, *lines), **changes), n_held_out=1)


def test_missing_file_and_missing_demonstrations_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"task.path: cannot read .*nowhere"):
        Jsonl(config(tmp_path / "nowhere.jsonl"), n_held_out=1)
    task = Jsonl(config(write(tmp_path, *rows(10)), demonstration_field=""), n_held_out=1)
    with pytest.raises(ConfigError, match=r"task.demonstration_field: a cold start needs"):
        task.demonstrations(seed=0, n=1)


def test_stream_of_sums_goes_on_as_it_began() -> None:
    task = Sums(SumsConfig(), n_held_out=4)
    first = task.training(seed=0, first=0, n=8)
    longer = task.training(seed=0, first=4, n=30)
    assert [prompt.text for prompt in longer[:4]] == [prompt.text for prompt in first[4:]]
    assert not {p.text for p in task.held_out(4)} & {p.text for p in longer}


def test_gsm8k_is_read_as_its_recipe_says() -> None:
    path = SHARED_DATA / "gsm8k" / "test.jsonl"
    if not path.exists():
        pytest.skip("GSM8K is not beside the project")
    task = Jsonl(config(path, difficulty_field=""), n_held_out=64)
    prompts = [*task.held_out(64), *task.training(seed=0, first=0, n=200)]
    assert all(prompt.reference.replace(",", "").lstrip("-").isdigit() for prompt in prompts)
