"""slime: `--custom-rm-path trainer.integrations.slime.custom_rm` and
`--custom-reward-post-process-path trainer.integrations.slime.post_process_rewards`.

The first scores rollouts as they come; the second sees whole groups, so that answer shares count
and a rollout can be left out of its group.
"""

import asyncio
from collections.abc import Sequence
from itertools import groupby
from math import sqrt
from typing import Any, Protocol

from trainer.integrations.scoring import (
    Completion,
    Judged,
    log_fields,
    raw_value,
    references_in,
    scorer,
    settings,
    text_of,
    verdict_fields,
    verdict_from,
)
from trainer.rewards import Scored
from trainer.verifiers import Item

# What slime divides by is the group's standard deviation plus this.
_EPSILON = 1e-6
_DIVIDED_BY_STD = frozenset({"grpo", "gspo", "cispo"})
_NORMALISED = _DIVIDED_BY_STD | {"reinforce_plus_plus_baseline"}


class Sample(Protocol):
    """What is read of slime's samples."""

    group_index: int | None
    prompt: Any
    response: str
    label: Any
    status: Any
    metadata: dict[str, Any]


async def custom_rm(args: Any, sample: Any, **kwargs: Any) -> float | list[float]:
    """The reward of a sample or, with `--group-rm`, of each sample of a group.

    The verdicts stay in the samples' metadata, under "assay". Raises SettingsError.
    """
    if isinstance(sample, list | tuple):
        return [scored.value for scored in await asyncio.to_thread(_score_group, sample)]
    return (await asyncio.to_thread(_score_group, [sample]))[0].value


def post_process_rewards(args: Any, samples: Sequence[Any]) -> tuple[list[float], list[float]]:
    """Raw verdicts, undecided as 0, and the rewards: normalised within each group as slime's flags
    say, where a rollout that the table leaves out has no part in the group's figures and gets 0.

    Deviations from slime's own normalisation: figures are of the kept rollouts; double precision,
    so that a constant group gets exactly 0.
    """
    raw, rewards = [], []
    for _, members in groupby(samples, key=lambda sample: sample.group_index):
        scored = _score_group(list(members))
        raw += [raw_value(one) or 0.0 for one in scored]
        rewards += _processed(args, scored)
    return raw, rewards


def _score_group(samples: Sequence[Sample]) -> list[Scored]:
    completions = [_completion(sample) for sample in samples]
    if all("assay" in sample.metadata for sample in samples):
        judged = [_kept(sample) for sample in samples]
    else:
        judged = scorer().judge(completions)
    scored = scorer().reward(completions, judged)
    for sample, said, one in zip(samples, judged, scored, strict=True):
        sample.metadata["assay"] = {
            **log_fields(one),
            "reward": one.reward.value,
            "truncated": said.truncated,
            "probe": said.probe,
            "verdicts": list(map(verdict_fields, said.verdicts)),
        }
    return scored


def _completion(sample: Sample) -> Completion:
    return Completion(
        Item(
            problem=text_of(sample.prompt),
            response=sample.response,
            references=references_in(sample.label),
        ),
        prompt=sample.metadata.get("prompt_uid"),
        domain=str(sample.metadata.get("domain") or settings().domain),
        truncated=getattr(sample.status, "value", sample.status) == "truncated",
    )


def _kept(sample: Sample) -> Judged:
    """What the verifiers said when the sample first came."""
    kept = sample.metadata["assay"]
    verdicts = tuple(verdict_from(fields) for fields in kept["verdicts"])
    return Judged(verdicts, kept["truncated"], kept["probe"])


def _processed(args: Any, scored: Sequence[Scored]) -> list[float]:
    estimator = args.advantage_estimator
    if estimator not in _NORMALISED or not args.rewards_normalization:
        return [one.value for one in scored]
    kept = [one.reward.value for one in scored if one.reward.value is not None]
    if not kept:
        return [0.0] * len(scored)
    mean = sum(kept) / len(kept)
    scale = 1.0
    if estimator in _DIVIDED_BY_STD and args.grpo_std_normalization and len(kept) > 1:
        squares = sum((value - mean) ** 2 for value in kept)
        scale = sqrt(squares / (len(kept) - 1)) + _EPSILON
    return [
        0.0 if one.reward.value is None else (one.reward.value - mean) / scale for one in scored
    ]
