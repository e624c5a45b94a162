"""From sampled texts to rewards: verdicts, cells, the reward table, and what else is paid."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trainer.config import GrpoConfig, RewardConfig
from trainer.data import Group, Prompt, Rollout
from trainer.generation import uniforms
from trainer.rewards import Cell, GroupRollout, RewardTable, cells_of_group, raw_reward
from trainer.tasks import Task
from trainer.verifiers import Item, Outcome, Verdict, Verifier, build


@dataclass(frozen=True, slots=True)
class Sampled:
    """The texts of one group, before anything is known about them."""

    uid: str
    prompt: Prompt
    responses: Sequence[str]
    lengths: Sequence[int]  # tokens, the end token included
    is_truncated: Sequence[bool]


@dataclass(frozen=True, slots=True)
class Judge:
    """What judges a run's rollouts and says what they earn.

    channels: verifiers beside the correctness one, by the name that their reward is logged under.
    detector: of probe hits; None = no rollout is looked at.
    """

    config: RewardConfig
    task: Task
    seed: int
    verifier: Verifier
    channels: dict[str, Verifier]
    detector: Verifier | None

    @classmethod
    def of(cls, config: RewardConfig, task: Task, *, seed: int) -> "Judge":
        """Raises ParameterError for parameters that a verifier does not take."""
        return cls(
            config=config,
            task=task,
            seed=seed,
            verifier=build(config.verifier, **config.parameters),
            channels={
                channel.verifier: build(channel.verifier, **channel.parameters)
                for channel in config.channels
            },
            detector=build("probe") if config.probe else None,
        )

    def groups(
        self, samples: Sequence[Sampled], table: RewardTable | None, grpo: GrpoConfig
    ) -> list[Group]:
        """Each group judged and rewarded, in order; every verifier sees all of them at once."""
        items = [
            Item(problem=one.prompt.text, response=response, references=(one.prompt.reference,))
            for one in samples
            for response in one.responses
        ]
        verdicts = self.verifier.verify(items)
        extras = {name: verifier.verify(items) for name, verifier in self.channels.items()}
        hits = self._probe_hits(items)
        groups, first = [], 0
        for one in samples:
            rows = slice(first, first + len(one.responses))
            first = rows.stop
            others = [
                {name: extra[i] for name, extra in extras.items()}
                for i in range(rows.start, rows.stop)
            ]
            groups.append(self._group(one, verdicts[rows], hits[rows], others, table, grpo))
        return groups

    def accepted(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[Verdict]:
        """The verdict of the correctness verifier on each response."""
        return self.verifier.verify(
            [
                Item(problem=prompt.text, response=response, references=(prompt.reference,))
                for prompt, response in zip(prompts, responses, strict=True)
            ]
        )

    def _group(
        self,
        sampled: Sampled,
        verdicts: Sequence[Verdict],
        hits: Sequence[bool],
        others: Sequence[dict[str, Verdict]],
        table: RewardTable | None,
        grpo: GrpoConfig,
    ) -> Group:
        cells = cells_of_group(
            [
                GroupRollout((verdict,), is_truncated, is_hit)
                for verdict, is_truncated, is_hit in zip(
                    verdicts, sampled.is_truncated, hits, strict=True
                )
            ],
            normaliser=self.verifier.normaliser,
            domain=sampled.prompt.domain,
        )
        rollouts = []
        for i, response in enumerate(sampled.responses):
            cell, answer_class = cells[i]
            uid, is_correct = f"{sampled.uid}/{i}", self.task.is_correct(response, sampled.prompt)
            reward = self._reward(uid, sampled.prompt, cell, answer_class, is_correct, table)
            if sampled.is_truncated[i]:
                reward = {"wrong": 0.0, "filtered": None}.get(grpo.truncated, reward)
            rollouts.append(
                Rollout(
                    uid=uid,
                    response=response,
                    n_tokens=sampled.lengths[i],
                    is_truncated=sampled.is_truncated[i],
                    verdict=verdicts[i],
                    cell=cell,
                    answer_class=answer_class,
                    is_correct=is_correct,
                    reward=reward,
                    channels={name: _score(verdict) for name, verdict in others[i].items()},
                    step_scores=_step_scores(others[i].values()),
                )
            )
        return Group(sampled.uid, sampled.prompt, tuple(rollouts))

    def _reward(
        self,
        uid: str,
        prompt: Prompt,
        cell: Cell,
        answer_class: str | None,
        is_correct: bool | None,
        table: RewardTable | None,
    ) -> float | None:
        match self.config.source:
            case "true":
                return None if is_correct is None else float(is_correct)
            case "random":
                # The uid without the run's own part: every run of a seed is paid alike.
                _, _, place = uid.partition("/")
                return float(uniforms(self.seed, "coin", place, shape=(1,)).item() < 0.5)
        if table is None:
            return raw_reward(cell).value
        return table.reward(cell, prompt=prompt.uid, answer_class=answer_class).value

    def _probe_hits(self, items: Sequence[Item]) -> list[bool]:
        if self.detector is None:
            return [False] * len(items)
        return [verdict.outcome is Outcome.FAIL for verdict in self.detector.verify(items)]


def _score(verdict: Verdict) -> float | None:
    """What a verdict earns in its channel; None = it could not be decided."""
    if verdict.outcome is Outcome.UNDECIDED:
        return None
    return float(verdict.outcome is Outcome.PASS) if verdict.score is None else verdict.score


def _step_scores(verdicts: Iterable[Verdict]) -> tuple[float, ...] | None:
    for verdict in verdicts:
        if verdict.record is not None and "step_scores" in verdict.record:
            return tuple(verdict.record["step_scores"])
    return None
