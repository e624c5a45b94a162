"""The Celery application: `celery -A review worker`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "review.settings")

app = Celery("review")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
