"""The reinforcement learning loop: sample groups, judge them, reward them, update the policy.

Deviations from the papers besides those of `advantages`, `loss` and `objectives`:

1. Dynamic sampling (DAPO) stops after `grpo.extra_batches` further batches; what it has by then is
   the step. Groups are told apart by their verdicts, not by their rewards: a table gives a group
   in which all verdicts are the same more than one value.
2. The learning rate falls linearly over the stage.
3. With a critic (PPO) the policy waits for `critic.warm_up_steps`, in which the critic learns
   alone; the papers start it from a reward model instead.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import AdamW, Optimizer

from trainer.advantages import gae
from trainer.channels import summed_rewards
from trainer.checkpoint import Checkpoint, Place
from trainer.config import GrpoConfig, TrainerConfig
from trainer.critic import Critic
from trainer.data import Batch, rollout_payloads
from trainer.generation import Completions, seed_of
from trainer.loss import Normaliser, policy_loss, truncated_importance, value_loss
from trainer.metrics import Row, Update, UpdateSums, step_row
from trainer.policy import Policy
from trainer.ranks import WholeWeights, clip_gradients
from trainer.rewards import RewardTable
from trainer.run import Run
from trainer.stages.errors import TrainingError
from trainer.stages.experience import (
    Experience,
    advantages_of,
    micro_batches,
    rewards_of,
    weights_of,
)
from trainer.stages.sampling import Sampling, sampled
from trainer.verifiers import Outcome

# N = rows (completions), T = tokens of a completion

# A verifier that decides no more than a tenth, for so many steps, is dead.
_UNDECIDED_SHARE, _UNDECIDED_STEPS = 0.9, 3
_BETAS = (0.9, 0.99)


def learning_rate_at(step: int, config: GrpoConfig) -> float:
    """Linear warm-up times a linear fall to `final_learning_rate_share` at the last step."""
    fall = 1 - (1 - config.final_learning_rate_share) * step / config.steps
    return config.learning_rate * min(1.0, step / config.warm_up_steps) * fall


@dataclass(frozen=True, slots=True)
class Worth:
    """What an update needs of each row, all as they were when the step was sampled.

    advantage: (N,) or (N, T). importance_NT: where training and sampling disagree. value_NT and
    return_NT: with a critic.
    """

    advantage: Tensor
    old_logprob_NT: Tensor
    importance_NT: Tensor | None = None
    reference_logprob_NT: Tensor | None = None
    value_NT: Tensor | None = None
    return_NT: Tensor | None = None

    def rows(self, index: Tensor, length: int) -> "Worth":
        def cut(block: Tensor | None) -> Tensor | None:
            if block is None:
                return None
            return block[index] if block.ndim == 1 else block[index, :length]

        return Worth(*(cut(getattr(self, name)) for name in self.__slots__))  # type: ignore[arg-type]


class GrpoStage:
    """One stage of reinforcement learning, whatever its objective."""

    def __init__(self, run: Run, policy: Module, number: int) -> None:
        """policy: the run's, wrapped for its processes."""
        self.run, self.policy = run, policy
        self.config: TrainerConfig = run.config.at_stage(number)
        self.grpo, self.objective = self.config.grpo, self.config.objective
        self.optimiser = _adam(policy, self.grpo.learning_rate)
        self.reference = _frozen(run) if self.objective.needs_reference else None
        self.critic: Module | None = None
        self.critic_optimiser: Optimizer | None = None
        if self.objective.needs_critic:
            critic = Critic(run.model, seed=run.config.run.seed).to(run.ranks.device)
            self.critic = run.ranks.wrapped(critic)
            self.critic_optimiser = _adam(self.critic, self.config.critic.learning_rate)
        self._undecided_steps = 0

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where the checkpoint was saved: the policy itself is the run's to restore."""
        ranks, states = self.run.ranks, checkpoint.states
        ranks.set_optimiser_state(self.policy, self.optimiser, states["optimiser"])
        if self.reference is not None:
            self.reference.load_state_dict(states["reference"])
        if self.critic is not None and self.critic_optimiser is not None:
            ranks.set_model_state(self.critic, states["critic"])
            ranks.set_optimiser_state(
                self.critic, self.critic_optimiser, states["critic_optimiser"]
            )

    def train(self, place: Place) -> Place:
        """The steps that are left. Raises TrainingError or HoldError, at a place to resume from."""
        while place.done < self.grpo.steps and not self.run.is_stopping():
            self.run.hold.before_step(place.steps + 1)
            place, row = self._step(place)
            is_last = place.done == self.grpo.steps
            if is_last or place.steps % self.run.config.run.eval_every == 0:
                row |= self.run.evaluate()
            self.run.log.add(row)
            if self._is_to_be_saved(place, is_last):
                self._save(place)
        return place

    def _is_to_be_saved(self, place: Place, is_last: bool) -> bool:
        every = self.run.config.run.checkpoint_every
        return is_last or place.steps % every == 0 or self.run.is_stopping()

    def _step(self, place: Place) -> tuple[Place, Row]:
        run, step = self.run, place.steps + 1
        started = perf_counter()
        table = run.ranks.from_first(run.tables.at_step(step))
        waited = perf_counter() - started
        with WholeWeights(self.policy):
            experience, n_problems = self._sampled(place, step, table)
            worth = self._worth(experience, table)
        batch, advantages = self._gathered(step, experience, worth, table)
        self._send(batch)
        sampled_s = perf_counter() - started - waited
        rate = learning_rate_at(place.done + 1, self.grpo)
        update = self._update(place, experience, worth, rate)
        row = step_row(batch, update, rewards_of(batch.groups, self.config).means())
        row |= {
            "learning_rate": rate,
            "seconds": perf_counter() - started,
            "sampling_s": sampled_s,
            "waited_s": waited,
        }
        if run.config.run.log_completions:
            run.log.add_completions(batch, advantages)
        place = Place(place.stage, place.done + 1, step, place.problems + n_problems)
        return place, row

    # Sampling

    def _sampled(
        self, place: Place, step: int, table: RewardTable | None
    ) -> tuple[Experience, int]:
        """This process's groups, and how many problems all of them took from the stream."""
        size = self.grpo.prompts_per_step
        samplings: list[Sampling] = []
        chosen: list[int] = []
        for part in range(1 + self.grpo.extra_batches):
            first = place.problems + part * size
            samplings.append(self._sampling(step, first, part * size, table))
            mixed = [
                place
                for place, group in zip(samplings[-1].places, samplings[-1].groups, strict=True)
                if group.is_mixed
            ]
            chosen += sorted(self.run.ranks.pooled(mixed))
            if len(chosen) >= size:
                break
        if self.grpo.extra_batches == 0:
            chosen = list(range(size))
        experience = Experience.of(samplings, chosen[:size], pad_id=self.run.tokenizer.pad_id)
        return experience, len(samplings) * size

    def _sampling(
        self, step: int, first_problem: int, first_place: int, table: RewardTable | None
    ) -> Sampling:
        run, grpo = self.run, self.grpo
        problems = run.task.training(
            seed=run.config.run.seed, first=first_problem, n=grpo.prompts_per_step
        )
        mine = run.ranks.share(len(problems))
        return sampled(
            run,
            [problems[i] for i in mine],
            [first_place + i for i in mine],
            step=step,
            n=grpo.group_size,
            grpo=grpo,
            table=table,
        )

    def _rows(self, n_groups: int) -> Iterator[slice]:
        size = self.grpo.group_size
        return (slice(i * size, (i + 1) * size) for i in range(n_groups))

    # What the rows are worth

    @torch.no_grad()
    def _worth(self, experience: Experience, table: RewardTable | None) -> Worth:
        completions = experience.completions
        worth = Worth(completions.logprob_NT[:, :0], completions.logprob_NT)
        if self.config.model.dtype != "float32":
            old_NT = self._logprobs(Policy(self.run.model), completions)
            importance_NT = truncated_importance(
                old_NT, completions.logprob_NT, completions.mask_NT, cap=self.grpo.importance_cap
            )
            worth = replace(worth, old_logprob_NT=old_NT, importance_NT=importance_NT)
        if self.reference is not None:
            reference_NT = self._logprobs(self.reference, completions)
            worth = replace(worth, reference_logprob_NT=reference_NT)
        if self.critic is None:
            advantage = advantages_of(experience, self.config, table, self.run.tokenizer)
            return replace(worth, advantage=advantage)
        return self._with_values(self.critic, worth, experience)

    def _with_values(self, critic: Module, worth: Worth, experience: Experience) -> Worth:
        """PPO: advantages against the critic's values, the KL term in the reward."""
        completions, rewards = (
            experience.completions,
            rewards_of(experience.groups, self.config),
        )
        reward_N = summed_rewards(rewards, weights_of(self.config)).flatten()
        value_NT = self._in_parts(critic, completions)
        kl_NT = None
        if worth.reference_logprob_NT is not None:
            kl_NT = worth.old_logprob_NT - worth.reference_logprob_NT
        made = gae(
            reward_N.to(value_NT.device),
            experience.is_counted_N,
            value_NT,
            completions.mask_NT,
            objective=self.objective,
            kl_NT=kl_NT,
        )
        return replace(
            worth, advantage=made.advantage_NT, value_NT=value_NT, return_NT=made.return_NT
        )

    def _logprobs(self, policy: Module, completions: Completions) -> Tensor:
        temperature = self.grpo.temperature
        return self._in_parts(lambda rows: policy(rows, temperature)[0], completions)

    def _in_parts(
        self, forward: Callable[[Completions], Tensor], completions: Completions
    ) -> Tensor:
        """(N, T) of a forward pass over as many rows at once as an update takes; 0 elsewhere."""
        made_NT = torch.zeros_like(completions.logprob_NT)
        for index in micro_batches(torch.arange(len(made_NT)), self.grpo.micro_rows):
            rows = completions.rows(index.to(made_NT.device))
            made_NT[index, : rows.token_NT.shape[1]] = forward(rows).to(made_NT)
        return made_NT

    # Telling

    def _gathered(
        self, step: int, experience: Experience, worth: Worth, table: RewardTable | None
    ) -> tuple[Batch, list[float]]:
        """All processes' groups in the order of their places, and their rows' advantages."""
        advantage = worth.advantage
        if advantage.ndim == 2:
            mask_NT = experience.completions.mask_NT
            advantage = (advantage * mask_NT).sum(dim=1) / mask_NT.sum(dim=1)
        rows = [advantage[rows].tolist() for rows in self._rows(len(experience.groups))]
        mine = list(zip(experience.places, experience.groups, rows, strict=True))
        everyone = sorted(self.run.ranks.pooled(mine), key=lambda one: one[0])
        batch = Batch(
            step, tuple(group for _, group, _ in everyone), None if table is None else table.version
        )
        self._check_verifier(batch)
        return batch, [value for _, _, values in everyone for value in values]

    def _check_verifier(self, batch: Batch) -> None:
        undecided = [r for r in batch.rollouts() if r.verdict.outcome is Outcome.UNDECIDED]
        is_dead = len(undecided) >= _UNDECIDED_SHARE * len(batch.rollouts())
        self._undecided_steps = self._undecided_steps + 1 if is_dead else 0
        if self._undecided_steps == _UNDECIDED_STEPS:
            reason = undecided[0].verdict.detail or "it does not say why"
            raise TrainingError(
                f"step {batch.step}: {self.config.reward.verifier} has decided next to nothing for"
                f" {_UNDECIDED_STEPS} steps ({reason}); mend it and go on with --resume"
            )

    def _send(self, batch: Batch) -> None:
        link = self.run.link
        if link is None:
            return
        try:
            link.send_prompts([group.prompt.payload() for group in batch.groups])
            link.send_rollouts(rollout_payloads(batch, self.run.judge.verifier))
            link.complete_step(batch.step)
        except OSError as error:
            raise TrainingError(
                f"step {batch.step}: its rollouts cannot be kept on disk"
                f" ({error.strerror or error}); make room and go on with --resume, which makes"
                " the step again"
            ) from error

    # Updating

    def _update(self, place: Place, experience: Experience, worth: Worth, rate: float) -> Update:
        """Optimiser steps over the chosen groups, in minibatches, as often as there are epochs."""
        step = place.steps + 1
        sums = UpdateSums()
        for epoch in range(self.grpo.epochs):
            for places in self._minibatches(experience.chosen, step, epoch):
                sums += self._minibatch(experience, worth, places, place, rate)
        whole = UpdateSums(*self.run.ranks.sums(sums.values()))
        return whole.update(n_chosen=len(experience.chosen))

    def _minibatches(self, chosen: Sequence[int], step: int, epoch: int) -> Iterator[list[int]]:
        """The chosen groups in random order, cut into minibatches of about the same size."""
        generator = torch.Generator().manual_seed(
            seed_of(self.run.config.run.seed, "order", step, epoch)
        )
        order = torch.randperm(len(chosen), generator=generator)
        for part in order.chunk(self.grpo.minibatches) if len(chosen) else ():
            yield [chosen[i] for i in part.tolist()]

    def _minibatch(
        self,
        experience: Experience,
        worth: Worth,
        places: Sequence[int],
        place: Place,
        rate: float,
    ) -> UpdateSums:
        """One optimiser step over these groups; none where no row has anything to teach."""
        ranks, mask_NT = self.run.ranks, experience.completions.mask_NT
        counted = experience.rows_of(places)
        n_rows, n_tokens = ranks.sums([len(counted), float(mask_NT[counted].sum())])
        rows = self._teaching(counted, worth)
        n_parts = ranks.largest(_n_parts(len(rows), self.grpo.micro_rows))
        if n_parts == 0:
            return UpdateSums()
        normaliser = Normaliser(int(n_rows), int(n_tokens), self.grpo.max_new_tokens)
        sums = UpdateSums()
        parts = [*micro_batches(rows, self.grpo.micro_rows)] if len(rows) else []
        for index in [*parts, *[rows[:0]] * (n_parts - len(parts))]:
            sums += self._backward(experience.completions, worth, index, normaliser)
        if self.critic is not None and self.critic_optimiser is not None:
            self._take_step(self.critic, self.critic_optimiser, None, place)
        if self.critic is None or place.done >= self.config.critic.warm_up_steps:
            self._take_step(self.policy, self.optimiser, rate, place)
        self.policy.zero_grad(set_to_none=True)
        return sums

    def _teaching(self, counted: Tensor, worth: Worth) -> Tensor:
        """The counted rows that add to a gradient."""
        if self.objective.loss_kl > 0 or self.critic is not None:
            return counted
        advantage = worth.advantage[counted]
        return counted[
            advantage.flatten(1).ne(0).any(dim=1) if advantage.ndim == 2 else advantage != 0
        ]

    def _backward(
        self, completions: Completions, worth: Worth, index: Tensor, normaliser: Normaliser
    ) -> UpdateSums:
        """Gradients of these rows. Every process must come here equally often: without a row of
        its own it takes its first one, for nothing."""
        is_idle = len(index) == 0
        if is_idle:
            index = torch.zeros(1, dtype=torch.long, device=index.device)
        rows = completions.rows(index)
        worth = worth.rows(index, rows.token_NT.shape[1])
        mask_NT = torch.zeros_like(rows.mask_NT) if is_idle else rows.mask_NT
        logprob_NT, entropy_NT = self.policy(rows, self.grpo.temperature)
        result = policy_loss(
            logprob_NT,
            worth.old_logprob_NT,
            worth.advantage,
            mask_NT,
            objective=self.objective,
            normaliser=normaliser,
            reference_logprob_NT=worth.reference_logprob_NT,
            importance_NT=worth.importance_NT,
        )
        (result.loss * self.run.ranks.size).backward()  # type: ignore[no-untyped-call]
        entropy = torch.where(mask_NT, entropy_NT, 0.0).sum(dtype=torch.float64)
        squared_error = self._backward_critic(rows, worth, mask_NT, normaliser)
        n_rows = 0 if is_idle else len(index)
        return UpdateSums.of(result.sums, float(entropy), squared_error, n_rows=n_rows)

    def _backward_critic(
        self, rows: Completions, worth: Worth, mask_NT: Tensor, normaliser: Normaliser
    ) -> float:
        if self.critic is None or worth.value_NT is None or worth.return_NT is None:
            return 0.0
        result = value_loss(
            self.critic(rows),
            worth.value_NT,
            worth.return_NT,
            mask_NT,
            clip=self.objective.value_clip,
            normaliser=normaliser,
        )
        (result.loss * self.run.ranks.size).backward()  # type: ignore[no-untyped-call]
        return float(result.sums.squared_error)

    def _take_step(
        self, module: Module, optimiser: Optimizer, rate: float | None, place: Place
    ) -> None:
        if rate is not None:
            for parameters in optimiser.param_groups:
                parameters["lr"] = rate
        norm = clip_gradients(module, self.grpo.max_grad_norm)
        if not math.isfinite(norm):
            raise TrainingError(
                f"step {place.steps + 1}: the gradient is not finite; nothing was changed by it."
                ' Lower grpo.learning_rate, or model.dtype = "float32", and go on from the last'
                " checkpoint with --resume"
            )
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    # Keeping

    def _save(self, place: Place) -> None:
        ranks = self.run.ranks
        states = {
            "policy": ranks.model_state(self.policy),
            "optimiser": ranks.optimiser_state(self.policy, self.optimiser),
        }
        if self.reference is not None:
            states["reference"] = self.reference.state_dict()
        if self.critic is not None and self.critic_optimiser is not None:
            states["critic"] = ranks.model_state(self.critic)
            states["critic_optimiser"] = ranks.optimiser_state(self.critic, self.critic_optimiser)
        self.run.save(Checkpoint(place, states))


def _adam(module: Module, rate: float) -> AdamW:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return AdamW(trained, lr=rate, betas=_BETAS, weight_decay=0.0, fused=True)


def _frozen(run: Run) -> Policy:
    """The policy as it is now, which the divergence is measured from."""
    with WholeWeights(run.model):
        frozen = copy.deepcopy(run.model)
    return Policy(frozen.requires_grad_(False))


def _n_parts(n_rows: int, size: int) -> int:
    return math.ceil(n_rows / size) if size else min(n_rows, 1)
