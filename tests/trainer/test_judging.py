"""What rollouts earn, before it is compared within their group."""

import pytest

from tests.trainer.tiny import make_config
from trainer.data import Group, Prompt
from trainer.judging import Judge, Sampled
from trainer.tasks import task_of


def judged(treated: str, *, verifier: str) -> Group:
    """Four texts, of which the first two were cut off."""
    config = make_config(grpo={"truncated": treated}, reward={"verifier": verifier})
    judge = Judge.of(config.reward, task_of(config.task, n_held_out=8), seed=0)
    texts = [r"\boxed{2}", r"\boxed{3}", r"\boxed{2}", r"\boxed{3}"]
    prompt = Prompt("p", "1+1=?", "2", "arithmetic", "test")
    asked = Sampled("r/1/0", prompt, texts, [5] * 4, [True, True, False, False])
    (group,) = judge.groups([asked], None, config.grpo)
    return group


@pytest.mark.parametrize(
    ("treated", "verifier", "rewards"),
    [
        ("judged", "boxed-any", [1.0, 0.0, 1.0, 0.0]),
        ("punished", "boxed-any", [1.0, 0.0, 1.0, 0.0]),
        ("wrong", "boxed-any", [0.0, 0.0, 1.0, 0.0]),
        ("filtered", "boxed-any", [None, None, 1.0, 0.0]),
        # It wants instructions where the task has a number, and decides nothing.
        ("judged", "constraints", [None] * 4),
        ("wrong", "constraints", [0.0, 0.0, None, None]),
        ("filtered", "constraints", [None] * 4),
    ],
)
def test_truncated_rollouts_are_treated_as_declared_even_where_undecided(
    treated: str, verifier: str, rewards: list[float | None]
) -> None:
    group = judged(treated, verifier=verifier)
    assert [rollout.reward for rollout in group.rollouts] == rewards
    assert [rollout.is_truncated for rollout in group.rollouts] == [True, True, False, False]
