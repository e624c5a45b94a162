"""From sampled texts to rewards: verdicts, cells, the reward table, and what else is paid.

Deviation: a truncated rollout that is filtered takes no part in its group's statistics either; DAPO
(arXiv:2503.14476) masks only its loss.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trainer.config import GrpoConfig, RewardConfig
from trainer.data import Group, Prompt, Rollout
from trainer.generation import uniforms
from trainer.rewards import GroupRollout, RewardTable, Scored, score_group
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
        scored = score_group(
            [
                GroupRollout((verdict,), is_truncated, is_hit)
                for verdict, is_truncated, is_hit in zip(
                    verdicts, sampled.is_truncated, hits, strict=True
                )
            ],
            normaliser=self.verifier.normaliser,
            domain=sampled.prompt.domain,
            prompt=sampled.prompt.uid,
            table=table,
        )
        uids = [f"{sampled.uid}/{i}" for i in range(len(scored))]
        truths = [self.task.is_correct(text, sampled.prompt) for text in sampled.responses]
        rewards = self._rewards(uids, scored, truths)
        if_truncated = {"wrong": 0.0, "filtered": None}
        rollouts = [
            Rollout(
                uid=uids[i],
                response=response,
                n_tokens=sampled.lengths[i],
                is_truncated=sampled.is_truncated[i],
                verdict=verdicts[i],
                cell=scored[i].cell,
                answer_class=scored[i].answer_class,
                is_correct=truths[i],
                reward=if_truncated.get(grpo.truncated, rewards[i])
                if sampled.is_truncated[i]
                else rewards[i],
                channels={name: _score(verdict) for name, verdict in others[i].items()},
                step_scores=_step_scores(others[i].values()),
            )
            for i, response in enumerate(sampled.responses)
        ]
        return Group(sampled.uid, sampled.prompt, tuple(rollouts))

    def _rewards(
        self, uids: Sequence[str], scored: Sequence[Scored], truths: Sequence[bool | None]
    ) -> list[float | None]:
        """What each rollout of a group earns for being right."""
        match self.config.source:
            case "true":
                return [None if is_correct is None else float(is_correct) for is_correct in truths]
            case "random":
                # By the uid without the run's own part: every run of a seed is paid alike.
                places = [uid.partition("/")[2] for uid in uids]
                return [float(_coin(self.seed, place)) for place in places]
        return [one.reward.value for one in scored]

    def _probe_hits(self, items: Sequence[Item]) -> list[bool]:
        if self.detector is None:
            return [False] * len(items)
        return [verdict.outcome is Outcome.FAIL for verdict in self.detector.verify(items)]


def _coin(seed: int, place: str) -> bool:
    return uniforms(seed, "coin", place, shape=(1,)).item() < 0.5


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
