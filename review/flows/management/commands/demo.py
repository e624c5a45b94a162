"""The whole story on one machine: server, two training runs, an audit that waits for labels."""

import os
import shutil
import signal
import sys
from argparse import ArgumentParser
from pathlib import Path
from textwrap import indent
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.urls import reverse

from review.core.embedded import paths
from review.core.embedded.broker import EmbeddedBroker
from review.core.embedded.errors import EmbeddedServiceError
from review.core.embedded.folders import make_private_folder, require_free_space
from review.core.embedded.instance import chosen_port, require_free_port, single_instance
from review.core.embedded.supervisor import ProcessSpec, Supervisor
from review.flows.management.processes import HOST, NICE, server_processes
from review.flows.seeding import LEAD, REVIEWERS, SEED, Demo, SeededRun, seed_demo

NEEDED_MB = 500
GRACE_S = 5.0
WELCOME = """\
Assay runs at {url}
Log in with one of these (kept in {secrets}):

{people}

Two runs train the same small model on sums. At a first start it takes about two minutes
until their rollouts arrive.

1. The verifier's verdict is the reward ({raw_status}). See it as ada, the lead:
   {raw_url}
   The reward rises while the accuracy falls. A script labels the audit of this run.

2. Your labels make the reward ({people_status}). Before step {first_step} it waits for them.
   Label as ben or cyd, the reviewers; the first wave of 48 gives the first estimates:
   {queue_url}
   Then as ada build a reward table for steps {first_step} to {last_step} and publish it:
   {people_url}
   The training goes on with it.

Ctrl-C stops everything. Removing {home} starts over.
"""


class Command(BaseCommand):
    help = __doc__
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-train", action="store_true", help="serve what there is")

    def handle(self, *args: str, no_train: bool = False, **options: Any) -> None:
        if os.environ.get("DATABASE_URL") or os.environ.get("CELERY_BROKER_URL"):
            raise EmbeddedServiceError(
                "The demo makes accounts and runs on servers of its own: unset DATABASE_URL and "
                "CELERY_BROKER_URL."
            )
        port, home = chosen_port(), paths.home()
        url = f"http://{HOST}:{port}"
        with single_instance(home, url):
            require_free_port(HOST, port)
            require_free_space(home, at_least_mb=NEEDED_MB)
            # The processes find the tree in their working folder, wherever this was called.
            os.environ["ASSAY_HOME"] = str(home)
            os.chdir(paths.PROJECT_ROOT)
            with EmbeddedBroker(home / "broker") as broker:
                os.environ["CELERY_BROKER_URL"] = broker.url()
                self._serve(url, port, home / "demo", is_training=not no_train)

    def _serve(self, url: str, port: int, folder: Path, *, is_training: bool) -> None:
        self.stdout.write("Starting: the first time takes some seconds longer.")
        call_command("migrate", interactive=False, verbosity=0)
        make_private_folder(folder, None)
        demo = seed_demo(folder / "secrets.json")
        specs = server_processes(port, folder)
        if is_training:
            specs += training_processes(demo, url, folder)
        text = welcome(demo, url, folder)
        sys.exit(Supervisor(grace_s=GRACE_S).run(specs, lambda: self.stdout.write(text)))


def training_processes(demo: Demo, url: str, folder: Path) -> list[ProcessSpec]:
    """What has not finished yet of: the script that labels, and the two trainers."""
    specs = []
    if demo.raw.has_open_audit:
        specs.append(
            ProcessSpec(
                "script",
                [
                    *(*NICE, sys.executable, "-m", "trainer.demo.reviewer"),
                    *(str(queue.pk) for queue in demo.raw.queues),
                ],
                env={"ASSAY_URL": url, "ASSAY_TOKEN": demo.script_token},
                required=False,
            )
        )
    for name, seeded in (("people", demo.people), ("raw", demo.raw)):
        if seeded.run.is_running:
            specs.append(_trainer(name, seeded, url, folder))
    return specs


def _trainer(name: str, seeded: SeededRun, url: str, folder: Path) -> ProcessSpec:
    out = folder / name
    has_checkpoint = (out / "checkpoint.pt").exists()
    if not has_checkpoint:
        # It starts over. The server knows what it gets again by its uids.
        shutil.rmtree(out, ignore_errors=True)
    return ProcessSpec(
        name,
        [
            *(*NICE, sys.executable, "-m", "trainer", "train", str(seeded.recipe)),
            *("--seed", str(SEED), "--reward", seeded.reward_source),
            *("--run-uid", seeded.run.uid, "--out", str(out)),
            *("--cold-starts", str(folder / "cold-starts")),
            *(["--resume"] if has_checkpoint else []),
        ],
        env={"ASSAY_URL": url, "ASSAY_TOKEN": seeded.token, "OMP_NUM_THREADS": "1"},
        # Ends it at once: the other signals let it finish its step, or wait on for a table.
        # Nothing is lost but the steps since the last checkpoint.
        stop_signal=signal.SIGHUP,
        required=False,
    )


def welcome(demo: Demo, url: str, folder: Path) -> str:
    raw, people = demo.raw.run, demo.people.run
    text = WELCOME.format(
        url=url,
        people="\n".join(f"{name:<5}{demo.passwords[name]}" for name in (LEAD, *REVIEWERS)),
        secrets=folder / "secrets.json",
        raw_status=raw.status,
        raw_url=url + reverse("web:run", args=[raw.pk]),
        people_status=people.status,
        people_url=url + reverse("web:run", args=[people.pk]),
        queue_url=url + reverse("web:queue", args=[demo.people.queues[0].pk]),
        first_step=people.config["reward"]["warm_up_steps"] + 1,
        last_step=people.config["grpo"]["steps"],
        home=folder.parent,
    )
    rule = "=" * 88
    return f"{rule}\n{indent(text, '  ')}{rule}"
