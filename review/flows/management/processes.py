"""The processes that the commands demo and loop run side by side."""

import sys
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from review.core.embedded.supervisor import ProcessSpec

HOST = "127.0.0.1"
WEB_THREADS = 4
# For what computes: the pages stay quick beside it.
NICE = ("nice", "-n", "10")
CELERY = (sys.executable, "-m", "celery", "--quiet", "-A", "review")


def server_processes(port: int, home: Path) -> list[ProcessSpec]:
    """Web, worker and beat, small enough to leave two cores to a trainer."""
    return [
        ProcessSpec(
            "web",
            [
                *(sys.executable, "-m", "granian", "--interface", "wsgi", "--log-level", "warning"),
                *("--host", HOST, "--port", str(port)),
                *("--workers", "1", "--blocking-threads", str(WEB_THREADS)),
                "review.wsgi:application",
            ],
            # Browsers keep cookies marked secure from plain http.
            env={"HTTPS": "false"},
            readiness=answers(port),
        ),
        ProcessSpec(
            "worker",
            [
                *(*CELERY, "worker", "--loglevel", "WARNING", "--pool", "solo"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            ],
            # Nothing to add to what root knows: on one's own machine the demo may run as root.
            env={"PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges"},
        ),
        ProcessSpec(
            "beat",
            [
                *(*CELERY, "beat", "--loglevel", "WARNING", "--pidfile", ""),
                *("--schedule", str(home / "beat-schedule")),
            ],
        ),
    ]


def answers(port: int) -> Callable[[], bool]:
    """Whether a web server answers there; asked directly, whatever proxy is configured."""

    def ask() -> bool:
        connection = HTTPConnection(HOST, port, timeout=5)
        with suppress(OSError, HTTPException):
            connection.request("GET", "/login/")
            return connection.getresponse().status < 500
        return False

    return ask
