import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.test_reward_table import make_table
from trainer.integrations import scoring

SetUp = Callable[..., None]


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SetUp]:
    """Gives this process's hooks their settings: a table's changes, and variables by their names
    without ASSAY_."""

    def forget() -> None:
        if scoring.server.cache_info().currsize:
            scoring.server().close()
        for made in (scoring.settings, scoring.scorer, scoring.server):
            made.cache_clear()

    def set_up(table: dict[str, Any] | None = None, **variables: str) -> None:
        forget()
        for name, value in {"VERIFIER": "boxed-any", "DOMAIN": "arithmetic", **variables}.items():
            monkeypatch.setenv(f"ASSAY_{name}", value)
        if table is not None:
            path = tmp_path / "table.json"
            path.write_text(json.dumps(make_table(**table)))
            monkeypatch.setenv("ASSAY_TABLE", str(path))

    yield set_up
    forget()
