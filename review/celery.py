"""The Celery application: `celery -A review worker`."""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "review.settings")

app = Celery("review")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
def keep_judges_to_their_hosts(**_: Any) -> None:
    """A wall behind the check of a verifier's parameters: the code that calls refuses by itself.

    Before the worker forks, so that its children have it too. Only workers call judges.
    """
    from django.conf import settings

    from trainer.verifiers.judges.calls import allow_only_hosts

    allow_only_hosts(settings.JUDGE_HOSTS)
