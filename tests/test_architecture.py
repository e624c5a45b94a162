"""What holds for the house as a whole, beyond what the import rules say."""

import json
import subprocess
import sys

import pytest
from django.core.management import call_command

from tests import ROOT

LOADED = """
import json, sys
import django
django.setup()
import review.celery
from django.urls import get_resolver
get_resolver().reverse_dict
review.celery.app.loader.import_default_modules()
tasks = [name for name in review.celery.app.tasks if name.startswith("review.")]
print(json.dumps({"modules": sorted(sys.modules), "tasks": tasks}))
"""


def test_the_server_loads_neither_torch_nor_the_trainers_loop() -> None:
    """Not with all its pages, calls and tasks loaded."""
    answer = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=ROOT,
        env=None,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    loaded = json.loads(answer.stdout)
    assert "review.flows.tasks.sweep_task" in loaded["tasks"]
    modules = set(loaded["modules"])
    assert {"review.api.v1.urls", "review.web.urls", "review.flows.tasks"} <= modules
    assert not modules & {"torch", "transformers", "trainer.train", "trainer.client"}


@pytest.mark.django_db
def test_the_migrations_are_what_the_models_say() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
