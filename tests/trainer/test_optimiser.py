"""Steps of the optimiser, with weights in float32 and in bfloat16."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor
from torch.nn import Linear, Module, Sequential

from trainer.optimiser import Optimiser
from trainer.ranks import Ranks

RATE = 1e-6


def layers(dtype: torch.dtype) -> Sequential:
    torch.manual_seed(3)
    return Sequential(Linear(8, 8), Linear(8, 4)).to(torch.bfloat16).to(dtype)


def give_gradients(module: Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in module.parameters():
        gradient = 1 + torch.rand(parameter.shape, generator=generator)
        parameter.grad = gradient.to(torch.bfloat16).to(parameter.dtype)


def take_steps(module: Module, optimiser: Optimiser, steps: range, rate: float = RATE) -> Tensor:
    for step in steps:
        give_gradients(module, step)
        assert optimiser.take_step(rate, largest_norm=1.0)
    return torch.cat([weight.detach().float().flatten() for weight in module.parameters()])


def test_float32_weights_take_the_steps_of_adamw() -> None:
    ours, theirs = layers(torch.float32), layers(torch.float32)
    moved = take_steps(ours, Optimiser(ours, Ranks(), weight_decay=0.1), range(5), rate=1e-2)
    adam = torch.optim.AdamW(theirs.parameters(), lr=1e-2, weight_decay=0.1)
    for step in range(5):
        give_gradients(theirs, step)
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        adam.step()
    torch.testing.assert_close(moved, torch.nn.utils.parameters_to_vector(theirs.parameters()))


def test_steps_too_small_for_bfloat16_add_up() -> None:
    exact, rounded = layers(torch.float32), layers(torch.bfloat16)
    before = torch.cat([weight.detach().flatten() for weight in exact.parameters()])
    expected = take_steps(exact, Optimiser(exact, Ranks()), range(2_000))
    moved = take_steps(rounded, Optimiser(rounded, Ranks()), range(2_000))
    assert (expected - before).abs().min() > 1e-3  # by many steps, each of them a millionth
    torch.testing.assert_close(moved, expected, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_restored_optimiser_goes_on_as_if_it_had_not_stopped(dtype: torch.dtype) -> None:
    module, other = layers(dtype), layers(dtype)
    optimiser, again = Optimiser(module, Ranks()), Optimiser(other, Ranks())
    take_steps(module, optimiser, range(7))
    other.load_state_dict(module.state_dict())
    again.restore(deepcopy(optimiser.states("optimiser")), "optimiser")
    expected = take_steps(module, optimiser, range(7, 2_000))
    assert torch.equal(take_steps(other, again, range(7, 2_000)), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradient_that_is_not_finite_changes_nothing(dtype: torch.dtype) -> None:
    module = layers(dtype)
    optimiser = Optimiser(module, Ranks())
    before = [weight.detach().clone() for weight in module.parameters()]
    give_gradients(module, 0)
    bias = module[1].bias
    assert bias is not None
    assert bias.grad is not None
    bias.grad[2] = float("inf")
    assert not optimiser.take_step(1.0, largest_norm=1.0)
    assert all(map(torch.equal, before, module.parameters()))
