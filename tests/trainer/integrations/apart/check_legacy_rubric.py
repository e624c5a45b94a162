"""The rubrics of Prime Intellect's verifiers 0.3, which 0.4 no longer has."""

import asyncio
from typing import Any

import verifiers.legacy as vf

from tests.trainer.integrations.conftest import SetUp
from trainer.integrations.prime_verifiers import assay_rubric_reward

RIGHT, WRONG, HEDGE = r"\boxed{15}", r"\boxed{16}", r"\boxed{15} or \boxed{16}"


def state(response: str, *, cut: bool = False) -> Any:
    made = vf.State(
        prompt=[{"role": "user", "content": "7 + 8"}],
        completion=[{"role": "assistant", "content": response}],
        answer="15",
        trajectory=[{"is_truncated": cut, "advantage": None, "reward": None}],
    )
    return made


def scored(states: list[Any]) -> list[float]:
    rubric = vf.Rubric(funcs=[assay_rubric_reward])
    asyncio.run(rubric.score_group(states))
    return [one["reward"] for one in states]


def test_a_rubric_pays_a_group_by_the_table(set_up: SetUp) -> None:
    set_up({})
    states = [state(text) for text in (RIGHT, RIGHT, WRONG, HEDGE)]
    assert scored(states) == [1005 / 1024, 1005 / 1024, 0.0, 1 / 1024]
    assert states[0]["assay"]["cell"] == "pass/boxed/integer/1|s-|a2|p0|arithmetic"
    assert states[0]["metrics"] == {"assay_rubric_reward": 1005 / 1024}


def test_a_cut_rollout_is_in_no_answer_class(set_up: SetUp) -> None:
    set_up({})
    assert scored([state(RIGHT, cut=True), state(RIGHT)]) == [1000 / 1024, 1005 / 1024]
