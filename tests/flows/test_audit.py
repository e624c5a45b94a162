import pytest

from review.accounts.models import Project, User
from review.calibration.queries import newest_estimates
from review.sampling.models import Draw, WindowState
from tests import builders


@pytest.mark.django_db
def test_an_audit_goes_from_frame_to_estimates(project: Project, ben: User) -> None:
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2], groups=20)
    run.refresh_from_db()
    rule = builders.open_audit(run, budget=64, waves=2)
    window = rule.windows.get()
    assert window.frame_size == 160
    builders.label_audit(rule, ben)
    window.refresh_from_db()
    assert window.state == WindowState.CLOSED
    assert Draw.objects.filter(window=window).count() == 64
    estimates = newest_estimates(run)
    assert estimates["accuracy"].low <= 0.5 <= estimates["accuracy"].high
    assert estimates["recall"].low <= 0.5 <= estimates["recall"].high
    assert estimates["recall"].labels == 64
