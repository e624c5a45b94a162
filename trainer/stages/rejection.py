"""Rejection sampling: the policy learns its own accepted completions by heart.

Deviation from its sources (STaR, arXiv:2203.14465; DeepSeek-R1, arXiv:2501.12948, sec. 2.3.3): of a
problem at most `rejection.kept` different completions are learnt, drawn at random.
"""

import random

from torch.nn import Module

from trainer.checkpoint import Checkpoint, Place
from trainer.config import TrainerConfig
from trainer.data import Batch, Group
from trainer.generation import seed_of
from trainer.metrics import Row, Update, step_row
from trainer.optimiser import Optimiser
from trainer.rewards import RewardTable
from trainer.run import ROWS_AT_ONCE, Run
from trainer.stages.errors import TrainingError
from trainer.stages.experience import rewards_of
from trainer.stages.sampling import sampled, send
from trainer.stages.supervised import Example, batches, supervised_step


class RejectionStage:
    """Sampled, judged and sent as one step of the run."""

    def __init__(self, run: Run, policy: Module, number: int) -> None:
        self.run, self.policy = run, policy
        self.config: TrainerConfig = run.config.at_stage(number)

    def restore(self, checkpoint: Checkpoint) -> None:
        """The policy is all that it leaves, and the run's to restore."""

    def train(self, place: Place) -> Place:
        """Raises TrainingError when no completion was good enough to learn."""
        if place.done:
            return place
        run, step = self.run, place.steps + 1
        run.hold.before_step(step)
        table = run.tables.at_step(step)
        if run.is_stopping():  # since it began to wait
            return place
        with run.sampling():
            mine = self._groups(place, step, table)
        groups = sorted(run.ranks.pooled(mine), key=lambda one: one[0])
        batch = Batch(step, tuple(g for _, g in groups), None if table is None else table.version)
        # Before it is sent: a step that is made again with more problems must still be open there.
        examples = self._examples(batch)
        send(run, batch)
        loss = self._learn(examples, step)
        rewards = rewards_of(batch.groups, self.config).means()
        row: Row = step_row(batch, Update(len(batch.groups), len(examples)), rewards)
        run.log.add(row | {"loss": loss, **run.evaluate()})
        place = Place(place.stage, 1, step, place.problems + self.config.rejection.problems)
        run.save(Checkpoint(place, {"policy": run.ranks.model_state(self.policy)}))
        return place

    def _groups(
        self, place: Place, step: int, table: RewardTable | None
    ) -> list[tuple[int, Group]]:
        run, settings, grpo = self.run, self.config.rejection, self.config.grpo
        problems = run.task.training(
            seed=run.config.run.seed, first=place.problems, n=settings.problems
        )
        mine = list(run.ranks.share(len(problems)))
        size = max(1, ROWS_AT_ONCE // settings.samples)
        judged: list[tuple[int, Group]] = []
        for first in range(0, len(mine), size):
            places = mine[first : first + size]
            part = sampled(
                run,
                [problems[i] for i in places],
                places,
                step=step,
                n=settings.samples,
                grpo=grpo,
                table=table,
            )
            judged += zip(part.places, part.groups, strict=True)
        return judged

    def _examples(self, batch: Batch) -> list[Example]:
        """Accepted, whole completions that the table (or the verdict) pays more than a half."""
        tokenizer = self.run.tokenizer
        seed = seed_of(self.run.config.run.seed, batch.step, "kept")
        rng = random.Random(seed)  # noqa: S311 - no secret
        examples: list[Example] = []
        for group in batch.groups:
            good = sorted(
                {
                    rollout.response
                    for rollout in group.rollouts
                    if not rollout.is_truncated and (rollout.reward or 0.0) > 0.5
                }
            )
            prompt = tokenizer.encode_prompt(group.prompt.text)
            kept = rng.sample(good, min(len(good), self.config.rejection.kept))
            examples += [(prompt, tokenizer.encode_response(response)) for response in kept]
        if len(examples) < self.run.ranks.size:
            raise TrainingError(
                f"step {batch.step}: of {len(batch.rollouts())} completions"
                f" {len(examples)} were accepted, too few to learn from; raise rejection.problems,"
                " or train longer before this stage"
            )
        return examples

    def _learn(self, examples: list[Example], step: int) -> float:
        """The mean loss of the last epoch, in nats a token."""
        settings = self.config.rejection
        optimiser = Optimiser(self.policy, self.run.ranks)
        losses: list[float] = []
        for epoch in range(settings.epochs):
            seed = f"{self.run.config.run.seed}/{step}/{epoch}"
            order = random.Random(seed).sample(examples, len(examples))  # noqa: S311
            parts = batches(order, size=settings.batch_size, seed=seed)
            losses = [
                supervised_step(
                    self.policy,
                    optimiser,
                    part,
                    rate=settings.learning_rate,
                    tokenizer=self.run.tokenizer,
                    ranks=self.run.ranks,
                )
                for part in parts
                if len(part) >= self.run.ranks.size
            ]
        return sum(losses) / len(losses)
