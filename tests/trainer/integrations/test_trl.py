"""The real GRPOTrainer with our reward, against the real server."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pytest_django.live_server_helper import LiveServer

from review.calibration.models import RewardTable
from review.rollouts.models import Rollout
from review.runs.models import Run, RunStatus
from tests import ROOT, builders
from tests.trainer.test_reward_table import make_entry, make_table
from trainer.client import AssayClient
from trainer.integrations.scoring import SettingsError
from trainer.integrations.trl import AssayReward, Columns
from trainer.rewards import Cell, raw_reward
from trainer.rewards import RewardTable as TrainerTable

GROUP, PROMPTS = 4, 3
ROWS = GROUP * PROMPTS
NOBODY = "http://127.0.0.1:9"


@dataclass
class Trainings:
    """The process that trains."""

    process: subprocess.Popen[str]
    folder: Path

    def start(self, run: str, url: str, token: str, **settings: Any) -> str:
        said = {
            "run": run,
            "url": url,
            "token": token,
            "log": run,
            "is_chat": False,
            "pause_at": [],
            "stop_at": 0,
            "references": "answer",
        }
        return self.tell(json.dumps(said | settings))

    def tell(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def logged(self, log: str, step: int) -> list[dict[str, Any]]:
        """What TRL has logged of the training's completions, not the evaluation's."""
        path = self.folder / log / "completions" / f"completions_{step:05d}.parquet"
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainings]:
    folder = tmp_path_factory.mktemp("trl")
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.trainer.integrations.trl_runs", str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", (folder / "errors").read_text()
    yield Trainings(process, folder)
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdout.close()


def publish(run: Run, version: int, first_value: int) -> None:
    """Right answers are paid by their share of the group; what is undecided is left out."""
    cells = {
        f"pass/text/integer/1|s-|a{share}|p0|arithmetic": make_entry(
            (first_value + share) / 1024, level="cell"
        )
        for share in range(4)
    }
    fallback = {
        "pass": make_entry(0.5, level="verdict"),
        "fail": make_entry(1 / 1024, level="verdict"),
        "undecided": make_entry(0.0, level="verdict", abstain=True),
    }
    body = make_table(
        run=str(run.pk),
        version=version,
        verifiers=["contains-reference@1"],
        cells=cells,
        fallback=fallback,
    )
    RewardTable.objects.create(
        run=run,
        version=version,
        rule="demote_or_abstain",
        valid_from_step=9,
        valid_to_step=18,
        labels=96,
        body=json.dumps(body),
        digest=str(version),
        preview={},
        published_at=run.created_at,
    )


def wait_for(run: str, step: int) -> Run:
    """The run, once the rollouts of this step are there."""
    deadline = time.monotonic() + 20
    while Rollout.objects.filter(run__uid=run, step=step).count() < ROWS:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return Run.objects.get(uid=run)


Paid = Counter[tuple[str, float | None, str, int]]


def stored(run: Run, step: int) -> Paid:
    """Of the rollouts of a step: text, reward, the cell that the server gave, table version."""
    rows = run.rollouts.filter(step=step).select_related("cell")
    return Counter(
        (row.messages[-1]["content"], row.reward, row.cell.key, row.table_version or 0)
        for row in rows
    )


def logged(rows: list[dict[str, Any]]) -> Paid:
    return Counter(
        (
            row["completion"],
            row["assay_reward"],
            row["assay_reward_cell"],
            row["assay_reward_table_version"],
        )
        for row in rows
    )


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_trl_is_paid_by_the_table_and_the_server_gets_every_rollout_once(
    trainings: Trainings, live_server: LiveServer
) -> None:
    secret = builders.make_token(builders.make_project(), "ingest", "table")
    assert trainings.start("r", live_server.url, secret, steps=5, pause_at=[1, 3]) == "paused"
    run = wait_for("r", 1)
    publish(run, 1, first_value=900)
    assert trainings.tell("") == "paused"
    publish(wait_for("r", 3), 2, first_value=700)
    assert trainings.tell("") == "done"

    run.refresh_from_db()
    assert (run.status, run.completed_step, run.group_size) == (RunStatus.FINISHED, 5, GROUP)
    assert run.rollouts.count() == 5 * ROWS
    tables = {
        table.version: TrainerTable.from_json(table.body) for table in run.reward_tables.all()
    }
    values: set[float | None] = set()
    for step, version in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)]:
        rows = trainings.logged("r", step)
        assert logged(rows) == stored(run, step)
        for row in rows:
            cell = Cell.parse(row["assay_reward_cell"])
            table = tables.get(version)
            expected = (table.reward(cell) if table else raw_reward(cell)).value
            assert row["assay_reward_table_version"] == version
            assert row["assay_reward_verdict"] == cell.outcome
            assert row["assay_reward"] == expected
            assert expected is not None or row["advantage"] == 0.0
            values.add(expected)
        # Nobody can judge the last problem.
        assert sum(row["assay_reward"] is None for row in rows) == GROUP
    # Raw and of both tables: the share of a group is in the cells, which are the server's.
    assert {None, 0.0, 1.0, 1 / 1024} < values
    assert len({value for value in values if value and 0.5 < value < 1}) > 1


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_run_goes_on_without_its_server_and_what_it_did_is_sent_later(
    trainings: Trainings, live_server: LiveServer
) -> None:
    """Of conversations, with evaluations in between, which are no rollouts of the run."""
    secret = builders.make_token(builders.make_project(), "ingest", "table")
    assert trainings.start("away", NOBODY, secret, steps=4, stop_at=2, is_chat=True) == "done"
    assert not Run.objects.exists()
    # Once more from the start: the steps that it has done before are not sent again.
    again = {"steps": 3, "is_chat": True, "log": "away-again"}
    assert trainings.start("away", live_server.url, secret, **again) == "done"
    run = Run.objects.get()
    per_step = Counter(run.rollouts.values_list("step", flat=True))
    assert per_step == {1: ROWS, 2: ROWS, 3: ROWS}
    assert run.prompts.count() == PROMPTS
    assert set(run.rollouts.values_list("messages__0__role", flat=True)) == {"assistant"}


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_table_for_other_verifiers_stops_the_training_before_anything_is_generated(
    trainings: Trainings, live_server: LiveServer
) -> None:
    project = builders.make_project()
    secret = builders.make_token(project, "ingest", "table")
    assert trainings.start("other", live_server.url, secret, steps=2, pause_at=[1]) == "paused"
    run = wait_for("other", 1)
    publish(run, 1, first_value=900)
    table = run.reward_tables.get()
    RewardTable.objects.update(
        body=table.body.replace("contains-reference@1", "boxed-any@1"), digest="other"
    )
    said = trainings.tell("")
    assert said.startswith("SettingsError: the reward table 1 is for boxed-any@1")
    assert run.rollouts.count() == ROWS


@pytest.mark.slow
def test_a_column_that_is_not_there_is_named(trainings: Trainings) -> None:
    said = trainings.start("column", NOBODY, "token", steps=1, references="solution")
    assert said == "SettingsError: the data set has no column 'solution'"


def test_a_reward_without_its_callback_is_refused(tmp_path: Path) -> None:
    """It would pay raw verdicts for ever."""
    with AssayClient(NOBODY, "token") as client:
        reward = AssayReward(
            "boxed-any", run="r", columns=Columns("answer"), directory=tmp_path, client=client
        )
        assert reward.__name__ == "assay_reward"
        with pytest.raises(SettingsError, match="callback"):
            reward(
                prompts=["7 + 8"],
                completions=["15"],
                completion_ids=[[1]],
                trainer_state=None,
                log_extra=print,
                log_metric=print,
                answer=["15"],
            )


def test_a_reward_needs_a_verifier_and_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_URL", raising=False)
    with pytest.raises(SettingsError, match="verifier"):
        AssayReward(run="r", columns=Columns("answer"))
    with pytest.raises(SettingsError, match="ASSAY_URL"):
        AssayReward("boxed-any", run="r", columns=Columns("answer"))
