"""A trainer goes on while its server is away, and afterwards every rollout is there once."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from review.accounts.models import Project
from review.rollouts.models import CellCount, Rollout, StepSummary
from review.runs.models import Run, RunStatus
from tests import ROOT, builders
from tests.conftest import service_environment
from tests.trainer.tiny import TINY

STEPS = 12
PER_STEP = 8 * 4


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_trainer_goes_on_while_the_server_is_stopped_and_started(tmp_path: Path) -> None:
    project: Project = builders.make_project()
    token = builders.make_token(project, "ingest", "table")
    port = free_port()
    server = start_server(port)
    trainer = start_trainer(tmp_path, f"http://127.0.0.1:{port}", token)
    try:
        wait_until(lambda: Rollout.objects.exists(), "the first rollouts")
        kill(server)
        steps_without = steps_logged(tmp_path) + 2
        wait_until(lambda: steps_logged(tmp_path) >= steps_without, "steps without a server")
        server = start_server(port)
        assert trainer.wait(timeout=240) == 0
    finally:
        kill(trainer)
        kill(server)
    run = Run.objects.get()
    assert run.status == RunStatus.FINISHED
    assert run.completed_step == STEPS
    per_step = [Rollout.objects.filter(run=run, step=step).count() for step in range(1, STEPS + 1)]
    assert per_step == [PER_STEP] * STEPS
    assert sum(CellCount.objects.values_list("rollouts", flat=True)) == STEPS * PER_STEP
    assert sum(StepSummary.objects.values_list("rollouts", flat=True)) == STEPS * PER_STEP


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def start_server(
    port: int, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """On the tests' database, or as the environment says."""
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "granian", "--interface", "wsgi", "--log-level", "warning"),
            *("--host", "127.0.0.1", "--port", str(port), "--blocking-threads", "4"),
            "review.wsgi:application",
        ],
        env=environment or service_environment(),
        cwd=ROOT,
        start_new_session=True,
    )
    wait_until(lambda: answers(port), "the server")
    return server


def kill(process: subprocess.Popen[bytes]) -> None:
    """At once, with the processes that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/login/", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def start_trainer(folder: Path, url: str, token: str) -> subprocess.Popen[bytes]:
    recipe = folder / "recipe.toml"
    recipe.write_text(toml(TINY | {"grpo": TINY["grpo"] | {"steps": STEPS}}), encoding="utf-8")
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "trainer", "train", str(recipe), "--out", str(folder / "run")),
        ],
        env={**os.environ, "ASSAY_URL": url, "ASSAY_TOKEN": token},
        cwd=ROOT,
        start_new_session=True,
    )


def toml(sections: dict[str, dict[str, Any]]) -> str:
    """Numbers in sections, which is all that a tiny recipe has, as TOML."""
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {value!r}" for key, value in values.items())]
    return "\n".join(lines)


def steps_logged(folder: Path) -> int:
    file = folder / "run" / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


def wait_until(is_so: Callable[[], bool], what: str, within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"waited {within_s:g} s for {what}"
        time.sleep(0.1)
