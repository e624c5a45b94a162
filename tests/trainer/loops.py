"""Coroutines in a thread of their own: a browser test leaves this one with a loop that runs."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def finished(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """What the coroutine comes to."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
