"""What a run does when something beside it breaks: it goes on, or stops and says why, and nothing
is lost or sent twice."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.sandboxes import needs_sandbox
from tests.trainer.recording_server import TOKEN, RecordingServer
from tests.trainer.stages.test_grpo import ALONE, SMALL
from tests.trainer.test_command_line import recipe
from tests.trainer.test_tables import make_table
from tests.trainer.tiny import make_config
from trainer import checkpoint
from trainer.config import TrainerConfig
from trainer.hold import HoldError
from trainer.metrics import read_rows
from trainer.train import Server, train

GRPO = SMALL | {"prompts_per_step": 2}


def config(*, steps: int, **changes: dict[str, Any]) -> TrainerConfig:
    sections = {name: ALONE[name] for name in ("reward", "run", "cold_start")}
    merged = {n: sections.get(n, {}) | changes.get(n, {}) for n in sections | changes}
    return make_config(stages=ALONE["stages"], grpo=GRPO | {"steps": steps}, **merged)


def sent_once(server: RecordingServer, *, steps: int) -> None:
    rollouts = [rollout["uid"] for rollout in server.sent("rollouts")]
    assert sorted(set(rollouts)) == sorted(
        f"u/{step}/{place}/{i}"
        for step in range(1, steps + 1)
        for place in range(2)
        for i in range(4)
    )
    assert server.updates()[-1] == {"status": "finished"}


def when(condition: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    def watch() -> None:
        while not condition():
            time.sleep(0.005)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_server_away_for_fifty_steps_gets_everything_once(
    tmp_path: Path, server: RecordingServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.stop()
    returns = when(lambda: len(read_rows(tmp_path)) > 50, server.start)
    train(
        config(steps=52),
        out=tmp_path,
        cold_starts=tmp_path,
        uid="u",
        server=Server(server.url, TOKEN),
    )
    returns.join()
    sent_once(server, steps=52)
    assert len(server.sent("rollouts")) == 52 * 8  # none twice
    assert capsys.readouterr().err.count("nothing can be sent now") == 1


def test_batches_cut_in_the_middle_are_sent_again_until_they_are_acknowledged(
    tmp_path: Path, server: RecordingServer
) -> None:
    server.failures.extend([None, None, "cut-after", "cut-before", 503, "cut-after"])
    train(
        config(steps=3),
        out=tmp_path,
        cold_starts=tmp_path,
        uid="u",
        server=Server(server.url, TOKEN),
    )
    sent_once(server, steps=3)


def test_run_that_is_killed_anywhere_ends_as_one_that_was_not(
    tmp_path: Path, server: RecordingServer
) -> None:
    sections: dict[str, Any] = {n: ALONE[n] for n in ("reward", "run", "cold_start")}
    sections["grpo"] = GRPO | {"steps": 12}
    sections["stages"] = ALONE["stages"]
    path = toml(tmp_path, sections)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ASSAY_", "OMP_"))}
    environment |= {"ASSAY_URL": server.url, "ASSAY_TOKEN": TOKEN}
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "trainer", "train", path, "--out", str(out)]
    command += ["--run-uid", "u"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    when(lambda: len(read_rows(out)) > 5, process.kill).join()
    assert process.wait() == -signal.SIGKILL
    command = [*command[:7], "--resume"]
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    sent_once(server, steps=12)
    whole = tmp_path / "whole"
    train(TrainerConfig.from_dict(make(sections)), out=whole, cold_starts=tmp_path)
    states = [torch.load(o / checkpoint.FILE_NAME, weights_only=True) for o in (out, whole)]
    killed, unbroken = (state["policy"] for state in states)
    assert all(torch.equal(killed[name], unbroken[name]) for name in unbroken)
    # What was sent twice, around a kill, was the very same.
    texts: dict[str, str] = {}
    for rollout in server.sent("rollouts"):
        text = rollout["messages"][0]["content"]
        assert texts.setdefault(rollout["uid"], text) == text


def make(sections: dict[str, Any]) -> dict[str, Any]:
    changes = {name: keys for name, keys in sections.items() if name != "stages"}
    return make_config(stages=sections["stages"], **changes).to_dict()


def toml(folder: Path, sections: dict[str, Any]) -> str:
    changes = {name: keys for name, keys in sections.items() if name != "stages"}
    path = Path(recipe(folder, **changes))
    stages = "".join(f'\n[[stages]]\nkind = "{stage["kind"]}"' for stage in sections["stages"])
    path.write_text(path.read_text() + stages)
    return str(path)


@needs_sandbox
def test_full_disk_stops_the_run_with_what_to_do_and_nothing_is_lost(
    tmp_path: Path, server: RecordingServer
) -> None:
    """A real full disk: the spool lies on a file system of 128 kB."""
    server.stop()
    sections: dict[str, Any] = {n: ALONE[n] for n in ("reward", "run", "cold_start")}
    sections |= {"grpo": GRPO | {"steps": 400}, "stages": ALONE["stages"]}
    out = tmp_path / "out"
    (out / "link").mkdir(parents=True)
    command = [sys.executable, "-m", "trainer", "train", toml(tmp_path, sections)]
    command += ["--out", str(out), "--run-uid", "u"]
    bwrap = shutil.which("bwrap")
    assert bwrap is not None
    walls = [bwrap, "--dev-bind", "/", "/", "--size", str(128 * 1024), "--tmpfs", str(out / "link")]
    complaint = ""
    with subprocess.Popen(
        [*walls, *command],
        env=os.environ | {"ASSAY_URL": server.url, "ASSAY_TOKEN": TOKEN},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            complaint += line
            if "waiting up to 20 s for the server to take" in line:
                server.start()
    assert process.returncode == 3, complaint
    assert "its rollouts cannot be kept on disk (No space left on device)" in complaint
    assert "--resume" in complaint
    made = len(read_rows(out)) - 1
    state = torch.load(out / checkpoint.FILE_NAME, weights_only=True)
    assert state["place"][2] == made
    uids = [rollout["uid"] for rollout in server.sent("rollouts")]
    assert len(uids) == len(set(uids))
    assert {int(uid.split("/")[1]) for uid in uids} >= set(range(1, made + 1))


@needs_sandbox
def test_checkpoint_that_finds_no_room_stops_the_run_and_leaves_the_one_before(
    tmp_path: Path,
) -> None:
    """A file system of 160 kB holds the first checkpoint, and no second one beside it."""
    sections: dict[str, Any] = {n: ALONE[n] for n in ("reward", "run", "cold_start")}
    sections |= {"grpo": GRPO | {"steps": 3}, "stages": ALONE["stages"]}
    out, bwrap = tmp_path / "out", shutil.which("bwrap")
    assert bwrap is not None
    out.mkdir()
    command = [
        sys.executable,
        "-m",
        "trainer",
        "train",
        toml(tmp_path, sections),
        "--out",
        str(out),
    ]
    walls = [bwrap, "--dev-bind", "/", "/", "--size", str(160 * 1024), "--tmpfs", str(out)]
    # What is in the walls' file system goes with them: list it in there.
    told = ["sh", "-c", f"{shlex.join(command)}; echo status $?; ls {out}"]
    done = subprocess.run([*walls, *told], capture_output=True, text=True, check=False)
    assert "status 3" in done.stdout, done.stderr
    assert checkpoint.FILE_NAME in done.stdout.split()
    assert "No space left on device" in done.stderr
    assert "make room and go on with --resume" in done.stderr


def test_a_stop_ends_the_wait_for_a_table_and_the_step_is_made_on_resuming(
    tmp_path: Path, server: RecordingServer
) -> None:
    waits = {"source": "table", "warm_up_steps": 2, "wait_s": 600.0}
    settings, where = config(steps=3, reward=waits), Server(server.url, TOKEN)
    asked = when(
        # Once before the run, and then while it waits.
        lambda: sum(r.path.endswith("/reward-table") for r in server.requests) > 2,
        lambda: os.kill(os.getpid(), signal.SIGTERM),
    )
    train(settings, out=tmp_path, cold_starts=tmp_path, server=where)
    asked.join()
    assert len(read_rows(tmp_path)) == 3
    server.table = make_table(1, first=1, last=9)
    train(settings, out=tmp_path, cold_starts=tmp_path, server=where, resume=True)
    assert [row.get("table_version") for row in read_rows(tmp_path)][1:] == [None, None, 1]


@pytest.mark.parametrize("on_hold", ["go on", "pause", "stop"])
def test_hold_does_what_the_recipe_says(
    on_hold: str, tmp_path: Path, server: RecordingServer, capsys: pytest.CaptureFixture[str]
) -> None:
    held = when(lambda: len(read_rows(tmp_path)) > 2, lambda: setattr(server, "signal", "hold"))
    where = Server(server.url, TOKEN)
    settings = config(steps=40, run={"on_hold": on_hold})
    options: dict[str, Any] = {"out": tmp_path, "cold_starts": tmp_path, "server": where}
    if on_hold == "stop":
        with pytest.raises(HoldError, match=r"the server says hold .reward and accuracy have"):
            train(settings, **options)
        assert 3 <= len(read_rows(tmp_path)) < 41
        server.signal = "ok"
        options["resume"] = True
    elif on_hold == "pause":
        over = when(
            lambda: server.signal == "hold" and len(read_rows(tmp_path)) < 41,
            lambda: (time.sleep(0.5), setattr(server, "signal", "ok"))[1],
        )
        train(settings, **options)
        over.join()
    if on_hold != "pause":
        train(settings, **options)
    held.join()
    assert len(read_rows(tmp_path)) == 41
    said = capsys.readouterr().err.count("the server says hold before step")
    assert said == (0 if on_hold == "stop" else 1) or on_hold == "stop"
