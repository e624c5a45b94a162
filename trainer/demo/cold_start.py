"""The cold start: supervised steps on the demo task's demonstrations.

It stops as soon as the model is right often enough for a group to hold both right and wrong
rollouts. The result is kept on disk under a hash of everything that it depends on, so that the
arms of a comparison start from the very same weights.
"""

import dataclasses
import fcntl
import hashlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM

from trainer.config import ColdStartConfig, TrainerConfig
from trainer.demo import task
from trainer.generation import sample
from trainer.model import Tokenizer, build_model

# N = rows, S = tokens of prompt and response

VERSION = 1  # raise when the same configuration gives other weights
_POOL_BATCHES = 20  # batches' worth of rows that are sorted by length together
_IGNORED = -100  # cross_entropy's mark for positions without a target


def cold_start(config: TrainerConfig, tokenizer: Tokenizer, directory: Path) -> LlamaForCausalLM:
    """The model to start from: read from `directory`, or trained and kept there.

    Of the processes that want the same one at once, the first trains it and the others wait.
    """
    model = build_model(config.model, tokenizer, seed=config.run.seed)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{fingerprint(config, tokenizer)}.safetensors"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _make(model, config, tokenizer, path)
            return model
    model.load_state_dict(load_file(path), strict=False)
    model.tie_weights()
    return model


def _make(model: LlamaForCausalLM, config: TrainerConfig, tokenizer: Tokenizer, path: Path) -> None:
    # Sums depend on how they are split: the number of threads is part of what is reproduced.
    torch.set_num_threads(config.cold_start.threads)
    n_steps, accuracy = _train(model, config, tokenizer)
    torch.set_num_threads(config.run.threads)
    sys.stdout.write(f"cold start: {n_steps} steps, pass@1 {accuracy:.3f}\n")
    # The output layer is the embedding itself; safetensors refuses shared memory.
    weights = {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}
    unfinished = path.with_suffix(".part")
    save_file(weights, unfinished)
    unfinished.replace(path)


def fingerprint(config: TrainerConfig, tokenizer: Tokenizer) -> str:
    """Hash of everything the weights depend on."""
    parts = [
        VERSION,
        config.run.seed,
        config.run.eval_problems,
        config.grpo.max_new_tokens,
        tokenizer.tokens,
        dataclasses.asdict(config.model),
        dataclasses.asdict(config.task),
        dataclasses.asdict(config.cold_start),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def learning_rate_at(step: int, config: ColdStartConfig) -> float:
    """Linear warm-up, constant, and over the last 30 % of the steps a linear fall to a tenth."""
    warm_up = min(1.0, step / config.warm_up_steps)
    left = (config.max_steps - step) / (0.3 * config.max_steps)
    return config.learning_rate * warm_up * min(1.0, max(0.1, left))


def _train(
    model: LlamaForCausalLM, config: TrainerConfig, tokenizer: Tokenizer
) -> tuple[int, float]:
    settings = config.cold_start
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    accuracy = 0.0
    for step, (token_NS, target_NS) in enumerate(_batches(config, tokenizer), start=1):
        optimiser.param_groups[0]["lr"] = learning_rate_at(step, settings)
        logits_NSV = model(input_ids=token_NS, use_cache=False).logits
        loss = functional.cross_entropy(
            logits_NSV[:, :-1].flatten(0, 1), target_NS[:, 1:].flatten(), ignore_index=_IGNORED
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % settings.check_every == 0 and step >= settings.min_steps:
            accuracy = _accuracy(model, config, tokenizer)
            sys.stdout.write(f"cold start {step:4d}  loss {loss:.3f}  pass@1 {accuracy:.3f}\n")
            sys.stdout.flush()
            if accuracy >= settings.target_accuracy:
                return step, accuracy
    return settings.max_steps, accuracy


def _batches(config: TrainerConfig, tokenizer: Tokenizer) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of rows of about the same length, in random order: a third less padding."""
    size, rng = config.cold_start.batch_size, random.Random(config.run.seed)  # noqa: S311 - no secret
    n_held_out = max(config.run.eval_problems, config.cold_start.check_problems)
    problems = task.cold_start_problems(
        config.task,
        seed=config.run.seed,
        size=config.cold_start.max_steps * size,
        held_out=task.held_out_problems(config.task, n_held_out),
    )
    pool_size = size * _POOL_BATCHES
    for first in range(0, len(problems), pool_size):
        pool = [
            (
                tokenizer.encode_prompt(problem.text),
                tokenizer.encode_response(task.demonstration(problem, config.task, rng)),
            )
            for problem in problems[first : first + pool_size]
        ]
        pool.sort(key=lambda row: len(row[0]) + len(row[1]))
        batches = [pool[i : i + size] for i in range(0, len(pool), size)]
        rng.shuffle(batches)
        for rows in batches:
            yield _padded(rows, tokenizer.pad_id)


def _padded(rows: list[tuple[list[int], list[int]]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Tokens and targets (N, S), right-padded; only the response is a target."""
    length = max(len(prompt) + len(response) for prompt, response in rows)
    tokens = torch.full((len(rows), length), pad_id)
    targets = torch.full((len(rows), length), _IGNORED)
    for i, (prompt, response) in enumerate(rows):
        end = len(prompt) + len(response)
        tokens[i, :end] = torch.tensor(prompt + response)
        targets[i, len(prompt) : end] = torch.tensor(response)
    return tokens, targets


def _accuracy(model: LlamaForCausalLM, config: TrainerConfig, tokenizer: Tokenizer) -> float:
    """pass@1 by the rubric on held-out problems, sampled with a fixed seed."""
    problems = task.held_out_problems(config.task, config.cold_start.check_problems)
    completions = sample(
        model,
        [tokenizer.encode_prompt(problem.text) for problem in problems],
        max_new_tokens=config.grpo.max_new_tokens,
        generator=torch.Generator().manual_seed(config.run.seed),
    )
    responses = [tokenizer.decode(row) for row in completions.token_NT.tolist()]
    right = [task.is_correct(r, p.text) for r, p in zip(responses, problems, strict=True)]
    return sum(right) / len(right)
