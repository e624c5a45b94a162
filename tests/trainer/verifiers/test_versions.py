"""Parameters are part of a verifier's version."""

import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from trainer.verifiers import BUILT_IN, Outcome, parameters_of, params_of, undecided, version_of


@dataclass(frozen=True, slots=True)
class Judge:
    model: str = "small"
    temperature: float = 0.0
    workers: int = field(default=2, compare=False)

    @property
    def version(self) -> str:
        return version_of(self, "3")


def test_the_parameters_as_they_come_leave_the_version_plain() -> None:
    assert Judge().version == "3"
    assert Judge(model="small").version == "3"


def test_other_parameters_are_another_version_and_the_same_ones_the_same() -> None:
    versions = {
        Judge(model="large").version,
        Judge(temperature=0.5).version,
        Judge(model="large", temperature=0.5).version,
        Judge().version,
    }
    assert len(versions) == 4
    assert Judge(model="large").version == Judge(model="large").version
    assert all(len(version) <= 40 for version in versions)


def test_how_the_work_is_done_changes_no_version() -> None:
    assert Judge(workers=8).version == "3"
    assert params_of(Judge(workers=8)) == {"model": "small", "temperature": 0.0}


@pytest.mark.parametrize("name", [name for name in BUILT_IN if not BUILT_IN[name].needs_torch])
def test_every_verifier_tells_its_parameters_and_agrees_with_its_listing(name: str) -> None:
    assert all(parameter.name.isidentifier() for parameter in parameters_of(name))
    assert BUILT_IN[name].load().channel == BUILT_IN[name].channel


def test_no_verifier_s_class_pulls_in_torch() -> None:
    program = (
        "import sys; from trainer.verifiers import BUILT_IN; "
        "[listed.load() for listed in BUILT_IN.values()]; "
        "sys.exit(str({'torch', 'transformers', 'django'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stderr.strip() == "set()"


def test_what_cannot_be_decided_says_why() -> None:
    verdict = undecided("the reference does not parse", seconds=0.5)
    assert verdict.outcome is Outcome.UNDECIDED
    assert (verdict.detail, verdict.seconds) == ("the reference does not parse", 0.5)
    assert (verdict.extracted, verdict.candidates) == (None, 0)
