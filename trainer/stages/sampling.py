"""Groups of completions, sampled, judged and sent."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.config import GrpoConfig
from trainer.data import Batch, Group, Prompt, rollout_payloads
from trainer.generation import Completions
from trainer.judging import Sampled
from trainer.rewards import RewardTable
from trainer.run import Run
from trainer.stages.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Sampling:
    """Groups of one call to the sampler, by their places in the step. Row i of the completions is
    rollout i, counted through the groups."""

    places: Sequence[int]
    groups: Sequence[Group]
    completions: Completions


def sampled(
    run: Run,
    prompts: Sequence[Prompt],
    places: Sequence[int],
    *,
    step: int,
    n: int,
    grpo: GrpoConfig,
    table: RewardTable | None,
) -> Sampling:
    """n completions of each prompt, judged and rewarded. A group is drawn by its step and place."""
    completions = run.sample(
        prompts,
        [f"step/{step}/{place}" for place in places],
        n=n,
        budget=grpo.max_new_tokens,
        temperature=grpo.temperature,
    )
    responses = run.responses(completions)
    lengths = completions.mask_NT.sum(dim=1).tolist()
    is_truncated = completions.is_truncated_N.tolist()
    samples = [
        Sampled(
            f"{run.uid}/{step}/{place}",
            prompt,
            responses[first : first + n],
            lengths[first : first + n],
            is_truncated[first : first + n],
        )
        for prompt, place, first in zip(prompts, places, range(0, len(responses), n), strict=True)
    ]
    return Sampling(places, run.judge.groups(samples, table, grpo), completions)


def send(run: Run, batch: Batch) -> None:
    """Leave a step's rollouts on disk, on their way to the server if there is one.

    Raises TrainingError when the disk does not take them.
    """
    if run.link is None:
        return
    try:
        run.link.send_prompts([group.prompt.payload() for group in batch.groups])
        run.link.send_rollouts(rollout_payloads(batch, run.judge.verifier))
        run.link.complete_step(batch.step)
    except OSError as error:
        raise TrainingError(
            f"step {batch.step}: its rollouts cannot be kept on disk ({error.strerror or error});"
            " make room and go on with --resume, which makes the step again"
        ) from error
