"""Programs that try to get out of the sandbox, or to use up the machine."""

import os
import platform
import re
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.sandboxes import needs_sandbox
from trainer.verifiers.code.sandbox import PYTHON, find_sandbox
from trainer.verifiers.code.supervision import (
    MEBIBYTE,
    Ended,
    Ending,
    Limits,
    SandboxError,
    last_line,
    spawn,
    supervise,
)
from trainer.verifiers.code.system_calls import MACHINES, UnknownMachineError, system_call_filter

pytestmark = needs_sandbox

LIMITS = Limits(seconds=10.0, memory_bytes=256 * MEBIBYTE, output_bytes=MEBIBYTE)
# Starts a process that outlives its parents, away from their session and their pipes.
DAEMON = """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        nothing = os.open("/dev/null", os.O_RDWR)
        for fd in 0, 1, 2:
            os.dup2(nothing, fd)
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)", {marker!r}])
    os._exit(0)
os.wait()
"""


def run(program: str, stdin: str = "", limits: Limits = LIMITS, **changed: Any) -> Ended:
    return find_sandbox().run(
        [PYTHON, "-s", "-P", "-X", "utf8", "program.py"],
        stdin=stdin.encode(),
        files={"program.py": program.encode()},
        environment={},
        limits=replace(limits, **changed),
    )


def written(program: str, stdin: str = "") -> list[str]:
    """The lines that a program wrote, which must have ended well."""
    ended = run(program, stdin)
    assert (ended.ending, ended.exit_code) == (Ending.EXITED, 0), ended.stderr.decode()
    return ended.stdout.decode().splitlines()


def processes_with(marker: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_a_program_has_its_input_its_files_and_its_say() -> None:
    ended = run("import sys; print(input()); print('x', file=sys.stderr); sys.exit(3)", "h\u00e9\n")
    assert ended.stdout.decode() == "h\u00e9\n"
    assert ended.stderr == b"x\n"
    assert (ended.ending, ended.exit_code) == (Ending.EXITED, 3)
    assert 0 < ended.seconds < LIMITS.seconds


def test_a_program_that_a_signal_ends_says_which() -> None:
    assert run("import os; os.kill(os.getpid(), 11)").exit_code == 128 + signal.SIGSEGV


def test_a_program_is_nobody_without_capabilities_or_a_way_to_get_any() -> None:
    status = dict(
        line.split(":\t", 1)
        for line in written("print(open('/proc/self/status').read())")
        if ":\t" in line
    )
    assert status["Uid"].split() == ["65534"] * 4
    assert status["Gid"].split() == ["65534"] * 4
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Groups"].split() in ([], ["65534"])


def test_no_further_user_namespace_can_be_made() -> None:
    program = "import ctypes; print(ctypes.CDLL(None).unshare(0x10000000))"
    assert written(program) == ["-1"]


def test_the_network_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        name = f"assay-{secrets.token_hex(8)}"
        local.bind(f"\0{name}")
        local.listen()
        program = f"""
import socket
import struct
for family, address in (
    (socket.AF_INET, ("127.0.0.1", {server.getsockname()[1]})),
    (socket.AF_INET, ("192.0.2.1", 80)),
    (socket.AF_UNIX, "\\0{name}"),
):
    try:
        socket.socket(family).connect(address)
        print("connected", address)
    except OSError:
        print("refused")
print([name for _, name in socket.if_nameindex()])
"""
        assert written(program) == ["refused", "refused", "refused", "['lo']"]
        for listener in (server, local):
            listener.settimeout(0)
            with pytest.raises(BlockingIOError):
                listener.accept()


def test_the_hosts_files_cannot_be_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("expected: 42")
    secret.chmod(0o644)
    paths = [secret, __file__, "/etc/passwd", "/etc/hostname", Path.home() / ".bashrc"]
    paths += [f"/proc/{pid}/root{secret}" for pid in (1, "self", os.getpid())]
    paths += [f"/proc/{pid}/cwd/../../{__file__}" for pid in (1, "self", os.getpid())]
    program = f"""
for path in {list(map(str, paths))!r}:
    try:
        open(path).read()
        print("read", path)
    except OSError:
        pass
import os
print(sorted(os.listdir("/")))
"""
    *read, root = written(program)
    assert read == []
    assert not {"home", "work", "var", "srv", "mnt", "sys"} & set(re.findall(r"\w+", root))


def test_packages_of_the_host_cannot_be_imported() -> None:
    assert "ModuleNotFoundError" in run("import numpy").stderr.decode()
    assert "ModuleNotFoundError" in run("import trainer").stderr.decode()


def test_nothing_can_be_written_but_below_tmp(tmp_path: Path) -> None:
    program = f"""
import os, sysconfig
outside = {str(tmp_path)!r}
for folder in ("/", "/usr/lib", "/usr/bin", "/dev", "/dev/shm", "/etc", "/root", "/proc",
               "/proc/sys", sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"),
               outside, "."):
    try:
        open(os.path.join(folder, "mark"), "w").close()
        print(folder)
    except OSError:
        pass
"""
    assert written(program) == ["."]
    assert list(tmp_path.iterdir()) == []
    assert written("import os; print(os.path.exists('mark'))") == ["False"]


def test_a_symbolic_link_leads_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("untouched")
    secret.chmod(0o666)
    program = f"""
import os
os.symlink({str(secret)!r}, "link")
os.remove("input")
os.symlink({str(secret)!r}, "input")
for mode in "r", "w", "a":
    for name in "link", "input":
        try:
            open(name, mode)
            print("opened")
        except OSError:
            pass
"""
    assert written(program) == []
    assert secret.read_text() == "untouched"


def test_proc_shows_no_process_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_SECRET", "swordfish")
    program = """
import os
pids = [pid for pid in os.listdir("/proc") if pid.isdigit()]
print(len(pids))
for pid in pids:
    for name in "environ", "cmdline":
        print(open(f"/proc/{pid}/{name}", errors="replace").read())
"""
    count, *shown = written(program)
    assert int(count) <= 3
    assert "swordfish" not in "".join(shown)


def test_signals_reach_nobody_outside() -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        program = f"""
import os
for pid in ({os.getpid()}, {bystander.pid}):
    try:
        os.kill(pid, 9)
        print("killed")
    except ProcessLookupError:
        print("nobody")
os.kill(os.getppid(), 9)
os.kill(1, 15)
print("still here", flush=True)
try:
    os.kill(-1, 9)
except ProcessLookupError:
    print("nobody")
"""
        assert written(program) == ["nobody", "nobody", "still here", "nobody"]
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_fork_bomb_is_contained() -> None:
    program = """
import os, time
made = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
        made += 1
except OSError:
    print(made)
"""
    (made,) = written(program)
    assert 0 < int(made) < LIMITS.processes


def test_a_fork_bomb_that_goes_on_is_ended_by_the_clock() -> None:
    program = """
import os
while True:
    try:
        if os.fork() == 0 and os.fork() == 0:
            os.setsid()
    except OSError:
        pass
"""
    started = time.monotonic()
    assert run(program, seconds=0.5).ending is Ending.TIMEOUT
    assert time.monotonic() - started < 10


def test_a_memory_bomb_is_contained() -> None:
    ended = run("x = bytearray(1 << 40)")
    assert (ended.ending, ended.exit_code) == (Ending.EXITED, 1)
    assert last_line(ended.stderr) == "MemoryError"


def test_processes_that_take_too_much_memory_together_are_ended() -> None:
    program = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        break
x = b"x" * (100 << 20)
time.sleep(60)
"""
    assert run(program).ending is Ending.MEMORY


def test_files_that_fill_the_memory_are_contained() -> None:
    program = """
import itertools
written = 0
try:
    for number in itertools.count():
        with open(f"/tmp/{number}", "wb") as file:
            for _ in range(8):
                written += file.write(b"x" * (1 << 20))
                file.flush()
except OSError:
    print(written >> 20)
"""
    (mebibytes,) = written(program)
    assert int(mebibytes) <= 4 * LIMITS.file_bytes / MEBIBYTE


@pytest.mark.parametrize(
    "call",
    [
        "os.memfd_create('bomb')",
        "libc.shmget(0, 1 << 28, 0o1600) >= 0 or refused()",
        "libc.ptrace(16, 1, 0, 0) == 0 or refused()",
        "libc.syscall(0x40000000 + 39) >= 0 or refused()",
    ],
)
def test_system_calls_that_no_limit_bounds_are_refused(call: str) -> None:
    program = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def refused():
    raise OSError(ctypes.get_errno(), "refused")
try:
    {call}
    print("done")
except PermissionError:
    print("refused")
"""
    assert written(program) == ["refused"]


def test_system_calls_of_another_interface_end_a_program() -> None:
    """By the 32-bit interface of x86 the same calls have other numbers."""
    if platform.machine() != "x86_64":
        pytest.skip("this machine has one interface")
    program = """
import ctypes, mmap
code = b"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3"  # mov eax, 20; int 0x80; ret
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
print(ctypes.CFUNCTYPE(ctypes.c_int)(address)())
"""
    assert run(program).exit_code == 128 + signal.SIGSYS


def test_a_machine_whose_system_calls_are_unknown_has_no_sandbox() -> None:
    with pytest.raises(UnknownMachineError, match="'vax'"):
        system_call_filter("vax")


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_jumps_to_its_last_instruction(machine: str) -> None:
    program = list(struct.iter_unpack("=HBBI", system_call_filter(machine)))
    refusal = len(program) - 1
    denied = [at + 1 + then for at, (_, then, _, _) in enumerate(program) if at >= 4 and then]
    assert set(denied) == {refusal}
    assert len(denied) == len(MACHINES[machine].denied) + 1


def test_a_big_file_is_not_written() -> None:
    program = "open('big', 'wb').write(b'x' * (17 << 20))"
    assert "File too large" in run(program).stderr.decode()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_endless_output_is_ended(stream: str) -> None:
    ended = run(f"import sys\nwhile True: sys.{stream}.write('x' * 100_000)")
    assert (ended.ending, ended.exit_code) == (Ending.OUTPUT, None)
    assert len(ended.stdout) <= LIMITS.output_bytes


def test_as_much_output_as_is_allowed_is_read_whole() -> None:
    ended = run(f"print('x' * {MEBIBYTE}, end='')")
    assert (ended.ending, len(ended.stdout)) == (Ending.EXITED, MEBIBYTE)
    assert run(f"print('x' * {MEBIBYTE})").ending is Ending.OUTPUT
    assert run("print('12')", output_bytes=2).ending is Ending.OUTPUT


@pytest.mark.parametrize("program", ["while True: pass", "import time; time.sleep(60)"])
def test_a_program_without_end_is_ended(program: str) -> None:
    ended = run(program, seconds=0.4)
    assert ended.ending is Ending.TIMEOUT
    assert 0.4 <= ended.seconds < 5


def test_a_program_that_closes_its_output_is_still_watched() -> None:
    ended = run("import os, time; os.close(1); os.close(2); time.sleep(60)", seconds=0.4)
    assert ended.ending is Ending.TIMEOUT


@pytest.mark.parametrize("seconds", [10.0, 0.6], ids=["that ends", "that is ended"])
def test_a_program_leaves_no_process_behind(seconds: float) -> None:
    marker = f"left-behind-{secrets.token_hex(8)}"
    program = DAEMON.format(marker=marker)
    ended = run(program + ("" if seconds > 1 else "import time; time.sleep(60)"), seconds=seconds)
    assert ended.ending is (Ending.EXITED if seconds > 1 else Ending.TIMEOUT)
    assert processes_with(marker) == []


def test_a_program_leaves_no_file_behind() -> None:
    before = set(os.listdir(tempfile.gettempdir()))
    run("open('/tmp/left-behind', 'w').write('x')")
    left = set(os.listdir(tempfile.gettempdir())) - before
    assert not {name for name in left if "left-behind" in name or name.startswith("assay-")}


def test_a_program_dies_with_the_process_that_runs_it() -> None:
    marker = f"orphan-{secrets.token_hex(8)}"
    parent = f"""
from trainer.verifiers.code.sandbox import PYTHON, find_sandbox
from trainer.verifiers.code.supervision import Limits
find_sandbox().run([PYTHON, "-c", "import time; time.sleep(60)", {marker!r}],
                   stdin=b"", files={{}}, environment={{}}, limits=Limits())
"""
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT)
    try:
        # The parent, the sandbox and what is in it: two may be the parent and its fork.
        _wait_until(lambda: len(processes_with(marker)) > 2, seconds=60)
    finally:
        process.kill()
        process.wait()
    _wait_until(lambda: not processes_with(marker))


def _wait_until(holds: Any, seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_nonce_is_nowhere_to_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    nonce = secrets.token_hex(16)
    monkeypatch.setattr(secrets, "token_hex", lambda _bytes: nonce)
    program = """
import glob, os, re
def show(path):
    try:
        with open(path, "rb") as file:
            print(file.read(1 << 16))
    except OSError:
        pass
print("descriptors", sorted(map(int, os.listdir("/proc/self/fd")))[:-1])
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline") + glob.glob("*"):
    show(path)
for pid in [pid for pid in os.listdir("/proc") if pid.isdigit()]:
    for fd in (0, 3, 4, 5, 6, 7):
        descriptor = None
        try:
            descriptor = os.open(f"/proc/{pid}/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK)
            print(os.read(descriptor, 1 << 16))
        except OSError:
            pass
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
    for line in maps:
        start, end = (int(x, 16) for x in line.split()[0].split("-"))
        if " rw" in line:
            memory.seek(start)
            # No pattern that finds itself: sixteen bytes in hexadecimal and a line end.
            for found in re.findall(rb"[0-9a-f]{32}(?=\\n)", memory.read(end - start)):
                print(found)
"""
    shown = written(program)
    assert shown[0] == "descriptors [0, 1, 2]"
    assert nonce not in "".join(shown)


def test_what_a_program_writes_is_never_taken_for_the_start() -> None:
    program = "print('0' * 32); print('1' * 32)"
    assert run(program).stdout.decode().split() == ["0" * 32, "1" * 32]


def test_programs_run_side_by_side_and_keep_their_output() -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: written("print(int(input()) * 2)", str(n)), range(12)))
    assert found == [[str(2 * n)] for n in range(12)]


def test_what_does_not_start_is_the_sandboxs_fault() -> None:
    sandbox = find_sandbox()
    broken = replace(sandbox, tools={**sandbox.tools, "prlimit": "/nonexistent"})
    with pytest.raises(SandboxError, match="/nonexistent"):
        broken.run(["true"], stdin=b"", files={}, environment={}, limits=LIMITS)


def test_what_does_not_start_in_time_is_the_sandboxs_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.verifiers.code.supervision.START_SECONDS", 0.0)
    with pytest.raises(SandboxError, match="not started"):
        run("print(1)")


def test_a_start_that_is_heard_of_while_it_is_ended_is_no_timeout_of_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainer.verifiers.code.supervision.START_SECONDS", 0.3)
    # It outlives what is killed, and then says that it has started.
    late = "echo; read -r nonce; sleep 1; echo $nonce"
    process = spawn(["/usr/bin/setsid", "--fork", "--wait", "/bin/sh", "-c", late], {})
    with pytest.raises(SandboxError, match=r"not started in 0\.3 s"):
        supervise(process, LIMITS)
