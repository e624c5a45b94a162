"""What a run has from its first stage to its last."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Self

from transformers import PreTrainedModel

from trainer.checkpoint import Checkpoint, Place
from trainer.config import TrainerConfig
from trainer.data import Prompt
from trainer.engines import Engine
from trainer.generation import Completions
from trainer.hold import Hold
from trainer.judging import Judge
from trainer.metrics import Row, RunLog, pass_at_k
from trainer.model import build_model
from trainer.ranks import Ranks, WholeWeights
from trainer.spool import RunLink
from trainer.tables import TableFeed
from trainer.tasks import Task
from trainer.tokenizers import Tokenizer
from trainer.verifiers import Outcome

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Completions sampled at once where no gradient is wanted.
ROWS_AT_ONCE = 512


class StopRequest:
    """Notes a signal to stop; a second one ends the process as it would have at first."""

    def __init__(self) -> None:
        self.is_made = False
        self._handlers = {number: signal.getsignal(number) for number in _STOP_SIGNALS}

    def __enter__(self) -> Self:
        for number in _STOP_SIGNALS:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.is_made = True
        self.__exit__()


@dataclass(frozen=True, slots=True)
class Run:
    """One run: what its stages share. The model is trained in place."""

    config: TrainerConfig
    uid: str
    out: Path
    cold_starts: Path
    task: Task
    tokenizer: Tokenizer
    model: PreTrainedModel
    engine: Engine
    judge: Judge
    held_out: Sequence[Prompt]
    log: RunLog
    link: RunLink | None  # of the first process alone
    tables: TableFeed
    hold: Hold
    ranks: Ranks
    stop: StopRequest

    def new_model(self) -> PreTrainedModel:
        """A model of the policy's shape, with the weights that the run began with."""
        return build_model(self.config.model, self.tokenizer, seed=self.config.run.seed)

    def is_stopping(self) -> bool:
        """Whether any process was asked to stop."""
        return any(self.ranks.gathered(self.stop.is_made))

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """While entered, the policy as it is now can be sampled from."""
        with WholeWeights(self.model):
            self.engine.refresh()
            yield

    def sample(
        self,
        prompts: Sequence[Prompt],
        keys: Sequence[str],
        *,
        n: int,
        budget: int,
        temperature: float,
    ) -> Completions:
        """n completions a prompt, drawn by the seed and each prompt's key; inside `sampling`."""
        tokens = [self.tokenizer.encode_prompt(prompt.text) for prompt in prompts]
        return self.engine.sample(tokens, keys, n=n, budget=budget, temperature=temperature)

    def responses(self, completions: Completions) -> list[str]:
        return [self.tokenizer.decode(row) for row in completions.token_NT.tolist()]

    def evaluate(self, *, n: int | None = None) -> Row:
        """The held-out problems, sampled with the same random numbers each time.

        n: completions a problem; None = `run.eval_samples`.
        eval_reward: pass@1 by the verifier; eval_true_accuracy: by the task's rubric. With several
        completions a problem there are eval_pass_at_<n> and eval_true_pass_at_<n> as well.
        """
        n, grpo = n or self.config.run.eval_samples, self.config.grpo
        accepted: list[int] = []
        right: list[int] = []
        mine = [self.held_out[i] for i in self.ranks.share(len(self.held_out))]
        with self.sampling():
            for part in _parts(mine, max(1, ROWS_AT_ONCE // n)):
                completions = self.sample(
                    part,
                    [f"eval/{prompt.uid}" for prompt in part],
                    n=n,
                    budget=grpo.max_new_tokens,
                    temperature=grpo.temperature,
                )
                responses = self.responses(completions)
                asked = [prompt for prompt in part for _ in range(n)]
                verdicts = self.judge.accepted(asked, responses)
                truths = map(self.task.is_correct, responses, asked)
                accepted += _per_problem([v.outcome is Outcome.PASS for v in verdicts], n)
                right += _per_problem([bool(truth) for truth in truths], n)
        figures = {"eval_reward": (accepted, 1), "eval_true_accuracy": (right, 1)}
        if n > 1:
            figures |= {f"eval_pass_at_{n}": (accepted, n), f"eval_true_pass_at_{n}": (right, n)}
        sums = [sum(pass_at_k(n, c, k) for c in counts) for counts, k in figures.values()]
        row: Row = {
            name: total / len(self.held_out)
            for name, total in zip(figures, self.ranks.sums(sums), strict=True)
        }
        if self.task.is_correct("", self.held_out[0]) is None:
            row = {name: value for name, value in row.items() if "true" not in name}
        return row

    def save(self, checkpoint: Checkpoint) -> None:
        if self.ranks.is_first:
            checkpoint.save(self.out, config=self.config, uid=self.uid)
        self.ranks.wait()

    def stopped(self, place: Place) -> None:
        if self.ranks.is_first:
            sys.stdout.write(f"stopped after step {place.steps}; --resume goes on\n")


def _parts(prompts: Sequence[Prompt], size: int) -> Iterator[Sequence[Prompt]]:
    for first in range(0, len(prompts), size):
        yield prompts[first : first + size]


def _per_problem(marks: Sequence[bool], n: int) -> list[int]:
    return [sum(marks[i : i + n]) for i in range(0, len(marks), n)]
