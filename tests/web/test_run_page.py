"""The run page of a long run, and the part of it that keeps itself up to date."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from review.accounts.models import Project, User
from review.calibration.models import Estimand, Estimate, RewardTable
from review.rollouts.models import StepSummary
from review.runs.models import Run
from review.sampling.models import AuditRule, RuleState, Wave, WaveState, Window, WindowState
from review.web.charts import _gap_svg
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
        Wave(
            window=window,
            version=rule.current,
            number=wave,
            planned=24,
            state=WaveState.CLOSED,
            seed=wave,
        )
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
        if not estimand.startswith("criterion")  # those are of a rubric's criteria
    )


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.django_db
def test_a_long_run_costs_the_queries_of_a_short_one_and_its_page_stays_readable(
    project: Project, ada: User
) -> None:
    client, counts = signed_in(ada), []
    for steps in (2 * WINDOW_STEPS, 60 * WINDOW_STEPS):
        run = make_long_run(project, steps)
        with CaptureQueriesContext(connection) as queries:
            page = client.get(reverse("web:run", args=[run.pk])).content.decode()
        counts.append(len(queries))
        assert page.count("<tr>") < 250 + 150
    assert counts[0] == counts[1]
    assert "Each point is 12 steps." in page
    assert "2989 to 3000" in page


@pytest.mark.django_db
def test_a_poll_that_has_seen_it_all_gets_nothing_and_draws_nothing(
    project: Project, ada: User
) -> None:
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2], groups=1)
    client = signed_in(ada)
    page = client.get(reverse("web:run", args=[run.pk])).content.decode()
    (poll,) = re.findall(r'hx-get="([^"]+live[^"]+)"', page)
    drawn = _gap_svg.cache_info().misses
    assert client.get(poll).status_code == 204
    assert _gap_svg.cache_info().misses == drawn
    builders.store_steps(run, [3], groups=1)
    part = client.get(poll)
    assert part.status_code == 200
    assert part.content.decode().lstrip().startswith('<div id="live"')
    assert _gap_svg.cache_info().misses == drawn + 1


@pytest.mark.django_db
def test_a_table_that_outlives_its_steps_is_marked(project: Project, ada: User) -> None:
    run = builders.make_run(project)
    RewardTable.objects.create(
        run=run,
        version=1,
        rule="posterior",
        valid_from_step=2,
        valid_to_step=3,
        labels=8,
        body="{}",
        digest="d",
        preview={},
        created_by="ada",
    )
    url = reverse("web:run", args=[run.pk])
    for step, marks in ((3, 0), (4, 1)):
        StepSummary.objects.create(
            run=run, step=step, rollouts=4, accepted=2, abstained=0, table_version=1
        )
        page = signed_in(ada).get(url).content.decode()
        assert page.count("past its steps") == marks


@pytest.mark.django_db
def test_a_lead_has_completions_cut_into_steps_by_another_rule(project: Project, ada: User) -> None:
    run = builders.make_stored_run(project, groups=1)
    client = Client()
    client.force_login(ada)
    url = reverse("web:run-steps", args=[run.pk])
    page = client.post(url, {"segmenter": "sentence"}, follow=True).content.decode()
    run.refresh_from_db()
    assert run.segmenter == "sentence"
    assert '<option value="sentence" selected>' in page
    # No worker has come by yet.
    assert "8 rollouts are still cut as before" in page
    assert client.post(url, {"segmenter": "by ear"}).status_code == 422
