"""Kills what a supervisor leaves behind that was itself killed: a server may be deaf to a request.

Usage: python -m review.core.embedded.watcher SECONDS

Reads process groups from its input, a line each: 12 is running, -12 is gone. The input ends with
the supervisor; what is running then has so many seconds to end by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from review.core.embedded.paths import PROJECT_ROOT

POLL_S = 0.1


@contextmanager
def watched(grace_s: float) -> Iterator[Callable[[int], None]]:
    """A watcher beside this process, and how to tell it of a group: 12, and -12 afterwards."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "review.core.embedded.watcher", str(grace_s)],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        # A terminal's Ctrl-C is none of its business.
        start_new_session=True,
    ) as process:

        def tell(group: int) -> None:
            assert process.stdin is not None  # noqa: S101 - it is a pipe
            # Without a watcher all else goes on.
            with suppress(OSError):
                process.stdin.write(f"{group}\n")
                process.stdin.flush()

        yield tell


def main() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        number = int(line)
        groups = groups | {number} if number > 0 else groups - {-number}
    deadline = time.monotonic() + float(sys.argv[1])
    while any(map(is_left, groups)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def is_left(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
