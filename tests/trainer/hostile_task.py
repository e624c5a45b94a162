"""A pool's task that does to its worker what it is told."""

import os
import signal
import sys
import time
from typing import Any


def run(payload: Any) -> Any:
    what, value = payload
    if what == "hang":
        time.sleep(3600)
    elif what == "spin":
        while True:
            pass
    elif what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "leave":
        os._exit(3)
    elif what == "eat":
        return len(bytearray(2**40))
    elif what == "raise":
        raise RuntimeError("with what was judged in it")
    elif what == "print":
        for stream in (sys.stdout, sys.stderr):
            stream.write("{}\n")
            stream.flush()
    elif what == "forge":
        for descriptor in range(3, 64):
            try:
                os.write(descriptor, b'{"position": 0, "value": "forged"}\n')
            except OSError:
                continue
    elif what == "sleep":
        time.sleep(value)
    elif what == "pid":
        return os.getpid()
    return value
