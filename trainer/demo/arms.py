"""The demo's training runs as processes, at most two beside each other."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.demo.plans import ArmPlan
from trainer.metrics import Row, read_rows

AT_ONCE = 2
_PROGRESS_EVERY_S = 15.0
_STOP_S = 5.0


class ArmFailedError(Exception):
    """A training process ended with an error."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One training run of a comparison, by its plan.

    uid: names it on the server. environment: what its process gets besides ours.
    """

    plan: ArmPlan
    uid: str
    folder: Path
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.plan.name

    def command(self, recipe: Path, *, seed: int, cold_starts: Path) -> list[str]:
        return [
            *(sys.executable, "-m", "trainer", "train", str(recipe)),
            *("--seed", str(seed), "--reward", self.plan.reward, "--run-uid", self.uid),
            *("--out", str(self.folder), "--cold-starts", str(cold_starts)),
            *(part for setting in self.plan.settings for part in ("--set", setting)),
        ]


def make_cold_start(recipe: Path, *, seed: int, cold_starts: Path) -> None:
    """The weights that all arms of a seed start from. Raises ArmFailedError."""
    command = [sys.executable, "-m", "trainer", "cold-start", str(recipe), "--seed", str(seed)]
    command += ["--cold-starts", str(cold_starts)]
    status = subprocess.run(command, check=False).returncode  # noqa: S603 - our own command
    if status != 0:
        raise ArmFailedError(f"cold start: exit status {status}")


class Arms:
    """Starts the arms in order, as places become free; every `tick` looks after them."""

    def __init__(self, arms: list[Arm], recipe: Path, *, seed: int, cold_starts: Path) -> None:
        self._recipe, self._seed, self._cold_starts = recipe, seed, cold_starts
        self._arms, self._waiting = arms, list(arms)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._shown_at = time.monotonic()

    @property
    def is_done(self) -> bool:
        return not (self._running or self._waiting)

    def has_started(self, name: str) -> bool:
        return all(arm.name != name for arm in self._waiting)

    def tick(self) -> None:
        """Note what has ended, start what may start, show progress now and then.

        Raises ArmFailedError when an arm ended with an error, or the server refused what it sent:
        labels and tables would be of other rollouts than those trained on.
        """
        for name, process in list(self._running.items()):
            if process.poll() is not None:
                del self._running[name]
                if process.returncode != 0:
                    raise ArmFailedError(f"{name}: exit status {process.returncode}, see its log")
        for arm in self._arms:
            if refused := sorted((arm.folder / "link" / "refused").glob("*.error.json")):
                raise ArmFailedError(f"{arm.name}: the server refused a batch, see {refused[0]}")
        while self._waiting and len(self._running) < AT_ONCE:
            arm = self._waiting.pop(0)
            self._running[arm.name] = self._started(arm)
        if time.monotonic() - self._shown_at > _PROGRESS_EVERY_S:
            self._shown_at = time.monotonic()
            sys.stdout.write(f"  {self.progress()}\n")
            sys.stdout.flush()

    def stop(self) -> None:
        """End what still runs: asked first, killed after a few seconds."""
        deadline = time.monotonic() + _STOP_S
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def progress(self) -> str:
        return " | ".join(
            f"{arm.name} {_short(rows[-1])}"
            for arm in self._arms
            if arm.name in self._running and (rows := read_rows(arm.folder))
        )

    def _started(self, arm: Arm) -> subprocess.Popen[bytes]:
        arm.folder.mkdir(parents=True, exist_ok=True)
        command = arm.command(self._recipe, seed=self._seed, cold_starts=self._cold_starts)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")}
        with (arm.folder / "train.log").open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - our own command
                command, stdout=log, stderr=log, env=inherited | dict(arm.environment)
            )


def _short(row: Row) -> str:
    reward = row.get("verifier_reward", row.get("eval_reward")) or 0.0
    accuracy = row.get("true_accuracy", row.get("eval_true_accuracy")) or 0.0
    return f"step {row['step']}: reward {reward:.2f}, true {accuracy:.2f}"
