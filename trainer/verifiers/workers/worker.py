"""The worker processes of a pool: `python -m trainer.verifiers.workers.worker CONTROL_FD MODULE`.

One process, the nursery, imports the task's module once and then forks workers as it is told, so
that a worker that had to be killed is replaced in milliseconds. The nursery runs no work itself.
It ends, and all its workers with it, when its control socket closes: the parent's death, however
it comes, closes it. Messages are JSON, one a line.

The task's module has `run(payload)`, and may have `prepare()`, which the nursery calls once.
"""

import ctypes
import gc
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from time import perf_counter
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_CONTROL_BYTES = 65_536

Task = Callable[[Any], Any]


def main() -> NoReturn:
    control = socket.socket(fileno=int(sys.argv[1]))
    try:
        module = import_module(sys.argv[2])
        getattr(module, "prepare", lambda: None)()
        task: Task = module.run
    except Exception as error:
        _send(control, {"error": f"{type(error).__name__}: {error}"})
        sys.exit(1)
    _send(control, {"ready": True})
    # What is there now is shared with the workers: collecting garbage must not copy its pages.
    gc.collect()
    gc.freeze()
    _serve_parent(control, task)


def _serve_parent(control: socket.socket, task: Task) -> NoReturn:
    workers: set[int] = set()
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, _CONTROL_BYTES, 1)
        if not data:
            for worker in workers:
                _end(worker)
            sys.exit(0)
        order = json.loads(data)
        if "start" in order:
            worker = _fork_worker(control, descriptors[0], int(order["start"]), task)
            workers.add(worker)
            _send(control, {"started": worker})
        else:
            workers.discard(order["end"])
            _send(control, {"ended": _end(order["end"])})


def _fork_worker(control: socket.socket, descriptor: int, memory_bytes: int, task: Task) -> int:
    nursery = os.getpid()
    worker = os.fork()
    if worker:
        os.close(descriptor)
        return worker
    try:
        control.close()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == nursery:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
            _serve_items(socket.socket(fileno=descriptor), task)
    finally:
        os._exit(1)


def _end(worker: int) -> int:
    """Kill the worker, if it still lives, and wait for it; its wait status as exit code."""
    with suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])


def _serve_items(connection: socket.socket, task: Task) -> None:
    """Answer each item as soon as it is done; out of memory, the worker is not fit for more."""
    for line in connection.makefile("r", encoding="utf-8"):
        position, payload = json.loads(line)
        started = perf_counter()
        is_last = False
        try:
            outcome = {"value": task(payload)}
        except MemoryError:
            outcome, is_last = {"lost": "out of memory"}, True
        except Exception as error:
            # Its text may quote what was judged: only the kind of error is told.
            outcome = {"lost": f"the worker raised {type(error).__name__}"}
        seconds = perf_counter() - started
        _send(connection, {"position": position, "seconds": seconds, "is_last": is_last, **outcome})


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
