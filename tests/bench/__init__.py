"""Benchmarks: commands of their own, on services of their own. Not collected by the tests."""

import os

import django

from tests import environment

assert environment.postgres
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "review.settings")
django.setup()
