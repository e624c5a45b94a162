import json
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.__main__ import main


def test_a_verifier_is_attacked_and_the_result_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "result.json"
    assert main(["probe", "boxed-any", "--family", "hedge", "--out", str(kept)]) == 0
    words = capsys.readouterr().out
    assert words.startswith("boxed-any 1 (math), seed 0:")
    assert "hedge-either-boxed (4)" in words
    result = json.loads(kept.read_text())
    assert set(result["families"]) == {"hedge"}
    assert result["controls"]["tries"] > 0


def test_a_regression_is_told_by_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An earlier result of the suite that held, against a verifier that does not."""
    kept = tmp_path / "earlier.json"
    assert main(["probe", "first-boxed", "--out", str(kept)]) == 0
    assert main(["probe", "first-boxed", "--against", str(kept)]) == 0
    assert "Regressions (passed now, not before): 0" in capsys.readouterr().out
    assert main(["probe", "contains-reference", "--against", str(kept)]) == 1
    assert "hedge-or over " in capsys.readouterr().out


@pytest.mark.parametrize(("at_most", "status"), [("0.05", 1), ("0.9", 0)])
def test_a_success_rate_above_the_one_allowed_is_told_by_the_exit_status(
    at_most: str, status: int
) -> None:
    assert main(["probe", "last-number", "--at-most", at_most]) == status


def test_all_verifiers_make_a_table_of_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "--all", "--markdown", "--family", "hedge"]) == 0
    table = capsys.readouterr().out
    for name in ("alias-contained", "boxed-any", "exact-match", "last-number", "first-boxed"):
        assert f"| `{name}` " in table
    assert "`probe`" not in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["boxed-al"], "known verifiers: alias-contained, boxed-any"),
        (["probe"], "kind: no attack is meant for probe; give one of math, short-answer"),
        (["boxed-any", "--param", "strict=true"], "strict: boxed-any takes no such parameter"),
        (["boxed-any", "--param", "strict"], "--param: must be NAME=VALUE, not 'strict'"),
        (["boxed-any", "--family", "hedges"], "--family: no attack is of 'hedges'; known: answer"),
        (["boxed-any", "--prompts", "FILE"], "FILE, line 1: is not JSON"),
        (["boxed-any", "--attacks", "FILE"], "FILE, line 1: is not JSON"),
        (["boxed-any", "--against", "FILE"], "FILE: is not JSON"),
        (["boxed-any", "--out", "FILE/out"], "cannot write FILE/out"),
        (["--all", "--out", "FILE"], "--out: goes with one verifier"),
    ],
)
def test_what_cannot_run_is_said_and_has_an_exit_status_of_its_own(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("no JSON")
    given = [argument.replace("FILE", str(file)) for argument in arguments]
    assert main(["probe", *given]) == 2
    assert message.replace("FILE", str(file)) in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["boxed-any", "--all"], ["boxed-any", "--at-most", "2"], ["--all", "--x"]]
)
def test_arguments_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["probe", *arguments])
    assert refused.value.code == 2


def test_the_probe_command_loads_no_torch() -> None:
    code = (
        "import sys; from trainer.__main__ import main; main(['probe', 'boxed-any']);"
        " sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert ran.returncode == 0
