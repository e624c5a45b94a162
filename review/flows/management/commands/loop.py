"""The closed loop, measured: raw, calibrated and true reward, and others, from one cold start."""

import io
import os
import shutil
import socket
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from review.core.embedded import paths
from review.core.embedded.broker import EmbeddedBroker
from review.core.embedded.folders import require_free_space
from review.core.embedded.instance import single_instance
from review.core.embedded.supervisor import ProcessSpec, Supervisor
from review.flows.management.processes import HOST, NICE, server_processes
from review.flows.seeding import seed_loop

NEEDED_MB = 500
DRIVER = "driver"
INTERRUPTED = 130


class Command(BaseCommand):
    help = __doc__
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--seeds", nargs="+", type=_seeds, default=[[0]], help="0 1 2 or 0,1,2")
        parser.add_argument("--out", type=Path, default=Path("loop"), help="for runs and figures")
        parser.add_argument("--comparison", default="loop", help="loop, hack or hack-full")
        parser.add_argument("--arms", default="", help="instead of a comparison's, as raw,true")

    def handle(
        self,
        *args: str,
        seeds: list[list[int]],
        out: Path,
        comparison: str,
        arms: str,
        **options: Any,
    ) -> None:
        home, port = paths.home(), _free_port()
        url, folder = f"http://{HOST}:{port}", out.absolute()
        with ExitStack() as stack:
            stack.enter_context(single_instance(home, url))
            require_free_space(home, at_least_mb=NEEDED_MB)
            if not os.environ.get("CELERY_BROKER_URL"):
                broker = stack.enter_context(EmbeddedBroker(home / "broker"))
                os.environ["CELERY_BROKER_URL"] = broker.url()
            # The processes find the tree in their working folder, wherever this was called.
            os.environ["ASSAY_HOME"] = str(home)
            os.chdir(paths.PROJECT_ROOT)
            call_command("migrate", interactive=False, verbosity=0)
            compared = ["--arms", arms] if arms else ["--comparison", comparison]
            numbers = [seed for part in seeds for seed in part]
            status = _measure(numbers, folder, url, home, compared)
        sys.exit(status)


def _measure(
    seeds: Sequence[int], folder: Path, url: str, home: Path, compared: Sequence[str]
) -> int:
    for seed in seeds:
        # Runs of an earlier comparison; the cold starts stay.
        shutil.rmtree(folder / f"seed-{seed}", ignore_errors=True)
    log = home / "services.log"
    with log.open("w", encoding="utf-8") as services:
        output = DriverOutput(services)
        port = int(url.rpartition(":")[2])
        specs = [*server_processes(port, home), _driver(seeds, folder, url, compared)]
        stopped = Supervisor(output=output).run(specs) == 0
    if output.is_done:
        return 0
    if stopped:
        return INTERRUPTED
    sys.stderr.write(f"error: the comparison ended early; what the server said is in {log}\n")
    return 1


def _driver(seeds: Sequence[int], folder: Path, url: str, compared: Sequence[str]) -> ProcessSpec:
    tokens = seed_loop()
    return ProcessSpec(
        DRIVER,
        [
            *(*NICE, sys.executable, "-m", "trainer.demo.loop", "--url", url),
            *("--seeds", ",".join(map(str, seeds)), "--out", str(folder), *compared),
        ],
        env={
            "ASSAY_INGEST_TOKEN": tokens.ingest,
            "ASSAY_LABEL_TOKENS": ",".join(tokens.labels),
            "ASSAY_LEAD_TOKEN": tokens.lead,
        },
    )


class DriverOutput(io.StringIO):
    """What the supervisor writes: the driver's lines go to stdout bare, all others to the log."""

    def __init__(self, log: io.TextIOWrapper) -> None:
        super().__init__()
        self._log = log
        self.is_done = False

    def write(self, text: str, /) -> int:
        name, _, line = text.partition(" | ")
        if line and name.strip() == DRIVER:
            sys.stdout.write(line)
            sys.stdout.flush()
        else:
            self._log.write(text)
            self._log.flush()
        self.is_done = self.is_done or text.startswith(f"{DRIVER} finished")
        return len(text)


def _seeds(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])
