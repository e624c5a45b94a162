"""An installation of the first release goes on as this one."""

from typing import Any

import pytest
from django.apps import apps as django_apps
from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.contrib.contenttypes.management import create_contenttypes
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from review.labeling.models import Assignment
from review.sampling.models import RuleVersion, Wave

APPS = ("runs", "rollouts", "verifiers", "sampling", "labeling", "calibration")


def install_first_release() -> Apps:
    """The models of a new database that knows the first release's tables only."""
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    executor = MigrationExecutor(connection)
    # What later releases squash: a new database would get it in one.
    executor.loader = MigrationLoader(connection, replace_migrations=False)
    targets = [(app, "0001_initial") for app in APPS]
    executor.migrate(targets)
    return executor.loader.project_state(targets).apps


def make_audit(apps: Apps) -> Any:
    """A rule with one drawn and queued rollout, as the first release stored it."""
    project = apps.get_model("accounts", "Project").objects.create(slug="old", name="old")
    run = apps.get_model("runs", "Run").objects.create(
        project=project, uid="r", name="r", group_size=1, normaliser="number-1"
    )
    prompt = apps.get_model("runs", "Prompt").objects.create(run=run, uid="p", text="7 + 8")
    policy = apps.get_model("runs", "Policy").objects.create(run=run, uid="step-0")
    cell = apps.get_model("rollouts", "Cell").objects.create(
        run=run, key="pass/boxed/integer/1|s-|a-|p0|general"
    )
    group = apps.get_model("rollouts", "Group").objects.create(
        run=run, uid="g", prompt=prompt, step=1
    )
    rollout = apps.get_model("rollouts", "Rollout").objects.create(
        run=run,
        step=1,
        uid="a",
        group=group,
        policy=policy,
        cell=cell,
        messages=[],
        steps=[],
    )
    rule = apps.get_model("sampling", "AuditRule").objects.create(
        run=run,
        name="old",
        first_step=1,
        last_step=9,
        window_steps=9,
        budget=48,
        waves=3,
        focus={"recall": 1.0, "fpr": 0.0, "accuracy": 0.0, "hack_rate": 0.0},
    )
    window = apps.get_model("sampling", "Window").objects.create(
        rule=rule, number=0, first_step=1, last_step=9, secret=b"s"
    )
    wave = apps.get_model("sampling", "Wave").objects.create(
        window=window, number=1, planned=1, seed=1
    )
    draw = apps.get_model("sampling", "Draw").objects.create(
        window=window, wave=wave, rollout=rollout, cell=cell, stratum=0, prn=1, weight=1.0
    )
    queue = apps.get_model("labeling", "Queue").objects.create(
        project=project, rule=rule, name="old", shows_reference=False
    )
    apps.get_model("labeling", "Assignment").objects.create(
        queue=queue, wave=wave, draw=draw, rank=0
    )
    return rollout


COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable, character_maximum_length
FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
"""
CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2
"""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
TRIGGERS = "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"


def schema() -> list[tuple[Any, ...]]:
    rows = []
    with connection.cursor() as cursor:
        for query in (COLUMNS, CONSTRAINTS, INDEXES, TRIGGERS):
            cursor.execute(query)
            rows += cursor.fetchall()
    return rows


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_first_release_becomes_this_one_and_its_audit_keeps_its_settings() -> None:
    as_installed = schema()
    try:
        rollout = make_audit(install_first_release())
    finally:
        call_command("migrate", verbosity=0)
        # As an installation does, and no test after it.
        for app in django_apps.get_app_configs():
            create_contenttypes(app)
            create_permissions(app)
        ContentType.objects.clear_cache()
    version = RuleVersion.objects.get()
    assert (version.number, version.last_step, version.budget, version.waves) == (1, 9, 48, 3)
    assert version.focus["recall"] == 1.0
    assert not version.shows_reference
    assert not version.reviews_contradictions
    assert Wave.objects.get().version_id == version.pk
    assignment = Assignment.objects.get()
    assert (assignment.rollout_id, assignment.cause) == (rollout.pk, "draw")
    assert schema() == as_installed
