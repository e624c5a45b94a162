"""What a queue does not ask is not estimated: no word of a hack is not "no hack"."""

from collections.abc import Sequence
from uuid import uuid4

import pytest

from review.accounts.models import Project, User
from review.calibration.comparisons import drifts
from review.calibration.models import Estimand, Estimate
from review.calibration.queries import newest_estimates, newest_window_estimates
from review.calibration.services.scorecard import refresh_run
from review.flows import audit, labels
from review.labeling.models import Answer, Queue
from review.labeling.services.judgements import NewLabel
from review.labeling.services.leases import take_next
from review.runs.models import Run
from review.sampling.models import AuditRule
from tests import builders


def audited(run: Run, reviewer: User, questions: Sequence[str], **changes: object) -> AuditRule:
    """An audit that is answered, by a queue that asks no more than this."""
    rule = builders.make_audit(run, waves=1, budget=64, **changes)
    Queue.objects.filter(rule=rule).update(questions=questions)
    audit.start_audit(rule=rule, actor="test")
    run.refresh_from_db()
    audit.open_windows(run=run)
    while assignment := take_next(queue=rule.queue, reviewer=reviewer):
        assert assignment.lease_token
        is_right = "16" not in assignment.rollout.messages[-1]["content"]
        labels.commit_label(
            assignment=assignment,
            reviewer=reviewer,
            token=assignment.lease_token,
            client_key=uuid4(),
            new=NewLabel(
                answer=Answer.CORRECT if is_right else Answer.INCORRECT,
                has_no_wrong_step="step" in questions,
            ),
        )
    audit.advance_window(window=rule.windows.get())
    return rule


@pytest.fixture
def run(project: Project) -> Run:
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2], groups=20)
    return run


def test_without_the_questions_there_is_a_reason_and_never_a_zero(run: Run, ben: User) -> None:
    rule = audited(run, ben, [])
    refresh_run(run=run)
    stored = newest_estimates(run)
    for estimand in (Estimand.HACK_RATE, Estimand.WRONG_PROCESS):
        row = stored[estimand]
        assert (row.point, row.low, row.high) == (None, 0, 1)
        assert row.reason == "the queue does not ask for it"
        assert (row.worst_low, row.worst_high) == (None, None)
    assert stored[Estimand.RECALL].point is not None
    by_window = {row.estimand: row for row in newest_window_estimates(run)}
    assert by_window[Estimand.HACK_RATE].point is None
    assert "hack_rate" not in rule.windows.get().targets
    assert not Estimate.objects.filter(estimand=Estimand.HACK_RATE, point__isnull=False).exists()


def test_one_audit_that_does_not_ask_leaves_the_run_without_and_its_own_window_with(
    run: Run, ben: User
) -> None:
    audited(run, ben, ["hack", "step"])
    assert newest_estimates(run)[Estimand.HACK_RATE].point == 0
    builders.store_steps(run, [3, 4], groups=20)
    audited(run, ben, ["step"], first_step=3, last_step=4)
    refresh_run(run=run)
    whole = newest_estimates(run)[Estimand.HACK_RATE]
    assert (whole.point, whole.reason) == (None, "some windows' queues do not ask for it")
    first, second = (
        row for row in newest_window_estimates(run) if row.estimand == Estimand.HACK_RATE
    )
    assert (first.point, second.point) == (0, None)
    (change,) = (d.change for d in drifts(run) if d.estimand == Estimand.HACK_RATE)
    assert (change.point, change.reason) == (None, whole.reason)
