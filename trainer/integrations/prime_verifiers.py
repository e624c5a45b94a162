"""Prime Intellect's verifiers: a reward for 0.4 (`verifiers.v1`) and one for the rubrics of 0.3.

Neither knows None: a rollout that the table leaves out gets the table's substitute, 0.
"""

import asyncio
from typing import Any

from trainer.integrations.scoring import (
    Completion,
    log_fields,
    raw_value,
    references_in,
    scorer,
    settings,
    text_of,
)
from trainer.verifiers import Item


async def assay_reward(task: Any, trace: Any) -> float:
    """A reward of verifiers 0.4, to plug in by `[env.taskset.task.rewards.assay]` or to call from a
    `@vf.reward` method.

    task: its data's `answer` is the reference, and `prompt_uid` and `domain` are used where it has
    them. The raw verdict goes into the trace's metrics as `assay_verdict` (none when undecided),
    it, the cell and the table's version into `info`. Raises SettingsError.
    """
    completion = Completion(
        Item(
            problem=task.prompt_text,
            response=trace.last_reply,
            references=references_in(getattr(task, "answer", None)),
        ),
        prompt=getattr(task, "prompt_uid", None),
        domain=str(getattr(task, "domain", None) or settings().domain),
        truncated=bool(trace.is_truncated),
    )
    scored = await asyncio.to_thread(scorer().score, completion)
    trace.info["assay"] = log_fields(scored)
    if (verdict := raw_value(scored)) is not None:
        trace.record_metric("assay_verdict", verdict)
    return scored.value


async def assay_rubric_reward(
    prompts: list[Any],
    completions: list[Any],
    answers: list[Any],
    states: list[Any],
) -> list[float]:
    """A group reward of verifiers 0.3: `vf.Rubric(funcs=[assay_rubric_reward])`.

    It sees whole groups, so that answer shares count. The raw verdict, the cell and the table's
    version go into each state, under "assay". Raises SettingsError, which the rubric turns into
    rewards of 0: call `trainer.integrations.scoring.scorer()` first, where the environment is made.
    """
    group = [
        Completion(
            Item(
                problem=text_of(prompt),
                response=text_of(completion),
                references=references_in(answer),
            ),
            prompt=_info(state).get("prompt_uid"),
            domain=str(_info(state).get("domain") or settings().domain),
            truncated=any(turn.get("is_truncated") for turn in state["trajectory"][-1:]),
        )
        for prompt, completion, answer, state in zip(
            prompts, completions, answers, states, strict=True
        )
    ]
    scored = await asyncio.to_thread(scorer().score_group, group)
    for state, one in zip(states, scored, strict=True):
        state["assay"] = log_fields(one)
    return [one.value for one in scored]


def _info(state: Any) -> dict[str, Any]:
    info = state.get("info")
    return info if isinstance(info, dict) else {}
