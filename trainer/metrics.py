"""What a run leaves behind for people: metrics, completions as TRL writes them, progress lines."""

import dataclasses
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, SupportsFloat

from trainer.data import Batch, Rollout
from trainer.outbox import write_durably
from trainer.verifiers.format import foreign_share, repeated_share

METRICS_FILE = "metrics.jsonl"
TENSORBOARD_FOLDER = "tensorboard"

Row = dict[str, float | None]

_SHOWN = {
    "reward": "verifier_reward",
    "true": "true_accuracy",
    "kept": "kept_share",
    "clip": "clip_fraction",
    "entropy": "entropy",
    "loss": "loss",
    "eval": "eval_reward",
    "eval true": "eval_true_accuracy",
}
_CELLS_LOGGED = 8
_REPEATED_WORDS = 4
# Entropy is compared with the mean of the first steps.
_FIRST_STEPS, _COLLAPSED_SHARE = 3, 0.1


@dataclass(frozen=True, slots=True)
class Update:
    """What a step did to the policy, as means over tokens; None where no row had an advantage."""

    n_chosen: int
    n_rows: int
    clip_fraction: float | None = None
    kl_k1: float | None = None
    kl_k3: float | None = None
    reference_kl: float | None = None
    entropy: float | None = None
    value_error: float | None = None


@dataclass(frozen=True, slots=True)
class UpdateSums:
    """The same as sums, which add up over micro-batches and processes."""

    n_rows: float = 0.0
    tokens: float = 0.0
    clipped: float = 0.0
    k1: float = 0.0
    k3: float = 0.0
    reference_kl: float = 0.0
    entropy: float = 0.0
    squared_error: float = 0.0

    @classmethod
    def of(
        cls, sums: Iterable[SupportsFloat], entropy: float, squared_error: float, *, n_rows: int
    ) -> "UpdateSums":
        """sums: `loss.Sums`."""
        tokens, clipped, k1, k3, reference_kl = map(float, sums)
        return cls(n_rows, tokens, clipped, k1, k3, reference_kl, entropy, squared_error)

    def __add__(self, other: "UpdateSums") -> "UpdateSums":
        return UpdateSums(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[float, ...]:
        return dataclasses.astuple(self)

    def update(self, *, n_chosen: int) -> Update:
        n_rows, tokens, *sums = self.values()
        if tokens == 0:
            return Update(n_chosen, int(n_rows))
        return Update(n_chosen, int(n_rows), *(value / tokens for value in sums))


def step_row(batch: Batch, update: Update, rewards: Mapping[str, float | None]) -> Row:
    """A step in figures. rewards: each channel's mean.

    reward: of the kept rollouts. verifier_reward: share that is accepted. true_accuracy: share that
    is right, which only a demo task knows. zero_std_share: groups whose kept rewards are all the
    same. Besides there are reward/<channel>, accepted/<difficulty> and cell/<key>.
    """
    rollouts = batch.rollouts()
    kept = [rollout.reward for rollout in rollouts if rollout.reward is not None]
    truths = [rollout.is_correct for rollout in rollouts if rollout.is_correct is not None]
    texts = [rollout.response for rollout in rollouts]
    row: Row = {
        "step": batch.step,
        "reward": fmean(kept) if kept else None,
        "verifier_reward": fmean(rollout.is_accepted for rollout in rollouts),
        "true_accuracy": fmean(truths) if truths else None,
        "kept_share": len(kept) / len(rollouts),
        "zero_std_share": fmean(_is_flat(group.rollouts) for group in batch.groups),
        "truncated_share": fmean(rollout.is_truncated for rollout in rollouts),
        "undecided_share": fmean(r.verdict.outcome == "undecided" for r in rollouts),
        "advantage_share": update.n_rows / len(rollouts),
        "chosen_share": update.n_chosen / len(batch.groups),
        "clip_fraction": update.clip_fraction,
        "kl_k1": update.kl_k1,
        "kl_k3": update.kl_k3,
        "reference_kl": update.reference_kl,
        "entropy": update.entropy,
        "value_error": update.value_error,
        "mean_tokens": fmean(rollout.n_tokens for rollout in rollouts),
        "repeated_share": fmean(repeated_share(text, _REPEATED_WORDS) for text in texts),
        "foreign_share": fmean(map(foreign_share, texts)),
        "table_version": batch.table_version,
    }
    row |= {f"reward/{name}": mean for name, mean in rewards.items()}
    row |= _accepted_by_difficulty(batch)
    cells = Counter(rollout.cell.key for rollout in rollouts).most_common(_CELLS_LOGGED)
    return row | {f"cell/{key}": n / len(rollouts) for key, n in cells}


def _is_flat(rollouts: Sequence[Rollout]) -> bool:
    return len({rollout.reward for rollout in rollouts if rollout.reward is not None}) < 2


def _accepted_by_difficulty(batch: Batch) -> Row:
    marks: dict[int, list[bool]] = {}
    for group in batch.groups:
        if group.prompt.difficulty is not None:
            found = marks.setdefault(group.prompt.difficulty, [])
            found += [rollout.is_accepted for rollout in group.rollouts]
    return {f"accepted/{difficulty}": fmean(marks[difficulty]) for difficulty in sorted(marks)}


def pass_at_k(n: int, right: int, k: int) -> float:
    """The chance that of k of n completions, `right` of which are right, one is right.

    Unbiased for n >= k (arXiv:2107.03374, eq. 1). Raises ValueError for k above n.
    """
    if not 0 < k <= n:
        raise ValueError(f"k: {k} is not between 1 and {n}")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


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
    """The files of one run's folder: metrics.jsonl, completions/completions_00001.parquet and,
    where asked for, tensorboard/. A process that is not the first has none of them."""

    def __init__(
        self,
        folder: Path | None,
        *,
        n_steps: int,
        first_step: int,
        tensorboard: bool,
        warn: Callable[[str], None],
    ) -> None:
        """Rows of `first_step` and later are dropped: a run that goes on makes them again.

        folder: None = write and show nothing.
        """
        self._folder, self._n_steps, self._warn = folder, n_steps, warn
        self._writer: Any = None
        self._entropies: list[float] = []
        self._is_collapsed = False
        if folder is None:
            return
        kept = [row for row in read_rows(folder) if (row["step"] or 0) < first_step]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_durably(folder / METRICS_FILE, text.encode())
        for row in kept:
            self._watch_entropy(row)
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / TENSORBOARD_FOLDER), purge_step=first_step)

    def add(self, row: Row) -> None:
        """Append a row, and show it on stdout."""
        if self._folder is None:
            return
        with (self._folder / METRICS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        sys.stdout.write(progress_line(row, n_steps=self._n_steps) + "\n")
        sys.stdout.flush()
        self._watch_entropy(row)
        if self._writer is not None:
            for name, value in row.items():
                if value is not None and name != "step":
                    self._writer.add_scalar(name, value, int(row["step"] or 0))
            self._writer.flush()

    def add_completions(self, batch: Batch, advantages: Sequence[float]) -> None:
        """One Parquet file a step, as TRL's GRPOTrainer writes it: a column for each reward, and
        with each rollout its raw verdict, its cell and the table that paid it."""
        if self._folder is None:
            return
        import pyarrow
        from pyarrow import parquet

        folder = self._folder / "completions"
        folder.mkdir(exist_ok=True)
        lines = [
            _completion_line(group.prompt.text, rollout, batch)
            for group in batch.groups
            for rollout in group.rollouts
        ]
        for line, advantage in zip(lines, advantages, strict=True):
            line["advantage"] = advantage
        table = pyarrow.Table.from_pylist(lines)
        parquet.write_table(table, folder / f"completions_{batch.step:05d}.parquet")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _watch_entropy(self, row: Row) -> None:
        """A policy that is sure of every token finds nothing new: said once."""
        entropy = row.get("entropy")
        if entropy is None or self._is_collapsed:
            return
        if len(self._entropies) < _FIRST_STEPS:
            self._entropies.append(entropy)
        elif entropy < _COLLAPSED_SHARE * fmean(self._entropies):
            self._is_collapsed = True
            self._warn(
                f"step {row['step']:g}: the policy's entropy has collapsed to {entropy:.3f} nats a"
                f" token, from {fmean(self._entropies):.3f}: groups will stop to differ. Raise"
                " objective.clip_high or lower grpo.learning_rate"
            )


def _completion_line(prompt: str, rollout: Rollout, batch: Batch) -> dict[str, Any]:
    return {
        "step": batch.step,
        "prompt": prompt,
        "completion": rollout.response,
        "correctness": rollout.reward,
        **rollout.channels,
        "verdict": str(rollout.verdict.outcome),
        "extracted": rollout.verdict.extracted,
        "cell": rollout.cell.key,
        "table_version": batch.table_version,
        "truncated": rollout.is_truncated,
        "tokens": rollout.n_tokens,
        "is_correct": rollout.is_correct,
        "rollout": rollout.uid,
    }
