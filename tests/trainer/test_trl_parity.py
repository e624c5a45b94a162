"""Losses and gradients of the policy are TRL's, where TRL has the objective."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import ROOT
from tests.trainer.parity import BUDGET, CASES, build, logprobs
from trainer.loss import Normaliser, policy_loss

RELATIVE = 1e-5  # in float32


@pytest.fixture(scope="module")
def trl(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file: Path = tmp_path_factory.mktemp("trl") / "losses.pt"
    command = [sys.executable, "-m", "tests.trainer.trl_losses", str(file)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    found: dict[str, Any] = torch.load(file)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_those_of_trl(name: str, trl: dict[str, Any]) -> None:
    case, batch, answer = CASES[name], trl["batch"], trl["answers"][name]
    model = build(seed=1)
    model.load_state_dict(trl["weights"])
    result = policy_loss(
        logprobs(model, batch),
        batch["old"],
        batch["token_advantages" if case.by_token else "advantages"],
        batch["mask"],
        objective=case.objective,
        normaliser=Normaliser.of(batch["mask"], budget=BUDGET),
        reference_logprob_NT=batch["reference"] if case.beta else None,
        importance_NT=batch["importance"] if case.has_importance else None,
    )
    result.loss.backward()
    assert result.loss.dtype == torch.float32
    assert result.loss.item() == pytest.approx(answer["loss"].item(), rel=RELATIVE)
    for parameter, values in model.named_parameters():
        expected = answer["gradients"][parameter]
        assert values.grad is not None
        assert (values.grad - expected).norm() <= RELATIVE * expected.norm(), parameter
