from uuid import uuid4

import pytest

from review.accounts.models import Project, User
from review.calibration.queries import newest_estimates
from review.flows import audit, labels
from review.labeling.models import Answer
from review.labeling.services import NewLabel, take_next
from review.sampling.models import Draw, WindowState
from tests import builders


@pytest.mark.django_db
def test_an_audit_goes_from_frame_to_estimates(project: Project, ben: User) -> None:
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2], groups=20)
    rule = builders.make_audit(run, budget=64, waves=2)
    audit.start_audit(rule=rule, actor="test")
    run.refresh_from_db()
    audit.open_windows(run=run)
    window = rule.windows.get()
    assert window.frame_size == 160

    for _ in range(2):
        while assignment := take_next(queue=rule.queue, reviewer=ben):
            text = assignment.draw.rollout.messages[-1]["content"]
            is_right = text.count("boxed") == 1 and "15" in text.split("so")[1]
            labels.commit_label(
                assignment=assignment,
                reviewer=ben,
                token=assignment.lease_token,
                client_key=uuid4(),
                new=NewLabel(answer=Answer.CORRECT if is_right else Answer.INCORRECT),
            )
        audit.advance_window(window=window)

    window.refresh_from_db()
    assert window.state == WindowState.CLOSED
    assert Draw.objects.filter(window=window).count() == 64
    estimates = newest_estimates(run)
    assert estimates["accuracy"].low <= 0.5 <= estimates["accuracy"].high
    assert estimates["recall"].low <= 0.5 <= estimates["recall"].high
    assert estimates["recall"].labels == 64
