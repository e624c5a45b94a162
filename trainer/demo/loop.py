"""The whole story of the demo, driven through the public interface of a running server.

    python -m trainer.demo.loop --url http://localhost:8000 --seeds 0,1,2 --out DIR

Per seed, from one cold start: a run on raw verdicts, a run on the true reward (the ceiling), and
a run whose reward comes from tables that are built from a scripted reviewer's labels while it
trains. Tokens come from ASSAY_INGEST_TOKEN (scopes ingest and table), ASSAY_LABEL_TOKEN (label)
and ASSAY_LEAD_TOKEN (lead). The last line on stdout is one JSON object with the figures.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from uuid import uuid4

from trainer.client import AssayClient, AssayError, AssayUnavailable
from trainer.config import ConfigError, TrainerConfig, load_config
from trainer.data import run_payload
from trainer.demo import report
from trainer.demo.arms import Arm, ArmFailedError, Arms, make_cold_start
from trainer.demo.oracle import label_queue
from trainer.demo.report import ESTIMANDS, Publication, SeedResult
from trainer.metrics import read_rows
from trainer.verifiers import build
from trainer.wire import Audit, AuditPayload, AuditWindow, EstimateAnswer

RECIPE = Path(__file__).parents[1] / "recipes" / "demo.toml"
RULE = "demote_or_abstain"
LABEL_LIMIT = 300
WARM_UP_BUDGET, WINDOW_BUDGET, WINDOW_STEPS, WAVES = 96, 48, 10, 4
_POLL_S = 0.3
_WINDOW_LIMIT_S = 420.0
_ESTIMATES_LIMIT_S = 15.0


class LoopError(Exception):
    """The loop cannot go on; the message says what did not happen."""


@dataclass(frozen=True, slots=True)
class Tokens:
    ingest: str
    label: str
    lead: str

    @classmethod
    def from_environment(cls) -> "Tokens":
        names = ("ASSAY_INGEST_TOKEN", "ASSAY_LABEL_TOKEN", "ASSAY_LEAD_TOKEN")
        if missing := [name for name in names if not os.environ.get(name)]:
            raise ConfigError(f"set {', '.join(missing)}")
        return cls(*(os.environ[name] for name in names))


@dataclass(frozen=True, slots=True)
class PlannedTable:
    """A window to audit, and the steps that its table is for."""

    first_step: int
    last_step: int
    valid_to_step: int


def planned_tables(config: TrainerConfig) -> list[PlannedTable]:
    """The warm-up's window, then windows of ten steps while the label limit has room.

    The last table is valid to the end of the run.
    """
    end, first, last = config.grpo.steps, 1, config.reward.warm_up_steps
    n_more = (LABEL_LIMIT - WARM_UP_BUDGET) // WINDOW_BUDGET
    plan: list[PlannedTable] = []
    while last < end and len(plan) <= n_more:
        is_final = len(plan) == n_more or last + WINDOW_STEPS >= end
        plan.append(PlannedTable(first, last, end if is_final else last + WINDOW_STEPS))
        first, last = last + 1, last + WINDOW_STEPS
    return plan


class Calibration:
    """The lead's and the reviewer's part beside one training run."""

    def __init__(self, lead: AssayClient, reviewer: AssayClient, run: str, arms: Arms) -> None:
        self._lead, self._reviewer, self._run, self._arms = lead, reviewer, run, arms
        self.n_labels = 0

    def publish_all(
        self, plan: Sequence[PlannedTable], audits: Sequence[Audit]
    ) -> list[Publication]:
        """Audit window after window; a table after each. `audits`: warm-up's, then the others'."""
        publications = []
        for i, planned in enumerate(plan):
            window = self._labelled_window(audits[min(i, 1)], planned)
            table = self._lead.build_table(
                self._run,
                rule=RULE,
                valid_from_step=planned.last_step + 1,
                valid_to_step=planned.valid_to_step,
            )
            self._lead.publish_table(table.id)
            publication = Publication(
                version=table.version,
                first_step=planned.first_step,
                last_step=planned.last_step,
                n_labels=self.n_labels,
                estimates=self._estimates_of(window),
            )
            publications.append(publication)
            sys.stdout.write(f"  {report.publication_line(publication)}\n")
        return publications

    def _labelled_window(self, audit: Audit, planned: PlannedTable) -> AuditWindow:
        """The window, once the reviewer has labelled all of its waves."""
        deadline = time.monotonic() + _WINDOW_LIMIT_S
        while time.monotonic() < deadline:
            self._arms.tick()
            try:
                room = LABEL_LIMIT - self.n_labels
                self.n_labels += label_queue(self._reviewer, audit.queue, limit=room)
                for window in self._lead.audit(audit.id).windows:
                    if window.first_step == planned.first_step and window.state == "closed":
                        return window
            except AssayUnavailable as error:
                sys.stdout.write(f"  trying again: {error}\n")
            time.sleep(_POLL_S)
        steps = f"{planned.first_step}-{planned.last_step}"
        raise LoopError(f"the window of steps {steps} did not close in {_WINDOW_LIMIT_S:g} s")

    def _estimates_of(self, window: AuditWindow) -> dict[str, EstimateAnswer]:
        """They are computed in the background: what is there after a while is what there is."""
        deadline = time.monotonic() + _ESTIMATES_LIMIT_S
        while True:
            found = {
                estimate.estimand: estimate
                for estimate in self._lead.estimates(self._run)
                if estimate.window == window.id and estimate.estimand in ESTIMANDS
            }
            if len(found) == len(ESTIMANDS) or time.monotonic() > deadline:
                return found
            self._arms.tick()
            time.sleep(_POLL_S)


def started_audits(lead: AssayClient, run: str, config: TrainerConfig) -> list[Audit]:
    """The audits of a run, started before its first rollout arrives."""
    warm_up = config.reward.warm_up_steps
    focus = dict.fromkeys(ESTIMANDS, 1.0)
    payloads = [
        AuditPayload("warm-up", 1, warm_up, warm_up, WARM_UP_BUDGET, WAVES, focus),
        AuditPayload("windows", warm_up + 1, None, WINDOW_STEPS, WINDOW_BUDGET, WAVES, focus),
    ]
    audits = [lead.create_audit(run, payload) for payload in payloads]
    for audit in audits:
        lead.start_audit(audit.id)
    return audits


def run_seed(recipe: Path, seed: int, *, url: str, tokens: Tokens, out: Path) -> SeedResult:
    """All three arms of one seed. Raises LoopError, ArmFailedError or AssayError."""
    config = load_config(recipe).with_overrides(seed=seed, reward_source="table")
    folder, cold_starts, batch = out / f"seed-{seed}", out / "cold-starts", uuid4().hex[:6]
    sys.stdout.write(f"seed {seed}: cold start\n")
    sys.stdout.flush()
    make_cold_start(recipe, seed=seed, cold_starts=cold_starts)
    streaming = {"ASSAY_URL": url, "ASSAY_TOKEN": tokens.ingest}
    arms = [
        Arm(name, reward, f"demo-{batch}-{seed}-{name}", folder / name, environment)
        for name, reward, environment in (
            ("calibrated", "table", streaming),
            ("raw", "verdict", streaming),
            ("true", "true", {}),
        )
    ]
    with (
        AssayClient(url, tokens.ingest) as trainer,
        AssayClient(url, tokens.lead) as lead,
        AssayClient(url, tokens.label) as reviewer,
    ):
        verifier = build(config.reward.verifier)
        run = trainer.register_run(run_payload(config, arms[0].uid, verifier))
        audits = started_audits(lead, run, config)
        processes = Arms(arms, recipe, seed=seed, cold_starts=cold_starts)
        try:
            calibration = Calibration(lead, reviewer, run, processes)
            publications = calibration.publish_all(planned_tables(config), audits)
            processes.wait()
        finally:
            processes.stop()
    rows = {arm.name: read_rows(arm.folder) for arm in arms}
    return SeedResult(seed, rows, publications, calibration.n_labels)


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        tokens = Tokens.from_environment()
        options.out.mkdir(parents=True, exist_ok=True)
        results = []
        for seed in options.seeds:
            started = time.monotonic()
            result = run_seed(options.recipe, seed, url=options.url, tokens=tokens, out=options.out)
            results.append(result)
            sys.stdout.write(f"seed {seed}: done in {time.monotonic() - started:.0f} s\n")
    except (AssayError, ArmFailedError, ConfigError, LoopError) as error:
        sys.stderr.write(f"loop: {error}\n")
        return 1
    sys.stdout.write(report.table(results))
    for path in report.plot(results, options.out):
        sys.stdout.write(f"plot: {path}\n")
    sys.stdout.write(report.figures_line(results) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer.demo.loop")
    parser.add_argument("--url", required=True, help="of the server")
    parser.add_argument("--seeds", type=_seeds, default=[0], help="such as 0,1,2")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs, plot and figures")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    return parser


def _seeds(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _end(number: int, frame: FrameType | None) -> None:
    """As an exception, so that the arms are ended too."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
