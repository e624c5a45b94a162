import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from review.core.embedded.broker import EmbeddedBroker, broker_binary
from review.core.embedded.errors import BinariesMissingError, StartFailedError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    server = EmbeddedBroker(tmp_path / "broker")
    yield server
    server.release()


def connect(server: EmbeddedBroker) -> redis.Redis:
    path = server.url().removeprefix("redis+socket://")
    return redis.Redis(unix_socket_path=path, decode_responses=True)


def test_broker_writes_every_command_to_disk_before_it_answers(server: EmbeddedBroker) -> None:
    with server, connect(server) as client:
        settings = client.config_get("append*", "maxmemory-policy", "port", "save")

    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "always"
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["port"] == "0"
    assert settings["save"] == ""


def test_socket_is_private(server: EmbeddedBroker) -> None:
    socket = Path(server.url().removeprefix("redis+socket://"))
    with server:
        assert socket.stat().st_mode & 0o777 == 0o700
        assert socket.parent.stat().st_mode & 0o777 == 0o700


def test_broker_works_where_the_path_is_no_path_for_a_socket(tmp_path: Path) -> None:
    server = EmbeddedBroker(tmp_path / "a long 'name', quoted " / ("n" * 90))
    short = Path(server.url().removeprefix("redis+socket://")).parent
    with server, connect(server) as client:
        assert client.ping()

    shutil.rmtree(short)


def test_failed_start_shows_the_end_of_the_log(server: EmbeddedBroker) -> None:
    with server:
        pass
    manifest = server.folder / "data" / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("nonsense\n")

    with pytest.raises(StartFailedError, match=r"(?s)did not start.*AOF"):
        server.acquire()


def test_missing_program_is_named_with_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(BinariesMissingError, match=r"'web' extra.*CELERY_BROKER_URL"):
        broker_binary()
