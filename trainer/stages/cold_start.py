"""The cold start: supervised steps on the task's demonstrations.

It stops as soon as the model is right often enough for a group to hold both right and wrong
rollouts. The result is kept on disk under a hash of everything that it depends on, so that the
arms of a comparison start from the very same weights.
"""

import dataclasses
import fcntl
import hashlib
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn import Module

from trainer.checkpoint import Place
from trainer.config import ColdStartConfig, JsonlConfig, TrainerConfig
from trainer.optimiser import Optimiser
from trainer.run import Run
from trainer.stages.supervised import Example, batches, supervised_step
from trainer.tokenizers import Tokenizer
from trainer.verifiers import Outcome

VERSION = 3  # raise when the same configuration gives other weights


class ColdStartStage:
    """A first stage. Of the processes that want the same one at once, the first trains it and the
    others wait."""

    def __init__(self, run: Run, policy: Module, number: int) -> None:
        self.run, self.policy = run, policy
        self.config: TrainerConfig = run.config.at_stage(number)

    def train(self, place: Place) -> Place:
        """Leave the model as the cold start has it: read from disk, or trained and kept there."""
        run = self.run
        run.cold_starts.mkdir(parents=True, exist_ok=True)
        path = run.cold_starts / f"{fingerprint(self.config, run.tokenizer)}.safetensors"
        if run.ranks.size > 1:
            self._make_together(path)
            return place
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._read(path) if path.exists() else self._make(path)
        return place

    def _make_together(self, path: Path) -> None:
        """By all processes of a run, which must not wait for each other's lock."""
        is_there = self.run.ranks.from_first(path.exists())
        self._read(path) if is_there else self._make(path)

    def _read(self, path: Path) -> None:
        self.run.ranks.set_model_state(self.policy, load_file(path))

    def _make(self, path: Path) -> None:
        run = self.run
        # Sums depend on how they are split: the number of threads is part of what is reproduced.
        torch.set_num_threads(self.config.cold_start.threads)
        n_steps, accuracy = self._train()
        torch.set_num_threads(self.config.run.threads)
        state = run.ranks.model_state(self.policy)
        if not run.ranks.is_first:
            return
        sys.stdout.write(f"cold start: {n_steps} steps, pass@1 {accuracy:.3f}\n")
        unfinished = path.with_suffix(".part")
        # Tied weights are written as often as they are tied: none may share memory in the file.
        save_file({name: tensor.clone() for name, tensor in state.items()}, unfinished)
        unfinished.replace(path)

    def _train(self) -> tuple[int, float]:
        settings, seed = self.config.cold_start, self.config.run.seed
        optimiser = Optimiser(self.policy, self.run.ranks, betas=(0.9, 0.98), weight_decay=0.01)
        accuracy = 0.0
        parts = batches(self._examples(), size=settings.batch_size, seed=seed)
        for step, examples in enumerate(parts, start=1):
            loss = supervised_step(
                self.policy,
                optimiser,
                examples,
                rate=learning_rate_at(step, settings),
                tokenizer=self.run.tokenizer,
                ranks=self.run.ranks,
            )
            if step % settings.check_every == 0 and step >= settings.min_steps:
                accuracy = self._accuracy()
                if self.run.ranks.is_first:
                    line = f"cold start {step:4d}  loss {loss:.3f}  pass@1 {accuracy:.3f}\n"
                    sys.stdout.write(line)
                    sys.stdout.flush()
                if accuracy >= settings.target_accuracy:
                    return step, accuracy
        return settings.max_steps, accuracy

    def _examples(self) -> list[Example]:
        settings, tokenizer = self.config.cold_start, self.run.tokenizer
        shown = self.run.task.demonstrations(
            seed=self.config.run.seed, n=settings.max_steps * settings.batch_size
        )
        return [
            (tokenizer.encode_prompt(prompt.text), tokenizer.encode_response(response))
            for prompt, response in shown
        ]

    def _accuracy(self) -> float:
        """pass@1 on held-out problems, sampled with a fixed seed: by the task's rubric, or by the
        verifier where there is none."""
        run, grpo = self.run, self.config.grpo
        held_out = run.task.held_out(self.config.cold_start.check_problems)
        mine = [held_out[i] for i in run.ranks.share(len(held_out))]
        with run.sampling():
            completions = run.sample(
                mine,
                [f"cold start/{prompt.uid}" for prompt in mine],
                n=1,
                budget=grpo.max_new_tokens,
                temperature=grpo.temperature,
            )
        responses = run.responses(completions)
        truths = [run.task.is_correct(r, p) for r, p in zip(responses, mine, strict=True)]
        if None in truths:
            verdicts = run.judge.accepted(mine, responses)
            truths = [verdict.outcome is Outcome.PASS for verdict in verdicts]
        (right,) = run.ranks.sums([sum(map(bool, truths))])
        return right / len(held_out)


def fingerprint(config: TrainerConfig, tokenizer: Tokenizer) -> str:
    """Hash of everything the weights depend on."""
    parts = [
        VERSION,
        config.run.seed,
        config.run.eval_problems,
        config.grpo.max_new_tokens,
        config.grpo.temperature,
        tokenizer.identity,
        dataclasses.asdict(config.model),
        dataclasses.asdict(config.task),
        dataclasses.asdict(config.cold_start),
        *_outside(config),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _outside(config: TrainerConfig) -> list[object]:
    """What the weights depend on beside the recipe's own settings: the problems, the verifier that
    then says when to stop, and the model's files."""
    found: list[object] = []
    if isinstance(config.task, JsonlConfig):
        content = hashlib.sha256(Path(config.task.path).read_bytes()).hexdigest()
        found += [content, config.reward.verifier, config.reward.parameters]
    folder = Path(config.model.path)
    if config.model.path and folder.is_dir():
        files = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
        found += [[name, stat.st_size, stat.st_mtime_ns] for name, stat in files]
    return found


def learning_rate_at(step: int, config: ColdStartConfig) -> float:
    """Linear warm-up, constant, and over the last 30 % of the steps a linear fall to a tenth."""
    warm_up = min(1.0, step / config.warm_up_steps)
    left = (config.max_steps - step) / (0.3 * config.max_steps)
    return config.learning_rate * warm_up * min(1.0, max(0.1, left))
