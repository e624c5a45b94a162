"""Whether tests can have a sandbox. Where CI is set they must, and fail without one."""

import os

import pytest

from trainer.verifiers.code.sandbox import SandboxUnavailableError, find_sandbox


def _missing() -> str:
    try:
        find_sandbox()
    except SandboxUnavailableError as error:
        return f"no sandbox can be had here: {error}"
    return ""


_WHY = _missing()

needs_sandbox = pytest.mark.skipif(bool(_WHY) and not os.environ.get("CI"), reason=_WHY or "none")
