"""A page that is prepared ahead gives way to an answer that somebody waits for.

The threads of a web process share one interpreter. A label's commit is many short steps between
answers of the database; beside two pages being rendered it would take three times as long.
"""

from collections.abc import Callable
from functools import wraps
from threading import Event, Lock, local
from time import monotonic
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# Of all its waiting, what a page puts up with.
LONGEST_S = 0.3


class _Urgent:
    """How many answers of this process are waited for."""

    def __init__(self) -> None:
        self.none = Event()
        self.none.set()
        self._lock = Lock()
        self._number = 0

    def count(self, change: int) -> None:
        with self._lock:
            self._number += change
            if self._number:
                self.none.clear()
            else:
                self.none.set()


_urgent = _Urgent()
_thread = local()


def urgent(view: Callable[P, R]) -> Callable[P, R]:
    """Whoever asked for this sits and waits."""

    @wraps(view)
    def answer(*args: P.args, **kwargs: P.kwargs) -> R:
        _urgent.count(1)
        try:
            return view(*args, **kwargs)
        finally:
            _urgent.count(-1)

    return answer


def patient(view: Callable[P, R]) -> Callable[P, R]:
    """Nobody has asked for this yet: it may take a little longer."""

    @wraps(view)
    def answer(*args: P.args, **kwargs: P.kwargs) -> R:
        _thread.patience_s = LONGEST_S
        try:
            return view(*args, **kwargs)
        finally:
            _thread.patience_s = 0.0

    return answer


def give_way() -> None:
    """In a patient view: wait while something urgent is under way, as long as patience lasts."""
    patience_s = getattr(_thread, "patience_s", 0.0)
    if patience_s <= 0 or _urgent.none.is_set():
        return
    started = monotonic()
    _urgent.none.wait(patience_s)
    _thread.patience_s = patience_s - (monotonic() - started)
