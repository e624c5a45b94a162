"""Comparisons of training runs, driven through the public interface of a running server.

    python -m trainer.demo.loop --url http://localhost:8000 --seeds 0,1,2 --out DIR

Per seed, the arms of a comparison start from one cold start: runs on the raw verdict, on the true
reward (the ceiling), on a random one, and runs whose reward comes from tables that are built from
scripted reviewers' labels while they train. Tokens come from ASSAY_INGEST_TOKEN (scopes ingest and
table), ASSAY_LABEL_TOKENS (scope label, one a reviewer, joined by commas) and ASSAY_LEAD_TOKEN
(lead). The last line on stdout is one JSON object with the figures.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from uuid import uuid4

from trainer.client import AssayClient, AssayError
from trainer.config import ConfigError, load_config
from trainer.data import run_payload
from trainer.demo import gains, report
from trainer.demo.arms import Arm, ArmFailedError, Arms, make_cold_start
from trainer.demo.calibration import Calibration, CalibrationError
from trainer.demo.oracle import Reviewer
from trainer.demo.plans import ARMS, COMPARISONS, ArmPlan, AuditPlan, planned_tables
from trainer.demo.report import SeedResult
from trainer.metrics import read_rows
from trainer.verifiers import build

RECIPE = Path(__file__).parents[1] / "recipes" / "demo.toml"
_POLL_S = 0.5
_END = object()


@dataclass(frozen=True, slots=True)
class Tokens:
    """labels: one a reviewer."""

    ingest: str
    labels: tuple[str, ...]
    lead: str

    @classmethod
    def from_environment(cls) -> "Tokens":
        names = ("ASSAY_INGEST_TOKEN", "ASSAY_LABEL_TOKENS", "ASSAY_LEAD_TOKEN")
        if missing := [name for name in names if not os.environ.get(name)]:
            raise ConfigError(f"set {', '.join(missing)}")
        ingest, labels, lead = (os.environ[name] for name in names)
        return cls(ingest, tuple(labels.split(",")), lead)

    def check(self, plans: Sequence[ArmPlan]) -> None:
        """Raises ConfigError where an arm wants more reviewers than there are."""
        wanted = max((plan.audit.n_reviewers for plan in plans if plan.audit), default=0)
        if len(self.labels) < wanted:
            raise ConfigError(f"ASSAY_LABEL_TOKENS: make it {wanted} tokens, one a reviewer")


class Seed:
    """One seed's arms and their calibrations. Raises what these raise."""

    def __init__(
        self, recipe: Path, seed: int, plans: Sequence[ArmPlan], *, url: str, tokens: Tokens
    ) -> None:
        self._recipe, self._seed, self._plans = recipe, seed, plans
        self._url, self._tokens = url, tokens

    def run(self, out: Path) -> SeedResult:
        cold_starts, batch = out / "cold-starts", uuid4().hex[:6]
        _say(f"seed {self._seed}: cold start")
        make_cold_start(self._recipe, seed=self._seed, cold_starts=cold_starts)
        arms = [self._arm(plan, batch, out / f"seed-{self._seed}") for plan in self._plans]
        processes = Arms(arms, self._recipe, seed=self._seed, cold_starts=cold_starts)
        with ExitStack() as stack:
            calibrations = {
                arm.name: self._calibration(arm, audit, stack)
                for arm in arms
                if (audit := arm.plan.audit)
            }
            stack.callback(processes.stop)
            _run_together(processes, calibrations)
        return SeedResult(
            seed=self._seed,
            rows={arm.name: read_rows(arm.folder) for arm in arms},
            publications={name: found.publications for name, found in calibrations.items()},
            n_labels={name: found.n_labels for name, found in calibrations.items()},
        )

    def _arm(self, plan: ArmPlan, batch: str, folder: Path) -> Arm:
        """Only what is audited is sent to the server."""
        streaming = {"ASSAY_URL": self._url, "ASSAY_TOKEN": self._tokens.ingest}
        uid = f"demo-{batch}-{self._seed}-{plan.name}"
        return Arm(plan, uid, folder / plan.name, streaming if plan.audit else {})

    def _calibration(self, arm: Arm, audit: AuditPlan, stack: ExitStack) -> Calibration:
        def client(token: str) -> AssayClient:
            return stack.enter_context(AssayClient(self._url, token))

        config = load_config(self._recipe, arm.plan.settings).with_overrides(
            seed=self._seed, reward_source=arm.plan.reward
        )
        payload = run_payload(config, arm.uid, build(config.reward.verifier))
        return Calibration(
            client(self._tokens.lead),
            [
                Reviewer(client(token), f"reviewer {number}", audit.error_rate)
                for number, token in enumerate(self._tokens.labels[: audit.n_reviewers], start=1)
            ],
            client(self._tokens.ingest).register_run(payload),
            audit,
            planned_tables(audit, config),
        )


def _run_together(arms: Arms, calibrations: Mapping[str, Calibration]) -> None:
    """Until every arm has ended and every table is published."""
    open_ones = {name: found.publish_all() for name, found in calibrations.items()}
    n_shown = dict.fromkeys(calibrations, 0)
    while open_ones or not arms.is_done:
        arms.tick()
        for name in [name for name in open_ones if arms.has_started(name)]:
            is_open = next(open_ones[name], _END) is not _END
            for publication in calibrations[name].publications[n_shown[name] :]:
                _say(f"  {name}: {report.publication_line(publication)}")
                n_shown[name] += 1
            if not is_open:
                del open_ones[name]
        time.sleep(_POLL_S)


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    plans = [ARMS[name] for name in options.arms or COMPARISONS[options.comparison]]
    told = report if options.comparison == "loop" and not options.arms else gains
    results: list[SeedResult] = []
    status = 0
    try:
        tokens = Tokens.from_environment()
        tokens.check(plans)
        options.out.mkdir(parents=True, exist_ok=True)
        for number in options.seeds:
            started = time.monotonic()
            seed = Seed(options.recipe, number, plans, url=options.url, tokens=tokens)
            results.append(seed.run(options.out))
            _say(f"seed {number}: done in {time.monotonic() - started:.0f} s")
    except (AssayError, ArmFailedError, CalibrationError, ConfigError) as error:
        sys.stderr.write(f"loop: {error}\n")
        status = 1
    if results:  # the seeds that came to their end count, also when a later one did not
        sys.stdout.write(told.table(results, plans))
        for path in told.plot(results, plans, options.out):
            _say(f"plot: {path}")
        _say(told.figures_line(results, plans))
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer.demo.loop")
    parser.add_argument("--url", required=True, help="of the server")
    parser.add_argument("--seeds", type=_seeds, default=[0], help="such as 0,1,2")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs, plot and figures")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    compared = parser.add_mutually_exclusive_group()
    compared.add_argument("--comparison", choices=COMPARISONS, default="loop")
    compared.add_argument("--arms", type=_arms, default=[], help="such as raw,true")
    return parser


def _seeds(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _arms(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in ARMS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(ARMS)}")
    return names


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _end(number: int, frame: FrameType | None) -> None:
    """As an exception, so that the arms are ended too."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
