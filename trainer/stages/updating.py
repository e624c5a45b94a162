"""What a step does to the policy, and with PPO to its critic: minibatches, micro-batches, steps of
the optimiser."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from trainer.checkpoint import Place
from trainer.config import TrainerConfig
from trainer.critic import Critic
from trainer.generation import Completions, seed_of
from trainer.loss import Normaliser, policy_loss, value_loss
from trainer.metrics import Update, UpdateSums
from trainer.optimiser import Optimiser
from trainer.ranks import copy_weights
from trainer.run import Run
from trainer.stages.errors import TrainingError
from trainer.stages.experience import Experience, by_length, micro_batches

# N = rows (completions), T = tokens of a completion

_BETAS = (0.9, 0.99)


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
        """These rows, cut to so many tokens."""

        def cut(block: Tensor) -> Tensor:
            return block[index] if block.ndim == 1 else block[index, :length]

        def cut_if_any(block: Tensor | None) -> Tensor | None:
            return None if block is None else cut(block)

        return Worth(
            cut(self.advantage),
            cut(self.old_logprob_NT),
            cut_if_any(self.importance_NT),
            cut_if_any(self.reference_logprob_NT),
            cut_if_any(self.value_NT),
            cut_if_any(self.return_NT),
        )


class Updater:
    """The policy's optimiser, and with PPO a critic with its own."""

    def __init__(self, run: Run, policy: Module, config: TrainerConfig) -> None:
        """policy: the run's, wrapped for its processes. config: the stage's."""
        self.run, self.policy, self.config = run, policy, config
        self.grpo, self.objective = config.grpo, config.objective
        self.optimiser = Optimiser(policy, run.ranks, betas=_BETAS)
        self.critic: Module | None = None
        self.critic_optimiser: Optimiser | None = None
        if self.objective.needs_critic:
            critic = Critic(run.new_model(), seed=config.run.seed)
            self.critic = run.ranks.wrapped(critic)
            copy_weights(run.model.base_model, critic.layers)
            self.critic_optimiser = Optimiser(self.critic, run.ranks, betas=_BETAS)

    def states(self) -> dict[str, dict[str, Any]]:
        """What a checkpoint holds of policy, critic and optimisers."""
        ranks = self.run.ranks
        states = {"policy": ranks.model_state(self.policy), **self.optimiser.states("optimiser")}
        if self.critic is not None and self.critic_optimiser is not None:
            states["critic"] = ranks.model_state(self.critic)
            states |= self.critic_optimiser.states("critic_optimiser")
        return states

    def restore(self, states: dict[str, dict[str, Any]]) -> None:
        """The same, but for the policy itself, which is the run's to restore."""
        self.optimiser.restore(states, "optimiser")
        if self.critic is not None and self.critic_optimiser is not None:
            self.run.ranks.set_model_state(self.critic, states["critic"])
            self.critic_optimiser.restore(states, "critic_optimiser")

    def update(self, experience: Experience, worth: Worth, place: Place, rate: float) -> Update:
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
        rows = by_length(self._teaching(counted, worth), mask_NT)
        n_parts = ranks.largest(_n_parts(len(rows), self.grpo.micro_rows))
        if n_parts == 0:
            return UpdateSums()
        normaliser = Normaliser(int(n_rows), int(n_tokens), self.grpo.max_new_tokens)
        sums = UpdateSums()
        parts = [*micro_batches(rows, self.grpo.micro_rows)] if len(rows) else []
        parts += [rows[:0]] * (n_parts - len(parts))
        for number, index in enumerate(parts, start=1):
            with ranks.kept_apart(self._trained, is_kept=number < n_parts):
                sums += self._backward(experience.completions, worth, index, normaliser)
        if self.critic is not None and self.critic_optimiser is not None:
            self._take_step(self.critic_optimiser, self.config.critic.learning_rate, place)
        if self.critic is None or place.done >= self.config.critic.warm_up_steps:
            self._take_step(self.optimiser, rate, place)
        self.policy.zero_grad(set_to_none=True)
        return sums

    @property
    def _trained(self) -> list[Module]:
        return [self.policy] if self.critic is None else [self.policy, self.critic]

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

    def _take_step(self, optimiser: Optimiser, rate: float, place: Place) -> None:
        if not optimiser.take_step(rate, largest_norm=self.grpo.max_grad_norm):
            raise TrainingError(
                f"step {place.steps + 1}: the gradient is not finite; nothing was changed by it."
                " Lower grpo.learning_rate, and go on from the last checkpoint with --resume"
            )


def _n_parts(n_rows: int, size: int) -> int:
    return math.ceil(n_rows / size) if size else min(n_rows, 1)
