"""Without a sandbox nothing is run unless a parameter says so: tested on every machine."""

import json
from pathlib import Path

import pytest

from trainer.verifiers import Item, Outcome, ParameterError, Verdict, build
from trainer.verifiers.code.sandbox import SandboxUnavailableError, Unsandboxed, find_sandbox
from trainer.verifiers.code.supervision import Limits

ADDS = "```python\na, b = map(int, input().split())\nprint(a + b)\n```"
REFERENCE = json.dumps({"inputs": ["1 2", "3 4"], "outputs": ["3", "7"]})


@pytest.fixture
def _no_sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nothing is installed."""
    find_sandbox.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))


def unsandboxed_verdict(response: str, reference: str = REFERENCE) -> Verdict:
    (verdict,) = build("code", unsandboxed=True, timeout_seconds=5).verify(
        [Item("Add.", response, (reference,))]
    )
    return verdict


@pytest.mark.usefixtures("_no_sandbox")
def test_the_verifier_is_not_built_without_a_sandbox() -> None:
    with pytest.raises(ParameterError, match="unsandboxed: no sandbox can be had: bwrap"):
        build("code")


@pytest.mark.usefixtures("_no_sandbox")
def test_a_sandbox_that_comes_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SandboxUnavailableError, match="not installed"):
        find_sandbox()
    monkeypatch.undo()
    try:
        assert find_sandbox().is_sandbox
    except SandboxUnavailableError as error:
        pytest.skip(str(error))


def test_a_bubblewrap_that_does_not_work_is_no_sandbox(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    find_sandbox.cache_clear()
    with pytest.raises(ParameterError, match="bubblewrap does not run here: bwrap: No permissions"):
        build("code")
    find_sandbox.cache_clear()


@pytest.mark.parametrize(
    ("response", "outcome"),
    [(ADDS, Outcome.PASS), ("print(3)", Outcome.FAIL), ("", Outcome.FAIL)],
)
def test_an_unsandboxed_verdict_says_so(response: str, outcome: Outcome) -> None:
    verdict = unsandboxed_verdict(response)
    assert verdict.outcome is outcome
    assert verdict.path.endswith("-unsandboxed")
    assert verdict.detail.startswith("unsandboxed")


def test_an_undecided_unsandboxed_verdict_says_so() -> None:
    verdict = unsandboxed_verdict(ADDS, "no JSON")
    assert (verdict.outcome, verdict.path) == (Outcome.UNDECIDED, "none-unsandboxed")
    assert verdict.detail.startswith("unsandboxed; reference: must be JSON")


def test_to_run_unsandboxed_is_another_version() -> None:
    assert build("code", unsandboxed=True).version != "1"


def test_an_unsandboxed_program_is_bounded_in_time_and_output() -> None:
    endings = [
        Unsandboxed()
        .run(
            ["/bin/sh", "-c", program],
            stdin=b"",
            files={},
            environment={"PATH": "/usr/bin:/bin"},
            limits=Limits(seconds=0.3, output_bytes=1000),
        )
        .ending
        for program in ("sleep 60", "while :; do echo x; done", "sleep 60 & exit 0")
    ]
    assert endings == ["timeout", "output", "exited"]
