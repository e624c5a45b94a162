"""The run page of a long run, and the part of it that keeps itself up to date."""

import time

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from review.accounts.models import Project, User
from review.calibration.models import Estimand, Estimate
from review.rollouts.models import StepSummary
from review.runs.models import Run
from review.sampling.models import AuditRule, RuleState, Wave, WaveState, Window, WindowState
from tests import builders

WINDOW_STEPS = 50


def make_long_run(project: Project, steps: int) -> Run:
    """A run of so many steps, audited in windows of fifty with four waves each."""
    run = builders.make_run(project)
    StepSummary.objects.bulk_create(
        StepSummary(run=run, step=step, rollouts=512, accepted=step % 512, abstained=0)
        for step in range(1, steps + 1)
    )
    rule = builders.make_audit(run, window_steps=WINDOW_STEPS, last_step=None)
    AuditRule.objects.filter(pk=rule.pk).update(state=RuleState.ACTIVE)
    for number in range(steps // WINDOW_STEPS):
        add_window(run, rule, number)
    return run


def add_window(run: Run, rule: AuditRule, number: int) -> None:
    first_step = 1 + number * WINDOW_STEPS
    window = Window.objects.create(
        rule=rule,
        number=number,
        first_step=first_step,
        last_step=first_step + WINDOW_STEPS - 1,
        state=WindowState.CLOSED,
        frame_size=WINDOW_STEPS * 512,
    )
    Wave.objects.bulk_create(
        Wave(window=window, number=wave, planned=24, state=WaveState.CLOSED, seed=wave)
        for wave in range(1, 5)
    )
    Estimate.objects.bulk_create(
        Estimate(
            run=run,
            window=window,
            estimand=estimand,
            point=0.5,
            low=0.4,
            high=0.6,
            level=0.95,
            method="test",
            labels=96,
            label_set=f"{number}",
        )
        for estimand in Estimand.values
    )


@pytest.mark.django_db
def test_figures(project: Project, ada: User) -> None:
    client = Client()
    client.force_login(ada)
    for steps in (100, 3000):
        run = make_long_run(project, steps)
        for _ in range(3):
            with CaptureQueriesContext(connection) as queries:
                start = time.process_time()
                page = client.get(reverse("web:run", args=[run.pk]))
                spent = time.process_time() - start
            print(steps, len(queries), f"{spent:.2f} s", len(page.content))
