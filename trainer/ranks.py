"""The processes of one run, and what they tell each other.

Each samples, judges and differentiates its share of a step's groups; sums make the figures whole.
Started alone, a run is one process; `accelerate launch` starts several, and DDP averages their
gradients. With `--use_fsdp` weights, gradients and optimisers are spread over them (FSDP2, layer by
layer). We do that ourselves: accelerate does it on GPUs alone, where no test of ours runs.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import Module
from torch.optim import Optimizer

from trainer.critic import Critic
from trainer.policy import Policy

_Item = TypeVar("_Item")
_LET_GO_S = 0.2
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_FROM_FIRST = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


class Ranks:
    """One process among `size`, number `rank`. The first talks to the server and writes files."""

    def __init__(self) -> None:
        self._accelerator = None
        self._is_spread = False
        self.rank, self.size = 0, 1
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import Accelerator

            self._accelerator = Accelerator(cpu=self.device.type == "cpu")
            self.rank = self._accelerator.process_index
            self.size = self._accelerator.num_processes
            self.device = self._accelerator.device
            self._is_spread = os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def __str__(self) -> str:
        spread = "weights spread over them (FSDP2)" if self._is_spread else "weights in each (DDP)"
        return "1 process" if self.size == 1 else f"{self.size} processes, {spread}"

    def share(self, n: int) -> range:
        """Which of n things are this process's."""
        return range(self.rank, n, self.size)

    def wrapped(self, module: Module) -> Module:
        """The module on its device, with gradients averaged over the processes."""
        self.place(module)
        if self._accelerator is None or self._is_spread:
            return module
        wrapped: Module = self._accelerator.prepare(module)
        return wrapped

    def place(self, module: Module) -> None:
        """Put the module on its device; where weights are spread, each process keeps a part."""
        module.to(self.device)
        if not self._is_spread:
            return
        # A policy's model runs by itself as well, in sampling: it is the outermost that is spread.
        whole = module.model if isinstance(module, Policy) else module
        mesh = init_device_mesh(self.device.type, (self.size,))
        for layer in _layers(whole):
            fully_shard(layer, mesh=mesh)
        if isinstance(module, Critic):  # of another type than its layers may be
            fully_shard(module.head, mesh=mesh)
        root = fully_shard(whole, mesh=mesh, reshard_after_forward=False)
        root.set_force_sum_reduction_for_comms(enable=True)  # gloo has no mean

    @contextmanager
    def kept_apart(self, modules: Sequence[Module], *, is_kept: bool) -> Iterator[None]:
        """While entered, gradients stay with their processes: the last of several backward passes
        averages the sum of all. Spread ones are averaged at once: nobody has room for them all."""
        with ExitStack() as stack:
            if self._accelerator is not None and is_kept and not self._is_spread:
                for module in modules:
                    stack.enter_context(self._accelerator.no_sync(module))
            yield

    def sums(self, values: Sequence[float]) -> list[float]:
        """Each value added up over the processes."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def largest(self, value: int) -> int:
        if self.size == 1:
            return value
        largest = torch.tensor(value, device=self.device)
        distributed.all_reduce(largest, op=distributed.ReduceOp.MAX)
        return int(largest)

    def gathered(self, item: _Item) -> list[_Item]:
        """Every process's item, by rank."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        distributed.all_gather_object(items, item)
        return items

    def pooled(self, items: Sequence[_Item]) -> list[_Item]:
        """Every process's items."""
        return [item for part in self.gathered(items) for item in part]

    def from_first(self, item: _Item) -> _Item:
        """What the first process has."""
        if self.size == 1:
            return item
        items = [item]
        distributed.broadcast_object_list(items, src=0)
        return items[0]

    def wait(self) -> None:
        if self.size > 1:
            distributed.barrier()

    def close(self) -> None:
        if self._accelerator is not None:
            # A thread of gloo's lets go of the last word under the interpreter's lock. Who ended
            # before would wait for that thread with the lock in hand, for ever.
            time.sleep(_LET_GO_S)
            self._accelerator.end_training()

    def model_state(self, module: Module) -> dict[str, Any]:
        """The whole state on the CPU, for the first process to write."""
        return (
            module.state_dict() if self.size == 1 else get_model_state_dict(module, options=_WHOLE)
        )

    def set_model_state(self, module: Module, state: dict[str, Any]) -> None:
        if self.size == 1:
            module.load_state_dict(state)
        else:
            set_model_state_dict(module, state if self.is_first else {}, options=_FROM_FIRST)

    def optimiser_state(self, module: Module, optimiser: Optimizer) -> dict[str, Any]:
        if self.size == 1:
            return optimiser.state_dict()
        if not optimiser.state:  # no step yet: to be asked for its state, it would take one
            return {}
        return get_optimizer_state_dict(module, optimiser, options=_WHOLE)

    def set_optimiser_state(
        self, module: Module, optimiser: Optimizer, state: dict[str, Any]
    ) -> None:
        if not self.from_first(bool(state.get("state"))):  # it had taken no step
            return
        if self.size == 1:
            optimiser.load_state_dict(state)
        else:
            mine = state if self.is_first else {}
            set_optimizer_state_dict(module, optimiser, mine, options=_FROM_FIRST)


class WholeWeights:
    """While entered, spread weights are whole in each process, which may run forward passes as
    often as it likes: nothing waits for the others."""

    def __init__(self, module: Module) -> None:
        self._spread = [part for part in module.modules() if isinstance(part, FSDPModule)]

    def __enter__(self) -> None:
        for part in self._spread:
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()

    def __exit__(self, *exception: object) -> None:
        for part in self._spread:
            part.reshard()
        for layer in self._spread[1:]:
            layer.set_reshard_after_forward(True, recurse=False)


def copy_weights(source: Module, target: Module) -> None:
    """Give a module of the same shape, spread the same way, the weights of another."""
    with torch.no_grad():
        for mine, theirs in zip(target.parameters(), source.parameters(), strict=True):
            mine.copy_(theirs)


def clip_gradients(module: Module, largest: float) -> float:
    """Scale gradients down to this norm; answers the norm they had."""
    norm: Tensor = torch.nn.utils.clip_grad_norm_(module.parameters(), largest)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def _layers(module: Module) -> list[Module]:
    """The blocks that a transformer repeats, as transformers names them."""
    names = {
        name for part in module.modules() for name in getattr(part, "_no_split_modules", None) or ()
    }
    return [part for part in module.modules() if type(part).__name__ in names]
