import threading
from pathlib import Path

import pytest

from review.core.embedded.environment import development_environment, kept_secret
from review.core.embedded.errors import FolderNotOursError


def test_secret_is_made_once_and_private(tmp_path: Path) -> None:
    file = tmp_path / "secret_key"

    secret = kept_secret(file)

    assert len(secret) > 50
    assert kept_secret(file) == secret
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_processes_that_make_the_secret_at_once_agree_on_it(tmp_path: Path) -> None:
    file = tmp_path / "secret_key"
    barrier = threading.Barrier(8)
    made: list[str] = []

    def make() -> None:
        barrier.wait()
        made.append(kept_secret(file))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 8
    assert set(made) == {file.read_text()}


def test_home_that_cannot_be_made_is_said_with_the_setting_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "file" / "home"))

    with pytest.raises(FolderNotOursError, match="set ASSAY_HOME"), development_environment():
        pass
