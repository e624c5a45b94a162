"""verl 0.9's own reward managers, with the function loaded as verl's configuration names it."""

import asyncio
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager as RewardLoop
from verl.trainer.ppo.reward import get_custom_reward_fn
from verl.workers.reward_manager.naive import NaiveRewardManager

from tests.trainer.integrations.conftest import SetUp
from tests.trainer.integrations.test_hooks import ABSTAINING
from tests.trainer.tiny_models import tokenizer

WORDS = tokenizer(context=64)
PROMPT = WORDS("7 + 8").input_ids
RIGHT, WRONG = r"\boxed{15}", r"\boxed{16}"


def configured(name: str) -> Any:
    function = {"path": "pkg://trainer.integrations.verl", "name": name, "reward_kwargs": {}}
    return OmegaConf.create({"reward": {"custom_reward_function": function}})


def batch_of(*responses: str) -> DataProto:
    """As a rollout worker gives it: prompts padded on the left, responses on the right."""
    ids = [WORDS(response).input_ids for response in responses]
    longest = max(map(len, ids))
    mask = [[1] * (len(PROMPT) + len(row)) + [0] * (longest - len(row)) for row in ids]
    padded = [row + [WORDS.pad_token_id] * (longest - len(row)) for row in ids]
    n = len(responses)
    tensors = {
        "prompts": torch.tensor([PROMPT] * n),
        "responses": torch.tensor(padded),
        "attention_mask": torch.tensor(mask),
    }
    return DataProto(
        batch=TensorDict(tensors, batch_size=[n]),
        non_tensor_batch={
            "data_source": np.array(["gsm8k"] * n, dtype=object),
            "reward_model": np.array([{"ground_truth": "15"} for _ in range(n)], dtype=object),
            "extra_info": np.array([{"question": "7 + 8"} for _ in range(n)], dtype=object),
        },
    )


def test_the_naive_manager_pays_by_the_table(set_up: SetUp) -> None:
    set_up({})
    manager = NaiveRewardManager(
        WORDS, num_examine=0, compute_score=get_custom_reward_fn(configured("compute_score"))
    )
    said = manager(batch_of(RIGHT, WRONG, f"it is {RIGHT}"), return_dict=True)
    assert said["reward_tensor"].sum(dim=1).tolist() == [1000 / 1024, 0.0, 1000 / 1024]
    # At the last token of each response.
    assert said["reward_tensor"].argmax(dim=1).tolist()[0] == len(WORDS(RIGHT).input_ids) - 1
    extra = said["reward_extra_info"]
    assert extra["acc"] == [1.0, 0.0, 1.0]
    assert extra["table_version"] == [3, 3, 3]
    assert extra["cell"][0] == "pass/boxed/integer/1|s-|a-|p0|arithmetic"
    assert extra["verdict"] == ["pass", "fail", "pass"]


@pytest.mark.parametrize("name", ["compute_score", "compute_score_async"])
def test_the_reward_loop_pays_by_the_table(set_up: SetUp, name: str) -> None:
    set_up(ABSTAINING)

    async def paid(response: str) -> dict[str, Any]:
        function = get_custom_reward_fn(configured(name))
        manager = RewardLoop(OmegaConf.create({}), WORDS, function)
        found: dict[str, Any] = await manager.run_single(batch_of(response))
        return found

    right, wrong = asyncio.run(paid(RIGHT)), asyncio.run(paid(WRONG))
    assert (right["reward_score"], wrong["reward_score"]) == (0.75, 0.125)
    assert (wrong["reward_extra_info"]["acc"], wrong["reward_extra_info"]["abstained"]) == (0.0, 1)
    assert right["reward_extra_info"].keys() == wrong["reward_extra_info"].keys()


def test_math_judges_beside_verls_own_parser(set_up: SetUp) -> None:
    """verl's configuration files need another version of the parser's runtime."""
    set_up(VERIFIER="math")
    manager = NaiveRewardManager(
        WORDS, num_examine=0, compute_score=get_custom_reward_fn(configured("compute_score"))
    )
    said = manager(batch_of(r"\boxed{\frac{30}{2}}", WRONG), return_dict=True)
    assert said["reward_extra_info"]["verdict"] == ["pass", "fail"]
