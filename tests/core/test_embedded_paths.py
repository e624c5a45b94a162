import subprocess
import sys
from pathlib import Path

import pytest

from review.core.embedded import paths


def test_home_is_the_folder_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path))

    assert paths.home() == tmp_path


def test_home_is_below_the_project_root_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_HOME", raising=False)

    assert paths.home() == paths.PROJECT_ROOT / ".assay"
    assert (paths.PROJECT_ROOT / "pyproject.toml").exists()


def test_addresses_are_computed_without_creating_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "home"))

    assert paths.database_url().startswith("postgresql://assay@/assay?host=/")
    assert paths.database_url("other").startswith("postgresql://assay@/other?host=/")
    assert paths.broker_url().startswith("redis+socket:///")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["n" * 90, "with space", "comma,", "ümlaut"])
def test_path_that_a_socket_cannot_have_gets_a_short_one(tmp_path: Path, name: str) -> None:
    socket = paths.socket_path(tmp_path / name, "socket/.s.PGSQL.5432")

    assert len(str(socket)) <= paths.MAX_SOCKET_BYTES
    assert socket.name == ".s.PGSQL.5432"
    assert socket.parent.parent == Path("/tmp")  # noqa: S108
    assert socket != paths.socket_path(tmp_path / (name + "2"), "socket/.s.PGSQL.5432")


def test_plain_short_path_is_used_as_it_is() -> None:
    assert paths.socket_path(Path("/srv/a"), "socket/s") == Path("/srv/a/socket/s")


def test_settings_can_import_the_paths_without_django_or_a_driver() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import review.core.embedded.paths, sys; print(*sys.modules)"],
        cwd=paths.PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert not {"django", "psycopg", "celery"} & set(loaded)
