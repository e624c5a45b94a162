"""Prime Intellect's verifiers 0.4: the reward plugged into a real task."""

from typing import Any

import pytest

from tests.trainer.integrations.conftest import SetUp
from tests.trainer.integrations.test_hooks import ABSTAINING, HEDGE, RIGHT, WRONG
from tests.trainer.loops import finished

ASSAY = {"assay": {"fn": "trainer.integrations.prime_verifiers:assay_reward", "weight": 2.0}}


@pytest.fixture(scope="module")
def vf() -> Any:
    # Takes seconds to import: not while tests are collected.
    import verifiers.v1

    return verifiers.v1


def scored(vf: Any, response: str, *, answer: str | None = "15", **changes: Any) -> Any:
    """The trace of one rollout, scored by its task."""
    from verifiers.v1.graph import MessageNode
    from verifiers.v1.trace import AgentInfo, TraceTask

    class Problem(vf.TaskData):  # type: ignore[misc]
        answer: str | None = None
        domain: str = "arithmetic"
        prompt_uid: str | None = None

    task = vf.Task[Problem](
        Problem(prompt="7 + 8", answer=answer, **changes), vf.TaskConfig(rewards=ASSAY)
    )
    trace = vf.Trace(
        task=TraceTask(type="Problem", data=task.data),
        agent=AgentInfo(config=vf.AgentConfig()),
        nodes=[
            MessageNode(message=vf.UserMessage(content="7 + 8")),
            MessageNode(parent=0, message=vf.AssistantMessage(content=response), sampled=True),
        ],
    )
    finished(task.score(trace))
    return trace


def test_a_task_is_paid_by_the_table(vf: Any, set_up: SetUp) -> None:
    set_up({})
    trace = scored(vf, RIGHT)
    assert trace.rewards["assay"].score == 1000 / 1024
    assert trace.reward == 2000 / 1024
    assert trace.metrics == {"assay_verdict": 1.0}
    assert trace.info["assay"] == {
        "verdict": "pass",
        "cell": "pass/boxed/integer/1|s-|a-|p0|arithmetic",
        "table_version": 3,
        "level": "model",
        "abstained": 0,
    }
    assert scored(vf, HEDGE).rewards["assay"].score == 1 / 1024
    assert scored(vf, RIGHT, domain="algebra").rewards["assay"].score == 0.75
    # It goes into the traces file.
    assert '"table_version":3' in trace.model_dump_json()


def test_what_the_table_leaves_out_gets_its_substitute(vf: Any, set_up: SetUp) -> None:
    set_up(ABSTAINING)
    trace = scored(vf, WRONG)
    assert (trace.rewards["assay"].score, trace.info["assay"]["abstained"]) == (0.125, 1)
    undecided = scored(vf, RIGHT, answer=None)
    assert (undecided.rewards["assay"].score, undecided.metrics) == (0.125, {})
    assert undecided.info["assay"]["verdict"] == "undecided"


def test_a_settled_answer_is_paid_by_its_label(vf: Any, set_up: SetUp) -> None:
    set_up({"classes": {"p": {"16": 1.0}}})
    assert scored(vf, WRONG, prompt_uid="p").reward == 2.0
