"""OpenRLHF 0.11's agent.py, alone: the rest of the package needs CUDA to be installed."""

import asyncio
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from tests.trainer.integrations.conftest import SetUp
from tests.trainer.integrations.test_hooks import ABSTAINING
from tests.trainer.tiny_models import tokenizer

WORDS = tokenizer(context=64)
RIGHT, WRONG = r"\boxed{15}", r"\boxed{16}"
FILE = "from trainer.integrations.openrlhf import reward_func\n"


@pytest.fixture(scope="module")
def agent() -> Any:
    source = Path(os.environ["OPENRLHF_SOURCE"]) / "openrlhf"
    for name in ("openrlhf", "openrlhf.utils"):
        package = ModuleType(name)
        package.__path__ = [str(source.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    return importlib.import_module("openrlhf.utils.agent")


def executed(agent: Any, url: str, response: str) -> dict[str, Any]:
    """One rollout through the executor, with an engine that says this."""
    ids = WORDS(response).input_ids
    output = SimpleNamespace(token_ids=ids, finish_reason="stop", logprobs=None)

    class Engine:
        async def generate(self, *args: Any, **kwargs: Any) -> Any:
            return SimpleNamespace(outputs=[output])

    executor = agent.SingleTurnAgentExecutor(remote_rm_url=[url])
    sampling = SimpleNamespace(max_tokens=64, logprobs=None)
    done = executor.execute("7 + 8: ", "15", sampling, 256, WORDS, Engine())
    found: dict[str, Any] = asyncio.run(done)
    return found


def test_the_executor_is_paid_by_the_table(agent: Any, set_up: SetUp, tmp_path: Path) -> None:
    set_up(ABSTAINING)
    file = tmp_path / "assay_reward.py"
    file.write_text(FILE)
    right, wrong = (executed(agent, str(file), text) for text in (RIGHT, WRONG))
    assert (right["reward"], right["scores"]) == ([0.75], [1.0])
    assert (wrong["reward"], wrong["scores"]) == ([0.125], [0.0])
    assert wrong["extra_logs"] == {"undecided": [0.0], "abstained": [1.0], "table_version": [3.0]}
    # What the samples' generator makes of it.
    assert torch.tensor([right["reward"]]).flatten().tolist() == [0.75]
