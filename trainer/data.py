"""What flows through the training loop, Prompt -> Group -> Batch, and how it goes on the wire."""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from trainer.config import TrainerConfig
from trainer.rewards import Cell
from trainer.verifiers import Outcome, Verdict, Verifier
from trainer.wire import (
    MessagePayload,
    PromptPayload,
    RolloutPayload,
    RunPayload,
    VerdictPayload,
    VerifierPayload,
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A problem as the policy is asked it, with the reference that the verifier compares to."""

    uid: str
    text: str
    reference: str
    domain: str
    source: str
    difficulty: int | None = None  # 0 to 100, as the source has it

    def payload(self) -> PromptPayload:
        return PromptPayload(
            uid=self.uid,
            text=self.text,
            references=(self.reference,),
            domain=self.domain,
            source=self.source,
            split="train",
            difficulty=self.difficulty,
        )


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion, judged and rewarded.

    reward: for being right; None = left out of its group. channels: by name, what else it earns.
    step_scores: P(right) of each of its steps, where a process verifier is a channel.
    """

    uid: str
    response: str
    n_tokens: int
    is_truncated: bool
    verdict: Verdict
    cell: Cell
    answer_class: str | None
    is_correct: bool | None  # where a rubric can tell, which only a demo has
    reward: float | None
    channels: Mapping[str, float | None] = field(default_factory=dict)
    step_scores: tuple[float, ...] | None = None

    @property
    def is_accepted(self) -> bool:
        return self.verdict.outcome is Outcome.PASS


@dataclass(frozen=True, slots=True)
class Group:
    """The rollouts of one prompt at one step."""

    uid: str
    prompt: Prompt
    rollouts: tuple[Rollout, ...]

    @property
    def is_mixed(self) -> bool:
        """Whether its verdicts differ: by what was said, not by what it is worth in a table."""
        outcomes = {rollout.verdict.outcome for rollout in self.rollouts}
        return outcomes >= {Outcome.PASS, Outcome.FAIL}


@dataclass(frozen=True, slots=True)
class Batch:
    """All groups of a step. table_version: None = rewards are raw verdicts (or no verdicts)."""

    step: int
    groups: tuple[Group, ...]
    table_version: int | None

    def rollouts(self) -> list[Rollout]:
        return [rollout for group in self.groups for rollout in group.rollouts]


def run_payload(config: TrainerConfig, uid: str, verifier: Verifier) -> RunPayload:
    """How a run is registered; whoever registers it first, trainer or driver, says the same."""
    return RunPayload(
        uid=uid,
        name=f"{config.run.name}, {config.reward.source}, seed {config.run.seed}",
        seed=config.run.seed,
        verifiers=(VerifierPayload(verifier.name, verifier.version, verifier.channel),),
        normaliser=verifier.normaliser,
        group_size=config.grpo.group_size,
        config={**config.to_dict(), "commit": code_commit()},
    )


def rollout_payloads(batch: Batch, verifier: Verifier) -> list[RolloutPayload]:
    """The batch's rollouts for the server, group by group."""
    return [
        RolloutPayload(
            uid=rollout.uid,
            prompt=group.prompt.uid,
            group=group.uid,
            step=batch.step,
            policy=f"step-{batch.step - 1}",
            messages=(MessagePayload(role="assistant", content=rollout.response),),
            tokens=rollout.n_tokens,
            truncated=rollout.is_truncated,
            probe=rollout.cell.probe,
            reward=rollout.reward,
            table_version=batch.table_version,
            verdicts=(verdict_payload(rollout.verdict, verifier),),
        )
        for group in batch.groups
        for rollout in group.rollouts
    ]


def verdict_payload(verdict: Verdict, verifier: Verifier) -> VerdictPayload:
    """What a verifier said, as it is sent."""
    return VerdictPayload(
        verifier=verifier.name,
        version=verifier.version,
        outcome=verdict.outcome,
        score=verdict.score,
        extracted=verdict.extracted,
        path=verdict.path,
        form=verdict.form,
        candidates=verdict.candidates,
        seconds=verdict.seconds,
        detail=verdict.detail,
        record=verdict.record,
    )


@cache
def code_commit() -> str | None:
    """The commit of the checkout that this package runs from; None outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(Path(__file__).parent), "rev-parse", "--verify", "--quiet", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed
    return found.stdout.strip() or None
