"""The plain functions, each by its framework's contract: verl, OpenRLHF, slime."""

import json
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest

from tests.trainer.integrations.conftest import SetUp
from tests.trainer.loops import finished
from tests.trainer.recording_server import TOKEN, Answer, RecordingServer
from tests.trainer.test_reward_table import make_entry
from trainer.integrations import openrlhf, scoring, slime, verl
from trainer.integrations.scoring import SettingsError
from trainer.rewards import TableError

RIGHT, WRONG, HEDGE = r"\boxed{15}", r"\boxed{16}", r"\boxed{15} or \boxed{16}"
ABSTAINING = {
    "cells": {},
    "fallback": {
        "pass": make_entry(0.75, level="verdict"),
        "fail": make_entry(0.0, level="verdict", abstain=True),
        "undecided": make_entry(0.0, level="verdict", abstain=True),
    },
    "value_if_no_abstain": 0.125,
}


def test_verl_gets_numbers_and_texts(set_up: SetUp) -> None:
    set_up({})
    said = verl.compute_score("gsm8k", RIGHT, "15", {"question": "7 + 8", "split": "train"})
    assert said == {
        "score": 1000 / 1024,
        "acc": 1.0,
        "verdict": "pass",
        "cell": "pass/boxed/integer/1|s-|a-|p0|arithmetic",
        "table_version": 3,
        "level": "model",
        "abstained": 0,
    }
    later = verl.compute_score_async("gsm8k", RIGHT, "15", None, reward_router_address=None)
    assert finished(later) == said
    other = verl.compute_score("gsm8k", RIGHT, "15", {"domain": "algebra"})
    assert other["score"] == 0.75


def test_verl_has_the_tables_substitute_where_it_leaves_out(set_up: SetUp) -> None:
    set_up(ABSTAINING)
    left_out = verl.compute_score("gsm8k", WRONG, "15")
    undecided = verl.compute_score("gsm8k", RIGHT, None)
    for said, verdict in ((left_out, "fail"), (undecided, "undecided")):
        assert (said["score"], said["acc"], said["abstained"]) == (0.125, 0.0, 1)
        assert said["verdict"] == verdict
    assert left_out.keys() == verl.compute_score("gsm8k", RIGHT, "15").keys()


def test_verl_pays_a_settled_answer_by_its_label(set_up: SetUp) -> None:
    set_up({"classes": {"p": {"16": 1.0}}})
    said = verl.compute_score("gsm8k", WRONG, "15", {"prompt_uid": "p"})
    assert (said["score"], said["acc"], said["level"]) == (1.0, 0.0, "class")


def queries(*responses: str) -> tuple[list[str], list[str], list[str]]:
    prompt = "<|user|>7 + 8<|assistant|>"
    n = len(responses)
    return [f"{prompt}{response}<|im_end|>" for response in responses], [prompt] * n, ["15"] * n


def test_openrlhf_gets_the_table_as_rewards_and_the_verdict_as_scores(set_up: SetUp) -> None:
    set_up(ABSTAINING)
    assert openrlhf.reward_func(*queries(RIGHT)) == {
        "rewards": [0.75],
        "scores": [1.0],
        "extra_logs": {"undecided": [0.0], "abstained": [0.0], "table_version": [3.0]},
    }
    assert openrlhf.reward_func(*queries(WRONG)) == {
        "rewards": [0.125],
        "scores": [0.0],
        "extra_logs": {"undecided": [0.0], "abstained": [1.0], "table_version": [3.0]},
    }


def test_openrlhf_cannot_be_paid_for_the_prompt(set_up: SetUp) -> None:
    set_up(ABSTAINING)
    said = openrlhf.reward_func([f"cut {RIGHT}"], [f"never cut {RIGHT}"], ["15"])
    assert (said["rewards"], said["scores"]) == ([0.125], [0.0])
    assert said["extra_logs"]["undecided"] == [1.0]


def test_openrlhf_can_have_the_server_judge(set_up: SetUp, server: RecordingServer) -> None:
    set_up(URL=server.url, TOKEN=TOKEN, RUN="r-1", VERIFIER="")
    words = {"rewards": [0.75], "scores": [1.0], "extra_logs": {"table_version": [3.0]}}
    server.answers["POST /api/v1/runs/r-1/rewards"] = Answer(200, words)
    assert openrlhf.remote_reward_func(*queries(RIGHT)) == words
    (request,) = server.requests
    assert request.path.endswith("/rewards?domain=arithmetic")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.body.keys() == {"query", "prompts", "labels"}


def test_openrlhf_needs_a_run_for_that(set_up: SetUp) -> None:
    set_up()
    with pytest.raises(SettingsError, match="ASSAY_RUN"):
        openrlhf.remote_reward_func(*queries(RIGHT))


class Status(Enum):
    COMPLETED = "completed"
    TRUNCATED = "truncated"


@dataclass
class Sample:
    """slime's own, as far as a reward reads it."""

    response: str
    group_index: int = 0
    prompt: Any = "7 + 8"
    label: Any = "15"
    status: Status = Status.COMPLETED
    metadata: dict[str, Any] = field(default_factory=dict)


def flags(**changes: Any) -> SimpleNamespace:
    usual = {
        "advantage_estimator": "grpo",
        "rewards_normalization": True,
        "grpo_std_normalization": False,
    }
    return SimpleNamespace(**(usual | changes))


def test_slime_scores_a_sample_and_a_group(set_up: SetUp) -> None:
    set_up({})
    assert finished(slime.custom_rm(flags(), Sample(RIGHT))) == 1000 / 1024
    group = [Sample(text) for text in (RIGHT, RIGHT, WRONG, HEDGE)]
    assert finished(slime.custom_rm(flags(), group)) == [1005 / 1024, 1005 / 1024, 0, 1 / 1024]
    kept = group[0].metadata["assay"]
    assert (kept["cell"], kept["table_version"]) == ("pass/boxed/integer/1|s-|a2|p0|arithmetic", 3)
    # It travels between processes.
    json.dumps(kept)


def test_slime_leaves_a_rollout_out_of_its_group(set_up: SetUp) -> None:
    set_up(ABSTAINING)
    samples = [Sample(RIGHT), Sample(WRONG), Sample(RIGHT)]
    raw, rewards = slime.post_process_rewards(flags(), samples)
    assert (raw, rewards) == ([1.0, 0.0, 1.0], [0.0, 0.0, 0.0])
    assert samples[1].metadata["assay"]["reward"] is None


def test_slimes_groups_are_normalised_apart(set_up: SetUp) -> None:
    set_up({})
    samples = [Sample(text, group_index=i) for i in (0, 1) for text in (RIGHT, RIGHT, WRONG, HEDGE)]
    samples += [Sample(RIGHT, group_index=2)] * 8
    raw, rewards = slime.post_process_rewards(flags(), samples)
    paid = [1005 / 1024, 1005 / 1024, 0.0, 1 / 1024]
    centred = [value - sum(paid) / 4 for value in paid]
    assert raw == [1, 1, 0, 1] * 2 + [1] * 8
    assert rewards == [*centred, *centred, *[0.0] * 8]
    _, divided = slime.post_process_rewards(flags(grpo_std_normalization=True), samples[:4])
    std = (sum(value * value for value in centred) / 3) ** 0.5
    assert divided == pytest.approx([value / std for value in centred], rel=1e-5)
    _, same = slime.post_process_rewards(
        flags(advantage_estimator="cispo", grpo_std_normalization=True), samples[:4]
    )
    assert same == divided
    _, plain = slime.post_process_rewards(flags(advantage_estimator="ppo"), samples[:4])
    assert plain == paid


def test_slime_judges_a_sample_once(set_up: SetUp) -> None:
    set_up({})
    samples = [Sample(text) for text in (RIGHT, RIGHT, WRONG, HEDGE)]
    for sample in samples:
        finished(slime.custom_rm(flags(), sample))
        sample.response = "gone"
    raw, rewards = slime.post_process_rewards(flags(advantage_estimator="ppo"), samples)
    assert (raw, rewards[0]) == ([1, 1, 0, 1], 1005 / 1024)


def test_slimes_truncated_samples_are_in_no_answer_class(set_up: SetUp) -> None:
    set_up({})
    sample = Sample(RIGHT, status=Status.TRUNCATED)
    _, rewards = slime.post_process_rewards(
        flags(advantage_estimator="ppo"), [sample, Sample(RIGHT)]
    )
    assert sample.metadata["assay"]["truncated"]
    assert rewards[0] == 1000 / 1024


@pytest.mark.parametrize("text", ["\0", "\ud800", r"\boxed{" * 5_000, "</s>" * 5_000, ""])
def test_hostile_completions_are_scored(set_up: SetUp, text: str) -> None:
    set_up({}, VERIFIER="boxed-any")
    assert verl.compute_score("gsm8k", text, "15")["score"] in {0.0, 0.25}
    assert openrlhf.reward_func(*queries(text))["scores"] == [0.0]


def test_a_broken_table_is_no_raw_verdict(set_up: SetUp) -> None:
    set_up({"fallback": {}})
    with pytest.raises(TableError):
        verl.compute_score("gsm8k", RIGHT, "15")
    assert scoring.settings().table
