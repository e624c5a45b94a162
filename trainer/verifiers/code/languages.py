"""The languages that solutions may be written in: data, one record each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files

from trainer.verifiers.code.sandbox import PYTHON


@dataclass(frozen=True, slots=True)
class Language:
    """How a solution is found and run.

    fences: what a fenced block of it is marked with, in lower case.
    file_name: what the solution is called; command: runs it, in the folder that holds it.
    calls: the file of this package that calls a function of the solution; call_command runs it.
    None = a language whose functions cannot be called.
    """

    fences: frozenset[str]
    file_name: str
    command: tuple[str, ...]
    calls: str | None = None
    call_command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def caller(self) -> dict[str, bytes]:
        """The file that calls functions, by name; none for a language without."""
        if self.calls is None:
            return {}
        return {self.calls: files("trainer.verifiers.code").joinpath(self.calls).read_bytes()}


# No folder of the user's or of the solution's is on the path, so that it finds no sitecustomize, no
# usercustomize and no .pth; the sandbox has no packages either. Not -S: programs call exit().
_PYTHON = (PYTHON, "-s", "-P", "-X", "utf8")

LANGUAGES: dict[str, Language] = {
    "python": Language(
        fences=frozenset({"python", "python3", "py", "py3"}),
        file_name="solution.py",
        command=(*_PYTHON, "solution.py"),
        calls="call_python.py",
        call_command=(*_PYTHON, "call_python.py", "solution.py"),
        # Sets iterate in the same order each time: a verdict can be had again.
        environment={"HOME": "/tmp", "PYTHONHASHSEED": "0"},  # noqa: S108 - the sandbox's own
    ),
}
