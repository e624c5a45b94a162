"""verl 0.9: `compute_score`, named in `reward.custom_reward_function`.

verl scores one rollout at a time, so that cells have no answer share, and knows no None.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from trainer.integrations.scoring import (
    Completion,
    log_fields,
    raw_value,
    references_in,
    scorer,
    settings,
)
from trainer.verifiers import Item


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> dict[str, str | int | float]:
    """The reward as `score`; `acc` is the raw verdict, in which undecided counts as not accepted.

    extra_info: of the data set; "question", "prompt_uid" and "domain" are used where it has them.
    Raises SettingsError.
    """
    extra = extra_info or {}
    scored = scorer().score(
        Completion(
            Item(
                problem=str(extra.get("question") or ""),
                response=solution_str,
                references=references_in(ground_truth),
            ),
            prompt=extra.get("prompt_uid"),
            domain=str(extra.get("domain") or settings().domain),
        )
    )
    return {"score": scored.value, "acc": raw_value(scored) or 0.0, **log_fields(scored)}


async def compute_score_async(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> dict[str, str | int | float]:
    """The same, for verl's event loop."""
    return await asyncio.to_thread(
        compute_score, data_source, solution_str, ground_truth, extra_info
    )
