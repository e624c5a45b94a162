"""Waves that close without an answer: nobody said anything, and that counts."""

import pytest

from review.accounts.models import Project, User
from review.calibration.queries import newest_estimates
from review.calibration.services.estimates import refresh_estimates
from review.flows import audit
from review.labeling.models import Assignment
from review.sampling.models import WaveState
from tests import builders

pytestmark = pytest.mark.django_db


def test_a_wave_that_closes_without_any_answer_changes_the_estimates(
    project: Project, ben: User
) -> None:
    run = builders.make_stored_run(project)
    rule = builders.open_audit(run)
    window = rule.windows.get()
    builders.label_wave(rule, ben)
    before = newest_estimates(run, window)["accuracy"]
    silent = window.waves.get(state=WaveState.OPEN)
    drawn = Assignment.objects.filter(wave=silent).values_list("rollout__uid", flat=True)
    audit.purge_rollouts(run=run, uids=list(drawn), actor="test")
    audit.advance_window(window=window)
    silent.refresh_from_db()
    assert silent.state == WaveState.CLOSED
    after = newest_estimates(run, window)["accuracy"]
    assert after.labels == before.labels
    assert after.unanswered_share == pytest.approx(0.5)
    assert (before.unanswered_share, after.label_set == before.label_set) == (0, False)


def test_what_has_not_changed_is_not_estimated_again(project: Project, ben: User) -> None:
    run = builders.make_stored_run(project)
    rule = builders.open_audit(run, waves=1)
    builders.label_wave(rule, ben)
    assert refresh_estimates(run=run, window=rule.windows.get()) == []
