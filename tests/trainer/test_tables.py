"""Which table a step uses, pulled over HTTP from a server that is told what to answer."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.payloads import make_run
from tests.trainer.recording_server import Answer, RecordingServer
from trainer.client import AssayClient
from trainer.config import ConfigError, RewardConfig
from trainer.ranks import Ranks
from trainer.rewards import RewardTable
from trainer.spool import RunLink
from trainer.tables import TableFeed

CONFIG = RewardConfig(source="table", warm_up_steps=8, wait_s=0.3)
ENTRY = {
    **{"value": 0.0, "abstain": False, "p_correct": 0.0, "low": 0.0, "high": 1.0, "n": 0},
    **{"unbiased": None, "tpr": None, "fpr": None, "youden_j": None, "level": "verdict"},
}


def make_table(
    version: int = 1, *, first: int = 9, last: int = 18, **changes: Any
) -> dict[str, Any]:
    return {
        **{"format": 1, "run": "r-1", "version": version, "rule": "demote_or_abstain"},
        **{"cell_version": 1, "normaliser": "number-1", "verifiers": ["boxed-any@1"]},
        **{"valid_from_step": first, "valid_to_step": last, "label_set": "x", "n_labels": 96},
        **{"windows": [], "value_if_no_abstain": 0.0, "cells": {}},
        "fallback": {
            "pass": ENTRY | {"value": 0.5, "p_correct": 0.5},
            "fail": ENTRY,
            "undecided": ENTRY,
        },
        **changes,
    }


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def link(client: AssayClient, tmp_path: Path, warnings: list[str]) -> Iterator[RunLink]:
    link = RunLink(client, make_run(), tmp_path, warn=warnings.append)
    # Registered: a run that the server does not know has no table.
    link.complete_step(0)
    while link.unsent:
        pass
    yield link
    link.close(5)


@pytest.fixture
def feed(link: RunLink, tmp_path: Path, warnings: list[str]) -> TableFeed:
    return make_feed(link, tmp_path, warnings)


def make_feed(
    link: RunLink | None,
    folder: Path,
    warnings: list[str],
    config: RewardConfig = CONFIG,
    *,
    wants_probabilities: bool = False,
    ranks: Ranks | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> TableFeed:
    return TableFeed(
        config,
        link,
        folder / "tables",
        verifier="boxed-any@1",
        wants_probabilities=wants_probabilities,
        ranks=ranks or Ranks(),
        warn=warnings.append,
        is_stopping=is_stopping,
    )


def version(table: RewardTable | None) -> int | None:
    return None if table is None else table.version


def test_warm_up_steps_use_raw_verdicts(feed: TableFeed, server: RecordingServer) -> None:
    server.table = make_table(first=1)
    assert version(feed.at_step(8)) is None
    assert version(feed.at_step(9)) == 1


@pytest.mark.parametrize("source", ["verdict", "true"])
def test_other_reward_sources_never_pull(
    source: str, link: RunLink, server: RecordingServer, tmp_path: Path, warnings: list[str]
) -> None:
    server.table = make_table()
    feed = make_feed(link, tmp_path, warnings, RewardConfig(source=source))
    assert feed.at_step(9) is None


def test_newer_version_is_used_from_the_next_step_on(
    feed: TableFeed, server: RecordingServer
) -> None:
    server.table = make_table(1)
    assert version(feed.at_step(9)) == 1
    server.table = make_table(2)
    assert version(feed.at_step(10)) == 2


def test_waiting_ends_when_a_table_for_the_step_is_published(
    link: RunLink, server: RecordingServer, tmp_path: Path, warnings: list[str]
) -> None:
    feed = make_feed(link, tmp_path, warnings, replace(CONFIG, wait_s=60.0))
    server.table = make_table(1, first=1, last=8)
    link.latest_table()
    server.answers["GET /api/v1/runs/r-1/reward-table"] = Answer(200, make_table(2))
    server.failures.append(503)
    assert version(feed.at_step(9)) == 2
    assert len(warnings) == 1  # of the 503


@pytest.mark.parametrize("step", [8, 19])
def test_waiting_too_long_gives_the_latest_table_and_says_that_it_is_stale(
    link: RunLink, server: RecordingServer, tmp_path: Path, warnings: list[str], step: int
) -> None:
    server.table = make_table(1)
    feed = make_feed(link, tmp_path, warnings, replace(CONFIG, warm_up_steps=0))
    assert version(feed.at_step(step)) == 1
    assert warnings == [f"the reward table is stale at step {step} after waiting 0.3 s"]


def test_a_stop_ends_the_wait_and_the_step_waits_anew(
    link: RunLink, server: RecordingServer, tmp_path: Path, warnings: list[str]
) -> None:
    stops = iter([False, True, True])
    config = replace(CONFIG, wait_s=60.0)
    feed = make_feed(link, tmp_path, warnings, config, is_stopping=lambda: next(stops, False))
    assert feed.at_step(9) is None
    server.table = make_table(1)
    assert version(feed.at_step(9)) == 1
    assert warnings == []


def test_no_table_after_the_wait_means_raw_verdicts_and_a_warning(
    feed: TableFeed, warnings: list[str]
) -> None:
    assert feed.at_step(9) is None
    assert "no reward table at step 9" in warnings[-1]


def test_stale_table_is_used_on_with_one_wait_until_a_newer_one_comes(
    feed: TableFeed, server: RecordingServer, warnings: list[str]
) -> None:
    server.table = make_table(1, last=18)
    assert version(feed.at_step(18)) == 1
    assert version(feed.at_step(19)) == 1
    assert version(feed.at_step(20)) == 1
    assert len([line for line in warnings if "stale" in line]) == 1
    server.table = make_table(2, first=19, last=28)
    assert version(feed.at_step(21)) == 2


def test_unreadable_table_is_not_used_and_named(
    feed: TableFeed, server: RecordingServer, warnings: list[str]
) -> None:
    server.table = make_table(1)
    feed.at_step(9)
    server.table = make_table(2, rule="guess")
    assert version(feed.at_step(10)) == 1
    assert version(feed.at_step(11)) == 1
    assert [line for line in warnings if "not used" in line] == [
        "the reward table is not used (rule: 'guess' is none of demote_or_abstain,"
        " posterior, unbiased)"
    ]


def test_step_made_again_has_the_table_that_it_had(
    link: RunLink, server: RecordingServer, tmp_path: Path, warnings: list[str]
) -> None:
    server.table = make_table(1)
    assert version(make_feed(link, tmp_path, warnings).at_step(9)) == 1
    server.table = make_table(2)
    again = make_feed(link, tmp_path, warnings)
    assert version(again.at_step(9)) == 1
    assert version(again.at_step(10)) == 2


def test_step_made_again_without_a_table_has_none_again(
    link: RunLink, server: RecordingServer, tmp_path: Path, warnings: list[str]
) -> None:
    assert make_feed(link, tmp_path, warnings).at_step(9) is None
    server.table = make_table(1)
    assert make_feed(link, tmp_path, warnings).at_step(9) is None


def test_table_for_other_verifiers_is_refused_before_the_run_and_not_used_in_it(
    feed: TableFeed, server: RecordingServer, warnings: list[str]
) -> None:
    server.table = make_table(1, verifiers=["math@1"])
    with pytest.raises(ConfigError, match=r"reward.verifier: .* for math@1, .* is boxed-any@1"):
        feed.check()
    assert feed.at_step(9) is None
    assert "build a table for this run" in warnings[-1]


def test_values_that_are_no_probabilities_are_refused_where_some_are_wanted(
    link: RunLink, server: RecordingServer, tmp_path: Path, warnings: list[str]
) -> None:
    server.table = make_table(1, rule="unbiased")
    feed = make_feed(link, tmp_path, warnings, wants_probabilities=True)
    with pytest.raises(ConfigError, match=r'rule: "unbiased" values are no probabilities'):
        feed.check()
    assert feed.at_step(9) is None
    assert version(make_feed(link, tmp_path / "other", warnings).at_step(9)) == 1
