"""How weights are changed: AdamW, by steps in float32 whatever the weights are kept in."""

import math
from typing import Any

import torch
from torch.nn import Module, Parameter
from torch.optim import AdamW

from trainer.policy import trained
from trainer.ranks import Ranks, clip_gradients


class Optimiser:
    """AdamW over the parameters of a module that are trained.

    Those in bfloat16 have copies in float32 that steps are added to, for bfloat16 rounds a step of
    less than about 1/256 of a weight away (Mixed Precision Training, arXiv:1710.03740, sec. 3.1).
    Deviation from it: gradients of several backward passes are added up in bfloat16.
    """

    def __init__(
        self,
        module: Module,
        ranks: Ranks,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        """module: with the weights that it starts from, wrapped for its processes."""
        self._module, self._ranks = module, ranks
        in_float32 = all(parameter.dtype == torch.float32 for parameter in trained(module))
        self._copies = None if in_float32 else _Copies(module)
        self._stepped = self._copies or module
        self._adam = AdamW(
            trained(self._stepped), lr=0.0, betas=betas, weight_decay=weight_decay, fused=True
        )

    def take_step(self, rate: float, *, largest_norm: float) -> bool:
        """Change the weights by their gradients, which are scaled down to this norm and then gone.

        Answers whether it did: by a gradient that is not finite nothing is changed.
        """
        if self._copies is not None:
            self._copies.take_gradients()
        if not math.isfinite(clip_gradients(self._stepped, largest_norm)):
            return False
        for parameters in self._adam.param_groups:
            parameters["lr"] = rate
        self._adam.step()
        if self._copies is not None:
            self._copies.give_weights()
        self._module.zero_grad(set_to_none=True)
        return True

    def states(self, name: str) -> dict[str, dict[str, Any]]:
        """What a checkpoint holds of it, under this name and others that begin with it."""
        states = {name: self._ranks.optimiser_state(self._stepped, self._adam)}
        if self._copies is not None:
            states[f"{name}_weights"] = self._ranks.model_state(self._copies)
        return states

    def restore(self, states: dict[str, dict[str, Any]], name: str) -> None:
        """The same again. The module's own weights are somebody else's to restore."""
        self._ranks.set_optimiser_state(self._stepped, self._adam, states[name])
        if self._copies is not None:
            self._ranks.set_model_state(self._copies, states[f"{name}_weights"])


class _Copies(Module):
    """A module's trained parameters, in float32."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        self._originals = trained(module)
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                copy = Parameter(parameter.detach().float())
                # The same names whether the module is wrapped for several processes or not.
                self.register_parameter(name.removeprefix("module.").replace(".", "/"), copy)

    def take_gradients(self) -> None:
        for copy, original in zip(self.parameters(), self._originals, strict=True):
            copy.grad = None if original.grad is None else original.grad.float()

    @torch.no_grad()
    def give_weights(self) -> None:
        for copy, original in zip(self.parameters(), self._originals, strict=True):
            original.copy_(copy)
            copy.grad = None
