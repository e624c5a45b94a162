"""Killable worker processes for work that may hang, crash or eat memory.

Whatever one item does to its worker, that item alone is lost, with a reason; the worker is
replaced and the others keep their answers. The clock is the parent's: no signal is used, so that
a pool works in any thread and inside daemonic processes (a Celery worker), which may not have
children of `multiprocessing`. `trainer.verifiers.workers.worker` is the other side.
"""

import atexit
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from trainer.verifiers.workers.batch import Answer, Batch, Limits
from trainer.verifiers.workers.crew import Crew

__all__ = ["Answer", "Limits", "Pool", "pool_of"]


class Pool:
    """Workers that run one task: the `run(payload)` of a module; payloads and values are JSON.

    They start with the first batch, are kept for the next, and end with `close` or with this
    process, however it ends. Any thread may bring a batch; one is worked on at a time.
    """

    def __init__(self, module: str) -> None:
        self._lock = threading.Lock()
        self._crew = Crew(module)
        _all_pools.add(self)

    def map(self, payloads: Sequence[Any], limits: Limits) -> list[Answer]:
        """One answer a payload, in order.

        It takes at most about `limits.seconds * (len(payloads) / limits.workers + 1)`, and the
        time of the first start. It raises for nothing that an item does; where no worker can be
        had, every item is lost.
        """
        with self._lock:
            try:
                return Batch(self._crew, payloads, limits).run()
            except BaseException:
                # Interrupted: what the workers are at belongs to no batch any more.
                self._crew.close()
                raise

    def close(self) -> None:
        """End the workers and wait for them. The next batch starts new ones."""
        with self._lock:
            self._crew.close()

    def worker_pids(self) -> list[int]:
        """The process ids of the workers that are up."""
        return [worker.pid for worker in self._crew.workers]

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._crew.forget()


_all_pools: "weakref.WeakSet[Pool]" = weakref.WeakSet()
_shared: dict[str, Pool] = {}
_shared_lock = threading.Lock()


def pool_of(module: str) -> Pool:
    """This process's pool for the task of this module, made when first asked for."""
    with _shared_lock:
        if module not in _shared:
            _shared[module] = Pool(module)
        return _shared[module]


def _close_all() -> None:
    for pool in list(_all_pools):
        pool.close()


def _forget_all() -> None:
    global _shared_lock
    _shared_lock = threading.Lock()
    for pool in list(_all_pools):
        pool._forget()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)
