import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.trainer.payloads import make_prompt, make_rollout, make_run
from tests.trainer.recording_server import TOKEN, Failure, RecordingServer
from trainer.client import AssayClient
from trainer.spool import MAX_BATCH_BYTES, MAX_BATCH_ITEMS, RunLink, SpoolError
from trainer.wire import RolloutPayload

ENOUGH_S = 20.0

# Sends one rollout a step until it is killed; says each uid once it is the spool's.
SPOOLING = """
import itertools, pathlib, sys
from tests.trainer.payloads import make_rollout, make_run
from trainer.client import AssayClient
from trainer.spool import RunLink

url, token, directory = sys.argv[1:]
link = RunLink(AssayClient(url, token), make_run(), pathlib.Path(directory), warn=str)
for step in itertools.count():
    link.send_rollouts([make_rollout(f"c-{step}", group=f"g-{step}", step=step)])
    print(f"c-{step}", flush=True)
"""


@contextmanager
def linked(
    client: AssayClient, directory: Path, warnings: list[str] | None = None
) -> Iterator[RunLink]:
    warn = [].append if warnings is None else warnings.append
    link = RunLink(client, make_run(), directory, warn=warn)
    try:
        yield link
    finally:
        link.close(0)


def send_step(link: RunLink, step: int) -> None:
    link.send_rollouts([make_rollout(f"c-{step}", group=f"g-{step}", step=step)])
    link.complete_step(step)


def steps_sent(server: RecordingServer) -> list[int]:
    return [rollout["step"] for rollout in server.sent("rollouts")]


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ENOUGH_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def spooled(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "spool").iterdir())


def test_everything_arrives_in_order(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    with linked(client, tmp_path) as link:
        link.send_prompts([make_prompt()])
        for step in range(3):
            send_step(link, step)
        link.finish("finished")
        assert link.close(ENOUGH_S) == 0
    paths = [(request.method, request.path.rpartition("/")[2]) for request in server.requests]
    step_calls = [("POST", "rollouts"), ("PATCH", "r-1")]
    assert paths == [("POST", "runs"), ("POST", "prompts"), *step_calls * 3, ("PATCH", "r-1")]
    assert steps_sent(server) == [0, 1, 2]
    assert server.updates()[-2:] == [{"completed_step": 2}, {"status": "finished"}]
    assert (link.sent, link.unsent, link.refused) == (9, 0, 0)
    assert spooled(tmp_path) == []


def test_what_is_queued_is_on_disk_at_once(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    server.stop()
    with linked(client, tmp_path) as link:
        send_step(link, 3)
        assert spooled(tmp_path) == [
            "0000000000-run.json.gz",
            "0000000001-rollouts.json.gz",
            "0000000002-update.json.gz",
        ]
        assert (link.sent, link.unsent, link.run_id) == (0, 3, None)
        body = (tmp_path / "spool" / "0000000001-rollouts.json.gz").read_bytes()
    assert [rollout["uid"] for rollout in json.loads(gzip.decompress(body))["rollouts"]] == ["c-3"]


def test_a_run_starts_with_the_server_away_and_all_arrives_once_it_is_back(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    server.stop()
    warnings: list[str] = []
    with linked(client, tmp_path, warnings) as link:
        for step in range(5):
            send_step(link, step)
        time.sleep(0.7)
        server.start()
        assert link.close(ENOUGH_S) == 0
    assert steps_sent(server) == [0, 1, 2, 3, 4]
    assert [update["completed_step"] for update in server.updates()] == [0, 1, 2, 3, 4]
    assert len(warnings) == 1
    assert "batches wait on disk" in warnings[0]


def test_a_server_that_goes_away_in_the_middle_gets_the_rest_later(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    with linked(client, tmp_path) as link:
        send_step(link, 0)
        wait_until(lambda: not link.unsent)
        server.stop()
        send_step(link, 1)
        send_step(link, 2)
        assert link.close(0.3) == 4
    server.start()
    with linked(client, tmp_path) as link:
        send_step(link, 3)
        assert link.close(ENOUGH_S) == 0
    assert steps_sent(server) == [0, 1, 2, 3]
    assert [request.path for request in server.requests].count("/api/v1/runs") == 1


@pytest.mark.parametrize("failure", [500, 503, 429, "cut-before", 401, 403])
def test_a_batch_that_could_not_be_sent_is_sent_again(
    client: AssayClient, server: RecordingServer, tmp_path: Path, failure: Failure
) -> None:
    with linked(client, tmp_path) as link:
        wait_until(lambda: link.run_id == "r-1")
        server.failures.extend([failure, failure])
        send_step(link, 0)
        send_step(link, 1)
        assert link.close(ENOUGH_S) == 0
    assert steps_sent(server) == [0, 1]
    assert link.refused == 0


def test_a_batch_whose_acknowledgement_was_lost_is_repeated_as_it_was(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    with linked(client, tmp_path) as link:
        wait_until(lambda: link.run_id == "r-1")
        server.failures.append("cut-after")
        send_step(link, 0)
        send_step(link, 1)
        assert link.close(ENOUGH_S) == 0
    first, repeat, *_ = server.requests[1:]
    assert (first.path, first.body) == (repeat.path, repeat.body)
    assert steps_sent(server) == [0, 0, 1]


def test_a_refused_batch_is_put_aside_and_the_rest_goes_on(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    warnings: list[str] = []
    with linked(client, tmp_path, warnings) as link:
        wait_until(lambda: link.run_id == "r-1")
        server.failures.append(422)
        send_step(link, 0)
        send_step(link, 1)
        assert link.close(ENOUGH_S) == 0
    assert steps_sent(server) == [1]
    assert (link.sent, link.refused) == (4, 1)
    name = "0000000001-rollouts.json.gz"
    batch = json.loads(gzip.decompress((tmp_path / "refused" / name).read_bytes()))
    assert [rollout["step"] for rollout in batch["rollouts"]] == [0]
    error = json.loads((tmp_path / "refused" / f"{name}.error.json").read_text())
    assert (error["status"], error["code"], error["fields"]) == (422, "scripted", {"a": ["b"]})
    assert len(warnings) == 1
    assert name in warnings[0]
    assert TOKEN not in json.dumps([warnings, error])


def test_a_later_refusal_does_not_replace_an_earlier_one(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    for step in range(2):
        with linked(client, tmp_path) as link:
            wait_until(lambda link=link: link.run_id == "r-1")  # type: ignore[misc]
            server.failures.append(400)
            link.complete_step(step)
            link.close(ENOUGH_S)
    assert len(list((tmp_path / "refused").glob("*.json.gz"))) == 2


def test_when_the_run_is_refused_all_stays_on_disk_for_the_next_link(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    warnings: list[str] = []
    server.failures.append(409)
    with linked(client, tmp_path, warnings) as link:
        send_step(link, 0)
        assert link.close(ENOUGH_S) == 2
    assert len(warnings) == 2
    assert "all stays on disk" in warnings[1]
    with linked(client, tmp_path) as link:
        assert link.close(ENOUGH_S) == 0
    assert steps_sent(server) == [0]


def test_the_next_link_knows_the_run(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    with linked(client, tmp_path) as link:
        link.close(ENOUGH_S)
    server.stop()
    with linked(client, tmp_path) as link:
        assert link.run_id == "r-1"
    assert json.loads((tmp_path / "run.json").read_text()) == {"uid": "run-uid", "id": "r-1"}


def test_a_directory_of_another_run_is_refused(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    with linked(client, tmp_path):
        pass
    with pytest.raises(SpoolError, match="belongs to run 'run-uid'"):
        RunLink(client, make_run(uid="other"), tmp_path, warn=str)
    with linked(client, tmp_path):
        pass


def test_a_directory_serves_one_link_at_a_time(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    with linked(client, tmp_path), pytest.raises(SpoolError, match="open in another"):
        RunLink(client, make_run(), tmp_path, warn=str)
    with linked(client, tmp_path):
        pass


def test_a_closed_link_takes_nothing_more(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    with linked(client, tmp_path) as link:
        link.close(ENOUGH_S)
        with pytest.raises(SpoolError, match="closed"):
            link.complete_step(1)


def batches_sent(server: RecordingServer) -> list[list[str]]:
    return [
        [rollout["group"] for rollout in request.body["rollouts"]]
        for request in server.requests
        if request.path.endswith("/rollouts")
    ]


def make_groups(groups: int, size: int, content: str = "x") -> list[RolloutPayload]:
    return [
        make_rollout(f"c-{group}-{number}", group=f"g-{group}", content=content)
        for number in range(size)
        for group in range(groups)
    ]


def test_batches_are_of_limited_number_and_keep_groups_whole(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    with linked(client, tmp_path) as link:
        link.send_rollouts(make_groups(5, 300))
        link.send_prompts(make_prompt(f"p-{number}") for number in range(MAX_BATCH_ITEMS + 1))
        assert link.close(ENOUGH_S) == 0
    assert [Counter(batch) for batch in batches_sent(server)] == [
        {"g-0": 300, "g-1": 300, "g-2": 300},
        {"g-3": 300, "g-4": 300},
    ]
    assert len(server.sent("prompts")) == MAX_BATCH_ITEMS + 1


def test_batches_are_of_limited_size(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    with linked(client, tmp_path) as link:
        link.send_rollouts(make_groups(5, 2, "x" * (MAX_BATCH_BYTES // 6)))
        link.send_rollouts(make_groups(1, 4, "x" * (MAX_BATCH_BYTES // 3)))
        assert link.close(ENOUGH_S) == 0
    sizes = [len(Counter(batch)) for batch in batches_sent(server)]
    assert sizes == [2, 2, 1, 1]  # a group over the limit still travels whole
    assert (
        max(
            len(json.dumps(request.body, separators=(",", ":"))) for request in server.requests[1:4]
        )
        <= MAX_BATCH_BYTES
    )


def test_nothing_to_send_sends_nothing(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    with linked(client, tmp_path) as link:
        link.send_rollouts([])
        link.send_prompts([])
        assert link.close(ENOUGH_S) == 0
    assert len(server.requests) == 1


def spool_until_killed(server: RecordingServer, directory: Path, uids: int) -> list[str]:
    """What a process had spooled, by its own word, when it was killed."""
    program = [sys.executable, "-c", SPOOLING, server.url, TOKEN, str(directory)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(uids)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read().split()
    assert process.returncode == -signal.SIGKILL
    return said


def test_what_a_killed_process_has_spooled_is_sent_once_by_the_next_link(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    server.stop()
    said = spool_until_killed(server, tmp_path, uids=40)
    server.start()
    with linked(client, tmp_path) as link:
        assert link.close(ENOUGH_S) == 0
    sent = [rollout["uid"] for rollout in server.sent("rollouts")]
    assert sent[: len(said)] == said
    # The last one may have been spooled without the process living to say so.
    assert len(sent) <= len(said) + 1
    assert set(Counter(sent).values()) == {1}


def test_a_process_killed_while_sending_loses_nothing(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    said = spool_until_killed(server, tmp_path, uids=40)
    with linked(client, tmp_path) as link:
        assert link.close(ENOUGH_S) == 0
    sent = [rollout["uid"] for rollout in server.sent("rollouts")]
    distinct = list(dict.fromkeys(sent))
    assert distinct[: len(said)] == said
    assert len(distinct) <= len(said) + 1
    # Only the batch in flight at the kill may come again, and next, as a repeat.
    assert len(sent) - len(distinct) <= 1


def test_half_written_files_are_not_sent(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    with linked(client, tmp_path) as link:
        link.close(ENOUGH_S)
    (tmp_path / "spool" / ".0000000009-rollouts.json.gz").write_bytes(b"half")
    with linked(client, tmp_path) as link:
        send_step(link, 1)
        assert link.close(ENOUGH_S) == 0
    assert steps_sent(server) == [1]
    assert (link.refused, spooled(tmp_path)) == (0, [])


def make_table(version: int, first: int, last: int) -> dict[str, int]:
    return {"version": version, "valid_from_step": first, "valid_to_step": last}


@contextmanager
def registered(
    client: AssayClient, directory: Path, warnings: list[str] | None = None
) -> Iterator[RunLink]:
    with linked(client, directory, warnings) as link:
        wait_until(lambda: link.run_id == "r-1")
        yield link


def version_of(text: str | None) -> int | None:
    return None if text is None else json.loads(text)["version"]


def test_before_a_table_is_published_there_is_none(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    warnings: list[str] = []
    with registered(client, tmp_path, warnings) as link:
        assert link.latest_table() is None
    assert warnings == []


def test_an_unchanged_table_is_not_sent_again(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    server.table = make_table(1, 9, 18)
    with registered(client, tmp_path) as link:
        assert version_of(link.latest_table()) == 1
        assert version_of(link.latest_table()) == 1
        assert server.requests[-1].headers["if-none-match"] == '"v1"'
        server.table = make_table(2, 19, 28)
        assert version_of(link.latest_table()) == 2


def test_the_last_good_table_serves_while_the_server_is_away(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    server.table = make_table(1, 9, 18)
    warnings: list[str] = []
    with registered(client, tmp_path, warnings) as link:
        link.latest_table()
        server.failures.extend([500, 500])
        assert version_of(link.latest_table()) == 1
        assert version_of(link.latest_table()) == 1
        assert len(warnings) == 1  # once per outage
        assert "the last one is used" in warnings[0]
        assert version_of(link.latest_table()) == 1
        server.failures.append(500)
        link.latest_table()
        assert len(warnings) == 2


def test_the_last_good_table_outlives_a_restart(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    server.table = make_table(1, 9, 18)
    with registered(client, tmp_path) as link:
        link.latest_table()
        link.close(ENOUGH_S)
    server.stop()
    with linked(client, tmp_path) as link:
        assert version_of(link.latest_table()) == 1
    server.start()
    with linked(client, tmp_path) as link:
        assert version_of(link.latest_table()) == 1
    assert server.requests[-1].headers["if-none-match"] == '"v1"'


def test_an_etag_without_its_table_is_not_believed(
    client: AssayClient, server: RecordingServer, tmp_path: Path
) -> None:
    server.table = make_table(1, 9, 18)
    with registered(client, tmp_path) as link:
        link.latest_table()
    (tmp_path / "table.json").unlink()
    with linked(client, tmp_path) as link:
        assert version_of(link.latest_table()) == 1
