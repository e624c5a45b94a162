"""The one command as a newcomer runs it, without the training, which takes minutes."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from review.core.embedded.paths import postgres_folder
from tests import ROOT

pytestmark = pytest.mark.slow

READY_WITHIN_S = 120.0
Demo = subprocess.Popen[str]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def start(home: Path, port: int) -> Demo:
    """The command on servers of its own, not on those of the tests."""
    ours = {"DATABASE_URL", "CELERY_BROKER_URL", "SECRET_KEY", "HTTPS"}
    env = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.Popen(
        [sys.executable, "manage.py", "demo", "--no-train"],
        env={**env, "ASSAY_HOME": str(home), "ASSAY_PORT": str(port)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until_ready(demo: Demo) -> str:
    """What it says until it is up."""
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if "Ctrl-C stops everything" in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def processes_of(home: Path) -> list[str]:
    """Command lines of whatever serves this home."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (process / "environ").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if f"ASSAY_HOME={home}\0" in environment or str(home) in words:
            found.append(words)
    return found


def left_after(home: Path, seconds: float) -> list[str]:
    deadline = time.monotonic() + seconds
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One home for all tests of this module: its first start is the slow one."""
    home = tmp_path_factory.mktemp("demo") / "home"
    yield home
    assert left_after(home, 20) == []
    shutil.rmtree(postgres_folder(home / "postgres"), ignore_errors=True)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def demo(home: Path, port: int) -> Iterator[Demo]:
    process = start(home, port)
    yield process
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=30)
    finally:
        process.kill()


@contextmanager
def signed_in(home: Path, port: int, name: str) -> Iterator[httpx.Client]:
    password = json.loads((home / "demo" / "secrets.json").read_text())["passwords"][name]
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, follow_redirects=True, trust_env=False, timeout=60) as client:
        form = client.get("/login/").text
        field = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        assert field is not None
        answer = client.post(
            "/login/",
            data={"username": name, "password": password, "csrfmiddlewaretoken": field[1]},
        )
        assert answer.url.path == "/", "not signed in"
        yield client


def test_people_find_their_work_and_a_second_command_is_refused(
    demo: Demo, home: Path, port: int
) -> None:
    said = wait_until_ready(demo)
    pages = re.findall(rf"http://127.0.0.1:{port}(/\S+)", said)
    run_pages = [page for page in pages if page.startswith("/runs/")]
    queue_pages = [page for page in pages if page.startswith("/queues/")]
    assert (len(run_pages), len(queue_pages)) == (2, 1)

    with signed_in(home, port, "ben") as ben:
        assert [ben.get(page).status_code for page in queue_pages] == [200]
        assert {ben.get(page).status_code for page in run_pages} == {404}
    with signed_in(home, port, "ada") as ada:
        assert [ada.get(page).status_code for page in run_pages] == [200, 200]
        assert "Reward from people" in ada.get("/").text

    second = start(home, free_port())
    output, _ = second.communicate(timeout=READY_WITHIN_S)
    assert second.returncode == 1
    assert output.startswith(f"error: already running (pid {demo.pid}, http://127.0.0.1:{port})")
    assert output.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_stops_everything(demo: Demo, home: Path) -> None:
    wait_until_ready(demo)
    assert len(processes_of(home)) > 4

    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=30)

    assert demo.returncode == 0
    assert "Traceback" not in output
    assert left_after(home, 5) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killed_command_leaves_nothing_behind(demo: Demo, home: Path) -> None:
    wait_until_ready(demo)

    demo.kill()
    demo.communicate(timeout=30)

    assert left_after(home, 20) == []


def test_taken_port_is_said_in_one_line(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        refused = start(home, port)
        output, _ = refused.communicate(timeout=READY_WITHIN_S)

    assert refused.returncode == 1
    assert output.startswith(f"error: port {port} on 127.0.0.1 cannot be used")
    assert output.count("\n") == 1


def test_home_that_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    refused = start(file / "home", free_port())
    output, _ = refused.communicate(timeout=READY_WITHIN_S)

    assert refused.returncode == 1
    assert output.startswith(f"error: {file / 'home'} cannot be used")
    assert output.count("\n") == 1
