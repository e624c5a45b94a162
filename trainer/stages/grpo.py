"""The reinforcement learning loop: sample groups, judge them, reward them, update the policy.

Deviations from the papers besides those of `advantages`, `loss` and `objectives`:

1. Dynamic sampling (DAPO) stops after `grpo.extra_batches` further batches; what it has by then is
   the step. Groups are told apart by their verdicts, not by their rewards: a table gives a group
   in which all verdicts are the same more than one value.
2. The learning rate falls linearly over the stage.
3. With a critic (PPO) the policy waits for `critic.warm_up_steps`, in which the critic learns
   alone; the papers start it from a reward model instead.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from time import perf_counter

import torch
from torch import Tensor
from torch.nn import Module

from trainer.advantages import gae
from trainer.channels import summed_rewards
from trainer.checkpoint import Checkpoint, Place
from trainer.config import GrpoConfig, TrainerConfig
from trainer.data import Batch
from trainer.generation import Completions
from trainer.loss import truncated_importance
from trainer.metrics import Row, step_row
from trainer.policy import Policy
from trainer.ranks import WholeWeights, copy_weights
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
from trainer.stages.sampling import Sampling, sampled, send
from trainer.stages.updating import Updater, Worth
from trainer.verifiers import Outcome

# N = rows (completions), T = tokens of a completion

# A verifier that decides no more than a tenth, for so many steps, is dead.
_UNDECIDED_SHARE, _UNDECIDED_STEPS = 0.9, 3


def learning_rate_at(step: int, config: GrpoConfig) -> float:
    """Linear warm-up times a linear fall to `final_learning_rate_share` at the last step."""
    fall = 1 - (1 - config.final_learning_rate_share) * step / config.steps
    return config.learning_rate * min(1.0, step / config.warm_up_steps) * fall


class GrpoStage:
    """One stage of reinforcement learning, whatever its objective."""

    def __init__(self, run: Run, policy: Module, number: int) -> None:
        """policy: the run's, wrapped for its processes."""
        self.run, self.policy = run, policy
        self.config: TrainerConfig = run.config.at_stage(number)
        self.grpo, self.objective = self.config.grpo, self.config.objective
        self.updater = Updater(run, policy, self.config)
        self.reference = _frozen(run) if self.objective.needs_reference else None
        self._undecided_steps = 0

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where the checkpoint was saved: the policy itself is the run's to restore."""
        self.updater.restore(checkpoint.states)
        if self.reference is not None:
            self.run.ranks.set_model_state(self.reference, checkpoint.states["reference"])

    def train(self, place: Place) -> Place:
        """The steps that are left. Raises TrainingError or HoldError, at a place to resume from."""
        while place.done < self.grpo.steps and not self.run.is_stopping():
            self.run.hold.before_step(place.steps + 1)
            started = perf_counter()
            table = self.run.tables.at_step(place.steps + 1)
            if self.run.is_stopping():  # since it began to wait
                self._save(place)
                break
            place, row = self._step(place, table, started)
            is_last = place.done == self.grpo.steps
            if is_last or place.steps % self.run.config.run.eval_every == 0:
                row |= self.run.evaluate(n=None if is_last else 1)
            self.run.log.add(row)
            if self._is_to_be_saved(place, is_last):
                self._save(place)
        return place

    def _is_to_be_saved(self, place: Place, is_last: bool) -> bool:
        every = self.run.config.run.checkpoint_every
        return is_last or place.steps % every == 0 or self.run.is_stopping()

    def _step(self, place: Place, table: RewardTable | None, started: float) -> tuple[Place, Row]:
        """started: when the wait for the table began."""
        run, step = self.run, place.steps + 1
        waited = perf_counter() - started
        with run.sampling():
            experience, n_problems = self._sampled(place, step, table)
        worth = self._worth(experience, table)
        batch, advantages = self._gathered(step, experience, worth, table)
        send(run, batch)
        sampled_s = perf_counter() - started - waited
        rate = learning_rate_at(place.done + 1, self.grpo)
        update = self.updater.update(experience, worth, place, rate)
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
        if not self.run.engine.is_exact:
            old_NT = self._logprobs(Policy(self.run.model), completions)
            importance_NT = truncated_importance(
                old_NT, completions.logprob_NT, completions.mask_NT, cap=self.grpo.importance_cap
            )
            worth = replace(worth, old_logprob_NT=old_NT, importance_NT=importance_NT)
        if self.reference is not None:
            reference_NT = self._logprobs(self.reference, completions)
            worth = replace(worth, reference_logprob_NT=reference_NT)
        critic = self.updater.critic
        if critic is None:
            advantage = advantages_of(
                experience, self.config, table, self.run.tokenizer, self.run.ranks
            )
            return replace(worth, advantage=advantage)
        return self._with_values(critic, worth, experience)

    def _with_values(self, critic: Module, worth: Worth, experience: Experience) -> Worth:
        """PPO: advantages against the critic's values, the KL term in the reward."""
        completions, rewards = (
            experience.completions,
            rewards_of(experience.groups, self.config),
        )
        reward_N = summed_rewards(rewards, weights_of(self.config)).flatten()
        value_NT = self._in_parts(critic, critic, completions)
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
        return self._in_parts(policy, lambda rows: policy(rows, temperature)[0], completions)

    def _in_parts(
        self, module: Module, forward: Callable[[Completions], Tensor], completions: Completions
    ) -> Tensor:
        """(N, T) of the module's forward pass over as many rows at once as an update takes; 0
        elsewhere."""
        made_NT = torch.zeros_like(completions.logprob_NT)
        with WholeWeights(module):
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

    # Keeping

    def _save(self, place: Place) -> None:
        states = self.updater.states()
        if self.reference is not None:
            states["reference"] = self.run.ranks.model_state(self.reference)
        self.run.save(Checkpoint(place, states))


def _frozen(run: Run) -> Policy:
    """The policy as it is now, which the divergence is measured from."""
    frozen = Policy(run.new_model().requires_grad_(False))
    run.ranks.place(frozen)
    copy_weights(run.model, frozen.model)
    return frozen
