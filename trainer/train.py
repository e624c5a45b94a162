"""The GRPO loop: sample groups, judge them, reward them, update the policy.

Deviations from the paper (arXiv:2402.03300) besides those of `advantages` and `loss`:

1. No reference policy and no KL term.
2. A step's batch is cut into a few minibatches, one update each, of the rollouts that have an
   advantage; the others would add no gradient.
3. The learning rate falls linearly over the run.
"""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Self
from uuid import uuid4

import torch
from torch import Tensor

from trainer import checkpoint
from trainer.advantages import group_advantages
from trainer.checkpoint import TrainingState
from trainer.client import AssayClient
from trainer.config import ConfigError, GrpoConfig, TrainerConfig
from trainer.data import Batch, Group, Prompt, Rollout, rollout_payloads, run_payload
from trainer.demo import task
from trainer.demo.cold_start import cold_start
from trainer.generation import Completions, completion_logprobs, sample
from trainer.loss import Normaliser, policy_loss
from trainer.metrics import METRICS_FILE, Row, RunLog, Update, step_row
from trainer.model import Tokenizer
from trainer.objectives import Objective
from trainer.rewards import Cell, GroupRollout, RewardTable, cells_of_group, raw_reward
from trainer.spool import RunLink
from trainer.tables import TableFeed
from trainer.verifiers import Item, Outcome, Verifier, build

# Posterior tables pay probabilities: dividing by the plain std would blow up tiny differences.
STD_FLOORS = {"posterior": 0.3}
_FLUSH_S = 60.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    token: str

    @classmethod
    def from_environment(cls) -> "Server | None":
        url, token = os.environ.get("ASSAY_URL"), os.environ.get("ASSAY_TOKEN")
        if bool(url) != bool(token):
            raise ConfigError("ASSAY_URL and ASSAY_TOKEN: set both, or neither to train alone")
        return cls(url, token) if url and token else None


def train(
    config: TrainerConfig,
    *,
    out: Path,
    cold_starts: Path,
    uid: str | None = None,
    resume: bool = False,
    server: Server | None = None,
) -> None:
    """Train one policy and leave metrics, checkpoint and (on request) completions in `out`.

    Raises ConfigError, before anything is generated, for settings that cannot work.
    """
    if config.reward.source == "table" and server is None:
        raise ConfigError('reward.source: "table" needs a server, set ASSAY_URL and ASSAY_TOKEN')
    if not resume and (out / METRICS_FILE).exists():
        raise ConfigError(f"--out: {out} holds a run; choose another folder or use --resume")
    torch.set_num_threads(config.run.threads)
    verifier = build(config.reward.verifier)
    tokenizer = Tokenizer(task.VOCABULARY)
    prompts, held_out = prompts_of(config)
    check_context(config, tokenizer, [*prompts, *held_out])
    out.mkdir(parents=True, exist_ok=True)
    uid = (
        checkpoint.saved_uid(out, config)
        if resume
        else uid or f"{config.run.name}-{uuid4().hex[:12]}"
    )
    with ExitStack() as stack:
        link = None
        if server is not None:
            client = stack.enter_context(AssayClient(server.url, server.token))
            link = RunLink(client, run_payload(config, uid, verifier), out / "link", warn=_warn)
            stack.callback(_flush, link)
        model = cold_start(config, tokenizer, cold_starts)
        optimiser = torch.optim.AdamW(
            model.parameters(), lr=config.grpo.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        generator = torch.Generator().manual_seed(config.run.seed)
        state = TrainingState(model, optimiser, generator)
        first_step = checkpoint.restore(out, state) + 1 if resume else 1
        GrpoRun(
            config=config,
            uid=uid,
            out=out,
            state=state,
            tokenizer=tokenizer,
            verifier=verifier,
            detector=build("probe") if config.reward.probe else None,
            prompts=prompts,
            held_out=held_out,
            link=link,
            tables=TableFeed(config.reward, link, warn=_warn),
            stop=stack.enter_context(StopRequest()),
        ).train(first_step=first_step)


def prompts_of(config: TrainerConfig) -> tuple[list[Prompt], list[Prompt]]:
    """The run's prompts, of which step s takes the s-th `prompts_per_step`, and the held-out."""
    held_out = task.held_out_problems(config.task, config.run.eval_problems)
    size = config.grpo.steps * config.grpo.prompts_per_step
    problems = task.training_problems(
        config.task, seed=config.run.seed, size=size, held_out=held_out
    )
    return (
        [_prompt(f"train-{config.run.seed}-{i}", problem) for i, problem in enumerate(problems)],
        [_prompt(f"eval-{i}", problem) for i, problem in enumerate(held_out)],
    )


def _prompt(uid: str, problem: task.Problem) -> Prompt:
    return Prompt(uid, problem.text, str(problem.answer), task.DOMAIN, task.SOURCE)


def check_context(config: TrainerConfig, tokenizer: Tokenizer, prompts: Sequence[Prompt]) -> None:
    """Raises ConfigError when the longest prompt and its completion exceed the model's context."""
    longest = max(len(tokenizer.encode_prompt(prompt.text)) for prompt in prompts)
    needed = longest + config.grpo.max_new_tokens
    if needed > config.model.context:
        raise ConfigError(
            f"model.context: {config.model.context} is too short for the longest prompt"
            f" ({longest} tokens) and grpo.max_new_tokens ({config.grpo.max_new_tokens});"
            f" make it at least {needed}"
        )


def learning_rate_at(step: int, config: GrpoConfig) -> float:
    """Linear warm-up times a linear fall to `final_learning_rate_share` at the last step."""
    fall = 1 - (1 - config.final_learning_rate_share) * step / config.steps
    return config.learning_rate * min(1.0, step / config.warm_up_steps) * fall


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
class GrpoRun:
    """One run: what stays the same from step to step, and the loop."""

    config: TrainerConfig
    uid: str
    out: Path
    state: TrainingState
    tokenizer: Tokenizer
    verifier: Verifier
    detector: Verifier | None  # of probe hits; None = no rollout is looked at
    prompts: Sequence[Prompt]
    held_out: Sequence[Prompt]
    link: RunLink | None
    tables: TableFeed
    stop: StopRequest

    def train(self, *, first_step: int) -> None:
        """Run the steps from `first_step` on, until the last or until asked to stop."""
        log = RunLog(self.out, n_steps=self.config.grpo.steps, first_step=first_step)
        if first_step == 1:
            log.add({"step": 0, **self._evaluate()})
        for step in range(first_step, self.config.grpo.steps + 1):
            started = perf_counter()
            table = self.tables.at_step(step)
            waited = perf_counter() - started
            prompts = self._prompts_of(step)
            completions = self._sample(prompts)
            batch = self._judge(step, prompts, completions, table)
            advantage_N = self._advantages(batch, table)
            self._send(batch)
            update = self._update(step, completions, advantage_N)
            if self.config.run.log_completions:
                log.add_completions(batch)
            row = step_row(batch, update)
            is_last = step == self.config.grpo.steps
            if is_last or step % self.config.run.eval_every == 0:
                row |= self._evaluate()
            row |= {"seconds": perf_counter() - started, "waited_s": waited}
            log.add(row)
            if is_last or self.stop.is_made or step % self.config.run.checkpoint_every == 0:
                checkpoint.save(self.out, self.state, config=self.config, uid=self.uid, step=step)
            if self.stop.is_made:
                sys.stdout.write(f"stopped after step {step}; --resume goes on\n")
                return
        if self.link is not None:
            self.link.finish("finished")

    def _prompts_of(self, step: int) -> Sequence[Prompt]:
        size = self.config.grpo.prompts_per_step
        return self.prompts[(step - 1) * size : step * size]

    def _sample(self, prompts: Sequence[Prompt]) -> Completions:
        """A group of completions per prompt, group after group."""
        ids = [self.tokenizer.encode_prompt(prompt.text) for prompt in prompts]
        return sample(
            self.state.model,
            [row for row in ids for _ in range(self.config.grpo.group_size)],
            max_new_tokens=self.config.grpo.max_new_tokens,
            generator=self.state.generator,
        )

    def _judge(
        self,
        step: int,
        prompts: Sequence[Prompt],
        completions: Completions,
        table: RewardTable | None,
    ) -> Batch:
        size = self.config.grpo.group_size
        responses = [self.tokenizer.decode(row) for row in completions.token_NT.tolist()]
        groups = []
        for i, prompt in enumerate(prompts):
            rows = slice(i * size, (i + 1) * size)
            groups.append(
                self._group(
                    f"{self.uid}/{step}/{i}",
                    prompt,
                    responses[rows],
                    completions.mask_NT[rows].sum(dim=1).tolist(),
                    completions.is_truncated_N[rows].tolist(),
                    table,
                )
            )
        version = None if table is None else table.version
        return Batch(step, tuple(groups), completions, version)

    def _group(
        self,
        uid: str,
        prompt: Prompt,
        responses: Sequence[str],
        lengths: Sequence[int],
        truncated: Sequence[bool],
        table: RewardTable | None,
    ) -> Group:
        items = _items([prompt] * len(responses), responses)
        verdicts = self.verifier.verify(items)
        cells = cells_of_group(
            [
                GroupRollout((verdict,), is_truncated, is_hit)
                for verdict, is_truncated, is_hit in zip(
                    verdicts, truncated, self._probe_hits(items), strict=True
                )
            ],
            normaliser=self.verifier.normaliser,
            domain=prompt.domain,
        )
        rollouts = []
        for i, response in enumerate(responses):
            (cell, answer_class), is_correct = cells[i], task.is_correct(response, prompt.text)
            reward = self._reward(prompt, cell, answer_class, is_correct, table)
            rollouts.append(
                Rollout(
                    f"{uid}/{i}",
                    response,
                    lengths[i],
                    truncated[i],
                    verdicts[i],
                    cell,
                    is_correct,
                    reward,
                )
            )
        return Group(uid, prompt, tuple(rollouts))

    def _reward(
        self,
        prompt: Prompt,
        cell: Cell,
        answer_class: str | None,
        is_correct: bool,
        table: RewardTable | None,
    ) -> float | None:
        if self.config.reward.source == "true":
            return float(is_correct)
        if table is None:
            return raw_reward(cell).value
        return table.reward(cell, prompt=prompt.uid, answer_class=answer_class).value

    def _probe_hits(self, items: Sequence[Item]) -> list[bool]:
        if self.detector is None:
            return [False] * len(items)
        return [verdict.outcome is Outcome.FAIL for verdict in self.detector.verify(items)]

    def _advantages(self, batch: Batch, table: RewardTable | None) -> Tensor:
        """One advantage per rollout, in the order of the completions' rows."""
        rewards = [rollout.reward for rollout in batch.rollouts()]
        shape = (len(batch.groups), self.config.grpo.group_size)
        reward_BG = torch.tensor([0.0 if r is None else r for r in rewards], dtype=torch.float64)
        kept_BG = torch.tensor([r is not None for r in rewards])
        std_floor = 0.0 if table is None else STD_FLOORS.get(table.rule, 0.0)
        return group_advantages(
            reward_BG.view(shape), kept_BG.view(shape), std_floor=std_floor
        ).flatten()

    def _update(self, step: int, completions: Completions, advantage_N: Tensor) -> Update:
        """One optimiser step per minibatch of the rows that have an advantage."""
        grpo, model, optimiser = self.config.grpo, self.state.model, self.state.optimiser
        for parameters in optimiser.param_groups:
            parameters["lr"] = learning_rate_at(step, grpo)
        with_advantage = advantage_N.nonzero().squeeze(1)
        if len(with_advantage) == 0:
            return Update(n_rows=0)
        order = torch.randperm(len(with_advantage), generator=self.state.generator)
        objective = Objective(clip_low=grpo.clip_low, clip_high=grpo.clip_high)
        results = []
        for index in with_advantage[order].chunk(grpo.minibatches):
            rows = completions.rows(index)
            logprob_NT, entropy_NT = completion_logprobs(model, rows)
            result = policy_loss(
                logprob_NT,
                rows.logprob_NT,
                advantage_N[index],
                rows.mask_NT,
                objective=objective,
                normaliser=Normaliser.of(rows.mask_NT, budget=grpo.max_new_tokens),
            )
            optimiser.zero_grad()
            result.loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), grpo.max_grad_norm)
            optimiser.step()
            entropy = float(entropy_NT[rows.mask_NT].mean())
            tokens, clipped, k1, k3, _ = torch.stack(result.sums).tolist()
            results.append((clipped / tokens, k1 / tokens, k3 / tokens, entropy))
        means = [sum(column) / len(results) for column in zip(*results, strict=True)]
        return Update(len(with_advantage), *means)

    def _evaluate(self) -> Row:
        """Sampled, one completion per held-out problem, with the same random numbers each time."""
        completions = sample(
            self.state.model,
            [self.tokenizer.encode_prompt(prompt.text) for prompt in self.held_out],
            max_new_tokens=self.config.grpo.max_new_tokens,
            generator=torch.Generator().manual_seed(self.config.run.seed),
        )
        responses = [self.tokenizer.decode(row) for row in completions.token_NT.tolist()]
        verdicts = self.verifier.verify(_items(self.held_out, responses))
        n_accepted = sum(verdict.outcome is Outcome.PASS for verdict in verdicts)
        n_correct = sum(
            task.is_correct(response, prompt.text)
            for response, prompt in zip(responses, self.held_out, strict=True)
        )
        n = len(self.held_out)
        return {"eval_reward": n_accepted / n, "eval_true_accuracy": n_correct / n}

    def _send(self, batch: Batch) -> None:
        if self.link is not None:
            self.link.send_prompts([group.prompt.payload() for group in batch.groups])
            self.link.send_rollouts(rollout_payloads(batch, self.verifier))
            self.link.complete_step(batch.step)


def _items(prompts: Sequence[Prompt], responses: Sequence[str]) -> list[Item]:
    return [
        Item(problem=prompt.text, response=response, references=(prompt.reference,))
        for prompt, response in zip(prompts, responses, strict=True)
    ]


def _warn(message: str) -> None:
    sys.stderr.write(f"warning: {message}\n")


def _flush(link: RunLink) -> None:
    unsent = link.close(_FLUSH_S)
    if unsent:
        _warn(f"{unsent} batches are not sent yet; they are kept and sent when the run goes on")
