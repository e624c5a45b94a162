"""An audit of the first release goes on under versions."""

from typing import Any

import pytest
from django.apps.registry import Apps
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

APPS = ("runs", "rollouts", "verifiers", "sampling", "labeling", "calibration")


def migrate(name: str | None) -> Apps:
    """The apps that changed to the migration of this name, or to their newest; the models there."""
    executor = MigrationExecutor(connection)
    leaves = executor.loader.graph.leaf_nodes()
    targets = leaves if name is None else [(app, name) for app in APPS]
    executor.migrate(targets)
    executor.loader.build_graph()
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


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_an_audit_of_the_first_release_keeps_its_settings() -> None:
    try:
        rollout = make_audit(migrate("0001_initial"))
        apps = migrate(None)
        version = apps.get_model("sampling", "RuleVersion").objects.get()
        assert (version.number, version.last_step, version.budget, version.waves) == (1, 9, 48, 3)
        assert version.focus["recall"] == 1.0
        assert not version.shows_reference
        assert not version.reviews_contradictions
        assert apps.get_model("sampling", "Wave").objects.get().version_id == version.pk
        assignment = apps.get_model("labeling", "Assignment").objects.get()
        assert (assignment.rollout_id, assignment.cause) == (rollout.pk, "draw")
    finally:
        migrate(None)
