"""A worker calls the judges' hosts of the setting alone, whatever was let pass before it."""

import subprocess
import sys

from tests import ROOT
from tests.conftest import service_environment

# As `celery worker` starts: the signal goes out before the pool is made.
WORKER = """
from celery.signals import worker_init
from review.celery import app

worker_init.send(sender=app)
from trainer.verifiers import ParameterError, build

for url in ("http://judge.example.org/v1", "http://169.254.169.254/v1"):
    try:
        print(build("judge", model="m", base_url=url).name)
    except ParameterError as error:
        print(error)
"""


def test_a_worker_keeps_judges_to_the_hosts_of_the_setting() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", WORKER],
        cwd=ROOT,
        env=service_environment() | {"ASSAY_JUDGE_HOSTS": "judge.example.org"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert answer.stdout.splitlines() == [
        "judge",
        "base_url: the host 169.254.169.254:80 is not among those allowed",
    ]
