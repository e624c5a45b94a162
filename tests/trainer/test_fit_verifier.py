"""Labels in, a verifier out: what it judges, what it is worth, and that it comes whole."""

import json
import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.fitting.rows import answered, make_final, make_row, stepped, write
from trainer.__main__ import main
from trainer.verifiers import Item, Outcome, ParameterError, Verifier, build
from trainer.verifiers.models.process import Process

TINY = """
epochs = 12
layers = 1
hidden_size = 32
heads = 2
vocabulary = 300
context = 96
learning_rate = 1e-2
batch_size = 32
dev_share = 0.2
held_out_share = 0.25
"""


@dataclass(frozen=True)
class Fitted:
    folder: Path
    labels: Path
    recipe: Path
    printed: str

    @property
    def metrics(self) -> dict[str, Any]:
        text = (self.folder / "report" / "metrics.json").read_text(encoding="utf-8")
        metrics: dict[str, Any] = json.loads(text)
        return metrics


def fit(folder: Path, rows: list[dict[str, Any]], *options: str, out: str = "verifier") -> int:
    folder.mkdir(exist_ok=True)
    labels, recipe = write(rows, folder), folder / "fit.toml"
    recipe.write_text(TINY)
    arguments = [str(labels), "--out", str(folder / out), "--recipe", str(recipe), *options]
    return main(["fit-verifier", *arguments])


def fitted(folder: Path, rows: list[dict[str, Any]], *options: str) -> Fitted:
    with redirect_stdout(StringIO()) as printed:
        assert fit(folder, rows, *options) == 0
    return Fitted(
        folder / "verifier", folder / "labels.jsonl", folder / "fit.toml", printed.getvalue()
    )


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fitted(tmp_path_factory.mktemp("outcome"), answered(60))


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fitted(tmp_path_factory.mktemp("step"), stepped(60), "--level", "step")


@pytest.fixture
def learned(outcome: Fitted) -> Verifier:
    return build("learned", model=str(outcome.folder))


def item(text: str, problem: str = "Is it 99?") -> Item:
    return Item(problem, text, ("15",))


def test_the_fitted_verifier_judges_prompts_that_it_never_saw(learned: Verifier) -> None:
    right, wrong = learned.verify([item("I think yes it is"), item("I think no it is")])
    assert (right.outcome, wrong.outcome) == (Outcome.PASS, Outcome.FAIL)
    assert right.score is not None
    assert wrong.score is not None
    assert right.score > 0.9 > 0.1 > wrong.score
    assert (right.path, right.form, right.candidates, right.extracted) == ("model", "none", 0, None)


def test_its_figures_are_on_held_out_prompts_and_have_intervals(outcome: Fitted) -> None:
    metrics = outcome.metrics
    assert metrics["labels"]["held_out"] == {"prompts": 15, "rollouts": 60, "right": 30}
    figures = metrics["figures"]
    for name in ("accuracy", "recall", "fpr", "auc", "brier", "brier_of_base_rate", "brier_skill"):
        figure = figures[name]
        assert figure["low"] <= figure["point"] <= figure["high"], name
        assert (figure["n"], figure["level"]) == (30 if name in ("recall", "fpr") else 60, 0.95)
    assert figures["auc"]["point"] > 0.95
    assert figures["brier"]["point"] < 0.1 < figures["brier_of_base_rate"]["point"]
    assert sum(bar["share"]["n"] for bar in metrics["reliability"]) == 60
    assert b"<svg" in (outcome.folder / "report" / "reliability.svg").read_bytes()


def test_it_stands_beside_the_verifiers_that_were_there(outcome: Fitted) -> None:
    other = outcome.metrics["others"]["exact-match@2"]
    assert (other["n"], other["theirs"]["fpr"]["point"]) == (60, 1.0)
    assert other["difference"]["fpr"]["high"] < -0.8
    lines = (outcome.folder / "report" / "disagreements.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 30
    assert all(row["others"] == {"exact-match@2": "pass"} for row in rows)
    assert {(row["label"], row["outcome"]) for row in rows} == {("incorrect", "fail")}


def test_settings_seed_sides_and_commit_are_kept(outcome: Fitted) -> None:
    metrics = outcome.metrics
    assert (metrics["config"]["seed"], metrics["config"]["hidden_size"]) == (0, 32)
    assert "commit" in metrics
    sides = json.loads((outcome.folder / "report" / "split.json").read_text())
    assert sorted(map(len, sides.values())) == [12, 15, 33]
    assert "epoch  1/12" in outcome.printed
    assert "exact-match@2 on the same 60 answers:" in outcome.printed


def test_what_was_measured_is_what_judges(outcome: Fitted, learned: Verifier) -> None:
    """The folder's probabilities, temperature and all, are those of the figures."""
    held_out = set(json.loads((outcome.folder / "report" / "split.json").read_text())["held_out"])
    rows = [json.loads(line) for line in outcome.labels.read_text().splitlines()]
    rows = [row for row in rows if row["prompt_id"] in held_out]
    verdicts = learned.verify(
        [item(row["messages"][0]["content"], problem=row["prompt"]) for row in rows]
    )
    errors = [
        ((verdict.score or 0.0) - (row["final"]["answer"] == "correct")) ** 2
        for verdict, row in zip(verdicts, rows, strict=True)
    ]
    brier = outcome.metrics["figures"]["brier"]["point"]
    assert sum(errors) / len(errors) == pytest.approx(brier, abs=1e-5)


def test_the_same_fit_is_the_same_version_and_another_one_is_not(
    outcome: Fitted, learned: Verifier, tmp_path: Path
) -> None:
    again = fitted(tmp_path / "again", answered(60))
    assert build("learned", model=str(again.folder)).version == learned.version
    assert f"learned@{learned.version}: " in outcome.printed
    assert len(learned.version) <= 40
    weights = again.folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert build("learned", model=str(again.folder)).version != learned.version


def test_the_threshold_is_part_of_the_version(outcome: Fitted, learned: Verifier) -> None:
    strict = build("learned", model=str(outcome.folder), threshold=0.9999999999999999)
    assert strict.version != learned.version
    assert len(strict.version) <= 40
    assert strict.verify([item("I think yes it is")])[0].outcome is Outcome.FAIL
    assert build("learned", model=str(outcome.folder), batch_size=3).version == learned.version


def test_what_is_too_long_is_undecided_and_its_neighbours_are_judged(learned: Verifier) -> None:
    texts = ["I think yes it is", "yes " * 200, "\ud800\0\u202e", "", "<eos><pad>" * 3, "y" * 10**6]
    verdicts = learned.verify([item(text) for text in texts])
    too_long = [verdict.outcome is Outcome.UNDECIDED for verdict in verdicts]
    assert too_long == [False, True, False, False, False, True]
    assert verdicts[1].detail == "longer than the model's 96 tokens"
    (alone,) = learned.verify([item(texts[0])])
    assert alone.score == pytest.approx(verdicts[0].score, abs=1e-5)
    assert learned.verify([]) == []


def test_a_special_tokens_name_in_an_answer_ends_nothing(learned: Verifier) -> None:
    plain, marked = learned.verify([item("yes"), item("yes<eos>")])
    assert plain.score != marked.score


@pytest.mark.parametrize(
    ("params", "rule"),
    [
        ({}, "model: must be"),
        ({"model": "/nowhere"}, "model: must be a local folder"),
        ({"threshold": 2}, "threshold: must be a number from 0 to 1"),
        ({"batch_size": 0}, "batch_size: must be a whole number"),
        ({"colour": 1}, "colour: learned takes no such parameter"),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(params: dict[str, Any], rule: str) -> None:
    with pytest.raises(ParameterError, match=rule):
        build("learned", **params)


@pytest.mark.parametrize("manifest", [None, "{", "[]", '{"level": "outcome"}'])
def test_a_folder_without_a_readable_manifest_is_refused(
    manifest: str | None, outcome: Fitted, tmp_path: Path
) -> None:
    folder = shutil.copytree(outcome.folder, tmp_path / "copy")
    (folder / "verifier.json").unlink()
    if manifest is not None:
        (folder / "verifier.json").write_text(manifest)
    with pytest.raises(ParameterError, match=r"model: no verifier\.json of a fitted verifier"):
        build("learned", model=str(folder))


def test_a_folder_that_changes_after_it_was_built_decides_nothing(
    outcome: Fitted, tmp_path: Path
) -> None:
    folder = shutil.copytree(outcome.folder, tmp_path / "copy")
    verifier = build("learned", model=str(folder))
    (folder / "config.json").write_text("{}")
    (verdict,) = verifier.verify([item("yes")])
    assert (verdict.outcome, verdict.score) == (Outcome.UNDECIDED, None)
    assert "changed" in verdict.detail


def test_steps_are_judged_to_the_first_wrong_one(step: Fitted) -> None:
    figures = step.metrics["figures"]
    assert figures["processbench_f1"]["point"] > 0.9
    assert figures["accuracy_erroneous"]["n"] + figures["accuracy_correct"]["n"] == 60
    assert figures["brier"]["point"] < figures["brier_of_base_rate"]["point"]


def test_a_verifier_of_steps_is_one_for_process(step: Fitted) -> None:
    threshold = step.metrics["threshold"]
    assert f"build('process', model='{step.folder}', threshold={threshold!r})" in step.printed
    with pytest.raises(ParameterError, match="judges steps; the verifier for these is process"):
        build("learned", model=str(step.folder))
    process = Process(model=str(step.folder), threshold=threshold)
    steps = ("good", "good", "bad", "good")
    faultless = Item("Is it 99?", "", (), ("good",) * 4)
    wrong = Item("Is it 99?", "", (), steps)
    assert [verdict.extracted for verdict in process.verify([faultless, wrong])] == ["0", "3"]


def test_a_fit_can_start_from_a_model_of_ones_own(outcome: Fitted, tmp_path: Path) -> None:
    further = fitted(tmp_path / "further", answered(30), "--model", str(outcome.folder))
    assert further.metrics["figures"]["auc"]["point"] is None  # 8 prompts are too few
    assert further.metrics["epochs"][0]["dev_loss"] < 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "/nowhere"], "model: /nowhere cannot be loaded"),
        (["--threshold", "1"], "threshold: must be at least 0 and below 1"),
        (["--level", "step"], "no labels to fit to (80 without a word on its steps)"),
    ],
)
def test_what_cannot_be_fitted_is_refused_and_leaves_nothing(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path, answered(20), *options) == 2
    assert message in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"labels.jsonl", "fit.toml"}


def test_labels_that_are_all_too_long_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row | {"prompt": row["prompt"] + " why" * 100} for row in answered(20)]
    assert fit(tmp_path, rows) == 2
    expected = "context: of the train prompts 44 rollouts are longer than 96 tokens"
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "verifier").exists()


def test_a_verifier_is_never_written_over(
    outcome: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(outcome.labels), "--out", str(outcome.folder)]
    assert main(["fit-verifier", *arguments]) == 2
    assert "exists already; choose another folder" in capsys.readouterr().err


def test_what_a_killed_fit_left_is_no_verifier_and_in_nobodys_way(
    outcome: Fitted, tmp_path: Path
) -> None:
    left = tmp_path / ".verifier.part"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    fitted(tmp_path, answered(30), "--model", str(outcome.folder))
    assert not left.exists()


def test_weights_of_the_sample_count(tmp_path: Path) -> None:
    """Wrong answers were drawn 1 in 9: to the verifier they are 9 times as many."""
    rows = [
        row
        | {
            "sample": row["sample"]
            | {"weight": 1.0 if row["final"]["answer"] == "correct" else 9.0}
        }
        for row in answered(40)
    ]
    assert fitted(tmp_path, rows).metrics["base_rate"] == pytest.approx(0.1)


def test_a_bad_line_is_named_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path, [make_row(), make_row("a-2", final=make_final(7))]) == 2  # type: ignore[arg-type]
    assert "labels.jsonl, line 2: final.answer: must be a text, not int" in capsys.readouterr().err
