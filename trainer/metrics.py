"""What a run leaves behind for people: metrics, completions, progress lines."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from trainer.data import Batch

METRICS_FILE = "metrics.jsonl"

Row = dict[str, float | None]

_SHOWN = {
    "reward": "verifier_reward",
    "true": "true_accuracy",
    "kept": "kept_share",
    "clip": "clip_fraction",
    "entropy": "entropy",
    "eval": "eval_reward",
    "eval true": "eval_true_accuracy",
}


@dataclass(frozen=True, slots=True)
class Update:
    """What a step did to the policy, as means; None where no rollout had an advantage."""

    n_rows: int
    clip_fraction: float | None = None
    kl_k1: float | None = None
    kl_k3: float | None = None
    entropy: float | None = None


def step_row(batch: Batch, update: Update) -> Row:
    """A step in figures. reward: of the kept rollouts; verifier_reward: share that is accepted;
    true_accuracy: share that is right, which only a demo task knows."""
    rollouts = batch.rollouts()
    kept = [rollout.reward for rollout in rollouts if rollout.reward is not None]
    n = len(rollouts)
    return {
        "step": batch.step,
        "reward": sum(kept) / len(kept) if kept else None,
        "verifier_reward": sum(rollout.is_accepted for rollout in rollouts) / n,
        "true_accuracy": sum(rollout.is_correct for rollout in rollouts) / n,
        "kept_share": len(kept) / n,
        "advantage_share": update.n_rows / n,
        "clip_fraction": update.clip_fraction,
        "kl_k1": update.kl_k1,
        "kl_k3": update.kl_k3,
        "entropy": update.entropy,
        "mean_tokens": sum(rollout.n_tokens for rollout in rollouts) / n,
        "table_version": batch.table_version,
    }


def progress_line(row: Row, *, n_steps: int) -> str:
    """One line for people; what a row does not hold is left out."""
    parts = [f"step {row['step']:>3}/{n_steps}"]
    for label, key in _SHOWN.items():
        value = row.get(key)
        parts += [] if value is None else [f"{label} {value:.3f}"]
    if row.get("table_version") is not None:
        parts.append(f"table {row['table_version']}")
    if row.get("seconds") is not None:
        parts.append(f"{row['seconds']:.1f} s")
    return "  ".join(parts)


def read_rows(folder: Path) -> list[Row]:
    """The complete rows of a run's metrics, also while it is being written."""
    path = folder / METRICS_FILE
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


class RunLog:
    """The files of one run's folder: metrics.jsonl and completions/step-00001.jsonl."""

    def __init__(self, folder: Path, *, n_steps: int, first_step: int) -> None:
        """Rows of `first_step` and later are dropped: a run that goes on makes them again."""
        self._folder, self._n_steps = folder, n_steps
        kept = [row for row in read_rows(folder) if (row["step"] or 0) < first_step]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        (folder / METRICS_FILE).write_text(text, encoding="utf-8")

    def add(self, row: Row) -> None:
        """Append a row, and show it on stdout."""
        with (self._folder / METRICS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        sys.stdout.write(progress_line(row, n_steps=self._n_steps) + "\n")
        sys.stdout.flush()

    def add_completions(self, batch: Batch) -> None:
        folder = self._folder / "completions"
        folder.mkdir(exist_ok=True)
        with (folder / f"step-{batch.step:05d}.jsonl").open("w", encoding="utf-8") as file:
            for group in batch.groups:
                for rollout in group.rollouts:
                    line = {
                        "prompt": group.prompt.text,
                        "completion": rollout.response,
                        "outcome": rollout.verdict.outcome,
                        "cell": rollout.cell.key,
                        "reward": rollout.reward,
                        "is_correct": rollout.is_correct,
                    }
                    file.write(json.dumps(line) + "\n")
