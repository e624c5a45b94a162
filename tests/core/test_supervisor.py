"""The supervisor runs in a process of its own here, because it handles that process's signals."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from review.core.embedded.errors import AlreadyRunningError, EmbeddedServiceError, PortTakenError
from review.core.embedded.instance import (
    chosen_port,
    port_is_free,
    require_free_port,
    single_instance,
)
from review.core.embedded.paths import PROJECT_ROOT

PREAMBLE = """
import signal, sys, time
from pathlib import Path
from review.core.embedded.supervisor import ProcessSpec, Supervisor

folder = Path(sys.argv[1])
WAIT = "import time; time.sleep(60)"

def python(name, code, **options):
    return ProcessSpec(name, [sys.executable, "-c", code, str(folder)], **options)

"""
# A child that writes its name to the order book when it starts and when it is told to stop.
WRITER = """
WRITER = '''
import os, pathlib, signal, sys, time
book = pathlib.Path(sys.argv[1], "book")
def write(word):
    with book.open("a") as page:
        page.write(word + " " + os.environ["NAME"] + "\\\\n")
def stop(*_):
    write("stop")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
time.sleep(float(os.environ.get("DELAY", "0")))
write("start")
time.sleep(60)
'''

def has_started(name):
    return lambda: (folder / "book").exists() and f"start {name}" in (folder / "book").read_text()

def writer(name, delay="0"):
    env = {"NAME": name, "DELAY": delay}
    return python(name, WRITER, env=env, readiness=has_started(name))
"""
Run = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started: list[subprocess.Popen[str]] = []

    def run(body: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + WRITER + textwrap.dedent(body), str(tmp_path)],
            cwd=PROJECT_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def wait_for_line(process: "subprocess.Popen[str]", wanted: str) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if wanted in line:
            return lines
    raise AssertionError("".join(lines))


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    output, _ = process.communicate(timeout=30)
    return process.returncode, output


def is_alive(pid: int) -> bool:
    """Whether it runs: a zombie, which Linux shows as one, does not."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat").read_text()
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return not Path("/proc/self").exists()
    return status.rpartition(")")[2].split()[0] != "Z"


def is_gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


THREE_WRITERS = """
specs = [writer("first", delay="0.3"), writer("second"), writer("third")]
sys.exit(Supervisor().run(specs, lambda: print("ready", flush=True)))
"""


def test_processes_start_in_order_and_stop_in_reverse(run: Run, tmp_path: Path) -> None:
    supervisor = run(THREE_WRITERS)
    wait_for_line(supervisor, "ready")

    supervisor.send_signal(signal.SIGTERM)

    assert finish(supervisor) == (0, "")
    names = ["first", "second", "third"]
    assert (tmp_path / "book").read_text().splitlines() == [
        *(f"start {name}" for name in names),
        *(f"stop {name}" for name in reversed(names)),
    ]


def test_lines_carry_the_name_of_their_process(run: Run) -> None:
    supervisor = run("""
    talker = python("web", "print('hello'); print('one\\\\ntwo', flush=True)", required=False)
    sys.exit(Supervisor().run([talker, python("worker", "print('there')", required=False)]))
    """)

    code, output = finish(supervisor)

    assert code == 0
    assert sorted(output.splitlines()) == [
        "   web | hello",
        "   web | one",
        "   web | two",
        "web finished",
        "worker finished",
        "worker | there",
    ]


def test_end_of_a_required_process_stops_all_with_a_message(run: Run, tmp_path: Path) -> None:
    supervisor = run("""
    broken = python("broken", "import sys; sys.exit(3)")
    sys.exit(Supervisor().run([writer("first"), broken, python("late", WAIT)]))
    """)

    assert finish(supervisor) == (1, "broken exited with status 3; stopping\n")
    assert (tmp_path / "book").read_text().splitlines() == ["start first", "stop first"]


def test_end_of_another_process_is_only_reported(run: Run) -> None:
    supervisor = run("""
    extra = python("extra", "import os; os.kill(os.getpid(), 9)", required=False)
    sys.exit(Supervisor().run([python("main", WAIT), extra]))
    """)
    wait_for_line(supervisor, "extra was ended by SIGKILL")

    supervisor.send_signal(signal.SIGINT)

    assert finish(supervisor) == (0, "")


def test_process_that_never_gets_ready_stops_all(run: Run) -> None:
    supervisor = run("""
    slow = python("slow", WAIT, readiness=lambda: False)
    sys.exit(Supervisor(ready_within_s=0.3).run([slow, python("late", WAIT)]))
    """)

    assert finish(supervisor) == (1, "slow was not ready after 0 s; stopping\n")


def test_process_that_ends_before_it_is_ready_stops_all(run: Run) -> None:
    supervisor = run("""
    short = python("short", "", readiness=lambda: False)
    sys.exit(Supervisor().run([short]))
    """)

    assert finish(supervisor) == (1, "short finished; stopping\n")


def test_command_that_does_not_exist_is_named(run: Run) -> None:
    supervisor = run("""
    sys.exit(Supervisor().run([ProcessSpec("web", ["/no/such/program"])]))
    """)

    code, output = finish(supervisor)

    assert code == 1
    assert output.startswith("web cannot be started: ")


STUBBORN = """
stubborn = python("stubborn", "import signal, time;"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)")
"""


def test_process_that_ignores_the_signal_is_killed_after_the_grace_time(run: Run) -> None:
    supervisor = run(STUBBORN + "sys.exit(Supervisor(grace_s=0.3).run([stubborn]))")
    wait_for_line(supervisor, "deaf")

    supervisor.send_signal(signal.SIGTERM)

    assert finish(supervisor) == (0, "stubborn did not stop in 0 s; killing it\n")


def test_second_stop_signal_kills_at_once(run: Run) -> None:
    supervisor = run(STUBBORN + "sys.exit(Supervisor(grace_s=60).run([stubborn]))")
    wait_for_line(supervisor, "deaf")
    started = time.monotonic()

    supervisor.send_signal(signal.SIGINT)
    time.sleep(0.5)
    supervisor.send_signal(signal.SIGINT)

    assert finish(supervisor) == (0, "")
    assert time.monotonic() - started < 20


def test_stop_signal_while_starting_stops_what_has_started(run: Run, tmp_path: Path) -> None:
    supervisor = run("""
    slow = python("slow", "print('starting', flush=True);" + WAIT, readiness=lambda: False)
    sys.exit(Supervisor().run([writer("first"), slow]))
    """)
    wait_for_line(supervisor, "starting")

    supervisor.send_signal(signal.SIGINT)

    assert finish(supervisor) == (0, "")
    assert (tmp_path / "book").read_text().splitlines() == ["start first", "stop first"]


def test_stop_signal_of_a_process_is_the_one_it_asked_for(run: Run) -> None:
    supervisor = run("""
    code = ("import signal, sys, time;"
        "signal.signal(signal.SIGQUIT, lambda *_: sys.exit(print('quit', flush=True)));"
        "print('up', flush=True); time.sleep(60)")
    sys.exit(Supervisor().run([python("quitter", code, stop_signal=signal.SIGQUIT)]))
    """)
    wait_for_line(supervisor, "up")

    supervisor.send_signal(signal.SIGTERM)

    assert finish(supervisor) == (0, "quitter | quit\n")


GRANDCHILD = """
family = python("family", "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print('child', child.pid, flush=True); time.sleep(60)")
sys.exit(Supervisor().run([family]))
"""


def test_children_that_a_process_leaves_behind_are_killed(run: Run) -> None:
    supervisor = run(GRANDCHILD)
    grandchild = int(wait_for_line(supervisor, "child ")[-1].split()[-1])
    assert is_alive(grandchild)

    supervisor.send_signal(signal.SIGTERM)

    assert finish(supervisor)[0] == 0
    assert is_gone_within(grandchild, 10)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_killed_supervisor_leaves_no_process_behind(run: Run) -> None:
    supervisor = run("""
    code = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(60)"
    sys.exit(Supervisor().run([python("web", code)]))
    """)
    child = int(wait_for_line(supervisor, "pid ")[-1].split()[-1])

    supervisor.kill()

    assert is_gone_within(child, 10)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_deaf_children_of_a_killed_supervisor_are_killed_with_their_own_children(run: Run) -> None:
    supervisor = run("""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    code = (deaf + "import subprocess, sys;"
        f"worker = subprocess.Popen([sys.executable, '-c', '{deaf} time.sleep(60)']);"
        "print('worker', worker.pid, flush=True); time.sleep(60)")
    sys.exit(Supervisor().run([python("server", code)]))
    """)
    worker = int(wait_for_line(supervisor, "worker ")[-1].split()[-1])

    supervisor.kill()

    assert is_gone_within(worker, 20)


def test_ctrl_c_of_the_terminal_does_not_reach_the_processes(run: Run) -> None:
    supervisor = run("""
    code = "import os, time; print('group', os.getpgid(0), flush=True); time.sleep(60)"
    sys.exit(Supervisor().run([python("web", code)]))
    """)
    group = int(wait_for_line(supervisor, "group ")[-1].split()[-1])

    assert group != os.getpgid(supervisor.pid)


def test_second_instance_is_told_of_the_first(tmp_path: Path) -> None:
    home = tmp_path / "home"
    told = rf"already running \(pid {os.getpid()}, http://localhost:8000\)"
    with (
        single_instance(home, "http://localhost:8000"),
        pytest.raises(AlreadyRunningError, match=told),
        single_instance(home, "http://localhost:9000"),
    ):
        pass

    with single_instance(home, "http://localhost:9000"):
        pass


def test_killed_instance_does_not_block_the_next(run: Run, tmp_path: Path) -> None:
    first = run("""
    from review.core.embedded.instance import single_instance
    with single_instance(folder, "http://localhost:8000"):
        print("held", flush=True)
        time.sleep(60)
    """)
    wait_for_line(first, "held")
    with pytest.raises(AlreadyRunningError), single_instance(tmp_path, "http://localhost:8000"):
        pass

    first.kill()
    first.wait()

    with single_instance(tmp_path, "http://localhost:8000"):
        pass


def test_taken_port_is_said_with_the_setting_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not port_is_free("127.0.0.1", port)
        with pytest.raises(PortTakenError, match=rf"port {port} .*set ASSAY_PORT"):
            require_free_port("127.0.0.1", port)

    require_free_port("127.0.0.1", port)


def test_port_is_the_one_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_PORT", raising=False)
    assert chosen_port() == 8000

    monkeypatch.setenv("ASSAY_PORT", "8123")
    assert chosen_port() == 8123


@pytest.mark.parametrize("text", ["http", "0", "65536", "-1"])
def test_port_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ASSAY_PORT", text)

    with pytest.raises(EmbeddedServiceError, match="ASSAY_PORT must be a port number"):
        chosen_port()
