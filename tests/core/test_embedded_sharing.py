"""What every embedded server promises its clients, tried with real processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg import sql

from review.core.embedded.broker import EmbeddedBroker
from review.core.embedded.paths import PROJECT_ROOT
from review.core.embedded.postgres import EmbeddedPostgres

type_of_kind: dict[str, type[EmbeddedPostgres] | type[EmbeddedBroker]] = {
    "postgres": EmbeddedPostgres,
    "broker": EmbeddedBroker,
}
Server = EmbeddedPostgres | EmbeddedBroker
Client = subprocess.Popen[str]

CLIENT = """
import sys
from pathlib import Path
from review.core.embedded.guardian import SERVERS
with SERVERS[sys.argv[1]](Path(sys.argv[2])):
    print("acquired", flush=True)
    sys.stdin.read()
"""
FORKING_CLIENT = """
import os, sys
from pathlib import Path
from review.core.embedded.guardian import SERVERS
with SERVERS[sys.argv[1]](Path(sys.argv[2])) as server:
    child = os.fork()
    if child == 0:
        server.release()
        os._exit(0)
    os.waitpid(child, 0)
    print("still running:", server.is_running())
"""


@pytest.fixture(scope="module", params=["postgres", "broker"])
def stopped(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One folder for all tests of a kind, because the first start is the slow one."""
    server = type_of_kind[request.param](tmp_path_factory.mktemp("embedded") / "server")
    yield server
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def server(stopped: Server) -> Iterator[Server]:
    server = type_of_kind[stopped.kind](stopped.directory)
    yield server
    server.release()


@pytest.fixture
def shelf() -> str:
    """Where a test keeps its words: no other test sees them."""
    return f"shelf_{uuid.uuid4().hex}"


@pytest.fixture
def start_client(server: Server) -> Iterator[Callable[[], Client]]:
    clients: list[Client] = []

    def start() -> Client:
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, server.kind, str(server.directory)],
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.kill()
        client.communicate()


def wait_until_acquired(client: Client) -> None:
    assert client.stdout is not None
    assert client.stdout.readline() == "acquired\n"


def finish(client: Client) -> None:
    client.communicate()
    assert client.returncode == 0


def process_id(server: Server) -> int:
    if isinstance(server, EmbeddedPostgres):
        return int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    with redis.Redis(unix_socket_path=socket_of(server)) as broker:
        return int(broker.info("server")["process_id"])


def stops_within(server: Server, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while server.is_running():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def socket_of(broker: EmbeddedBroker) -> str:
    return broker.url().removeprefix("redis+socket://")


def store(server: Server, shelf: str, words: list[str]) -> None:
    """Every word is a commit, or an answered write, of its own."""
    if isinstance(server, EmbeddedPostgres):
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE TABLE {} (word text)").format(sql.Identifier(shelf)))
            insert = sql.SQL("INSERT INTO {} VALUES (%s)").format(sql.Identifier(shelf))
            for word in words:
                connection.execute(insert, [word])
        return
    with redis.Redis(unix_socket_path=socket_of(server)) as broker:
        for word in words:
            broker.rpush(shelf, word)


def stored(server: Server, shelf: str) -> list[str]:
    if isinstance(server, EmbeddedPostgres):
        with psycopg.connect(server.url()) as connection:
            select = sql.SQL("SELECT word FROM {}").format(sql.Identifier(shelf))
            return [row[0] for row in connection.execute(select)]
    with redis.Redis(unix_socket_path=socket_of(server), decode_responses=True) as broker:
        return list(broker.lrange(shelf, 0, -1))


def test_server_runs_while_acquired_and_keeps_its_data_over_a_restart(
    server: Server, shelf: str
) -> None:
    with server:
        store(server, shelf, ["before"])
    assert not server.is_running()

    with server:
        assert stored(server, shelf) == ["before"]


def test_two_processes_share_one_server_that_stops_with_the_last(
    server: Server, start_client: Callable[[], Client]
) -> None:
    first, second = start_client(), start_client()
    wait_until_acquired(first)
    wait_until_acquired(second)
    shared = process_id(server)

    finish(first)
    assert server.is_running()
    assert process_id(server) == shared

    finish(second)
    assert not server.is_running()


def test_killed_client_leaves_no_stale_reference(
    server: Server, start_client: Callable[[], Client]
) -> None:
    client = start_client()
    wait_until_acquired(client)

    with server:
        client.kill()
        client.wait()
        assert server.is_running()

    assert not server.is_running()


def test_server_stops_by_itself_when_its_last_client_is_killed(
    server: Server, start_client: Callable[[], Client]
) -> None:
    client = start_client()
    wait_until_acquired(client)

    client.kill()

    assert stops_within(server, 10)


def test_server_that_was_killed_starts_again_with_everything_committed(
    server: Server, shelf: str
) -> None:
    words = [f"word {number}" for number in range(200)]
    with server:
        store(server, shelf, words)
        os.kill(process_id(server), signal.SIGKILL)

    with server:
        assert stored(server, shelf) == words


def test_second_acquire_of_one_object_is_refused(server: Server) -> None:
    with server, pytest.raises(RuntimeError, match="already holds"):
        server.acquire()


def test_release_without_acquire_does_nothing(server: Server) -> None:
    server.release()


def test_forked_child_does_not_release_its_parents_reference(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING_CLIENT, server.kind, str(server.directory)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "still running: True\n"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to list processes")
def test_guardian_does_not_outlive_the_server(server: Server) -> None:
    with server:
        assert has_guardian(server)

    deadline = time.monotonic() + 10
    while has_guardian(server):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to list processes")
def test_client_that_comes_while_a_guardian_goes_gets_one_of_its_own(server: Server) -> None:
    for _ in range(15 if isinstance(server, EmbeddedBroker) else 3):
        with server:
            # Until the guardian waits for the last client, and goes when that one does.
            time.sleep(0.05)
            assert has_guardian(server)


def has_guardian(server: Server) -> bool:
    words = [b"review.core.embedded.guardian", os.fsencode(server.directory)]
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        # A process may end between being listed and being read.
        with suppress(OSError):
            arguments = command.read_bytes().split(b"\0")
            if all(word in arguments for word in words):
                return True
    return False
