"""Two processes that train together, forked from one that has loaded what they need: a launcher
loads it anew for each, which takes longer than their work here."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch.multiprocessing
from torch.distributed import TCPStore

SIZE = 2
_LIMIT_S = 120
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["accelerate", "torch.distributed.fsdp", "trainer.train"])


def together(
    work: Callable[..., object], *arguments: str, is_spread: bool, printed_to: Path
) -> str:
    """What the first of the processes printed; raises whatever one of them raised."""
    # As under torchrun, whoever starts them also answers their first questions.
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    environment = {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(SIZE),
        # What `accelerate launch --use_fsdp` sets.
        "ACCELERATE_USE_FSDP": str(is_spread).lower(),
    }
    started = torch.multiprocessing.start_processes(
        _process,
        (environment, printed_to, work, arguments),
        nprocs=SIZE,
        join=False,
        start_method="forkserver",
    )
    end = time.monotonic() + _LIMIT_S
    while not started.join(timeout=1):
        if time.monotonic() > end:
            for process in started.processes:
                process.kill()
    return printed_to.read_text()


def _process(
    rank: int,
    environment: dict[str, str],
    printed_to: Path,
    work: Callable[..., object],
    arguments: tuple[str, ...],
) -> None:
    for name in [name for name in os.environ if name.startswith("ASSAY_")]:
        del os.environ[name]
    os.environ |= environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    with (printed_to if rank == 0 else Path(os.devnull)).open("w") as sys.stdout:
        work(*arguments)
