"""Every verifier on every slice, kept up to date with the labels."""

import pytest

from review.accounts.models import Project, Role, User
from review.calibration.models import AnswersUsed, Estimate, RefreshRequest
from review.calibration.queries import overdue_refreshes, scorecard, sensitivity
from review.calibration.services.estimates import request_refresh
from review.calibration.services.scorecard import refresh_run
from review.flows import audit, ingest
from review.flows.classes import settle_class
from review.flows.ingest import IncomingVerdict
from review.labeling.models import Answer, Assignment, AssignmentState, Queue
from review.labeling.services.leases import take_next
from review.rollouts.services import create_slice
from review.runs.models import Run
from tests import builders
from tests.labeling import items
from trainer.verifiers import Outcome

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(project: Project) -> Run:
    return builders.make_stored_run(project)


@pytest.fixture
def labelled(run: Run, ben: User) -> Run:
    builders.label_audit(builders.open_audit(run, budget=80, waves=2), ben)
    return run


def value(rows: list[Estimate], estimand: str, **scope: object) -> Estimate:
    (row,) = [
        row
        for row in rows
        if row.estimand == estimand
        and all(getattr(row, name) == wanted for name, wanted in scope.items())
    ]
    return row


def judge_all(run: Run, *, until: int | None = None) -> None:
    """A later version, which reads numbers as numbers: right on everything but hedges."""
    said = [
        (
            rollout.uid,
            IncomingVerdict(
                verifier="boxed-any",
                version="2",
                outcome=Outcome.PASS
                if rollout.messages[-1]["content"] in builders.RESPONSES[:2]
                else Outcome.FAIL,
                path="boxed",
                form="integer",
                candidates=1,
            ),
        )
        for rollout in run.rollouts.order_by("pk")[:until]
    ]
    ingest.store_verdicts(run=run, channel="correctness", verdicts=said)


def test_a_slice_that_cuts_through_cells_has_its_own_estimates(
    labelled: Run, project: Project
) -> None:
    half = create_slice(
        project=project,
        name="second step",
        conditions=[{"field": "step", "op": "at_least", "value": 2}],
        actor="ada",
    )
    refresh_run(run=labelled)
    rows = scorecard(labelled)
    whole, part = (value(rows, "recall", verifier=None, slice=s) for s in (None, half))
    assert 20 < part.labels < 60
    assert whole.labels == 80
    # Half of the right answers are spelled so that the verifier rejects them, in either step.
    # One interval of twenty misses it, and hardly one of a million by three times as much.
    assert part.point == pytest.approx(0.5, abs=1.5 * (part.high - part.low))
    assert part.high - part.low > whole.high - whole.low


def test_a_later_version_is_measured_with_the_same_labels(labelled: Run) -> None:
    judge_all(labelled)
    refresh_run(run=labelled)
    rows = scorecard(labelled)
    (later,) = {row.verifier for row in rows if row.verifier}
    old, new = (value(rows, "recall", verifier=v, slice=None, policy=None) for v in (None, later))
    assert old.labels == new.labels == 80
    assert old.high < 0.8
    assert new.point == pytest.approx(1.0)
    assert value(rows, "fpr", verifier=later).point == pytest.approx(0.0)


def test_a_verifier_that_has_not_judged_everything_is_not_estimated(labelled: Run) -> None:
    judge_all(labelled, until=80)
    refresh_run(run=labelled)
    rows = [row for row in scorecard(labelled) if row.verifier]
    assert {row.point for row in rows} == {None}
    assert {row.reason for row in rows} == {"it has judged 50 % of the windows' rollouts"}
    assert {row.worst_low for row in rows} == {None}
    judge_all(labelled)
    refresh_run(run=labelled)
    (later,) = {row.verifier for row in scorecard(labelled) if row.verifier}
    assert value(scorecard(labelled), "recall", verifier=later).point == pytest.approx(1.0)


def test_new_verdicts_leave_the_primary_verifiers_estimates_alone(labelled: Run) -> None:
    refresh_run(run=labelled)
    before = value(scorecard(labelled), "recall", verifier=None, slice=None, policy=None)
    judge_all(labelled)
    refresh_run(run=labelled)
    after = value(scorecard(labelled), "recall", verifier=None, slice=None, policy=None)
    assert before.pk == after.pk


def test_refreshing_twice_stores_nothing_new(labelled: Run) -> None:
    refresh_run(run=labelled)
    stored = Estimate.objects.count()
    refresh_run(run=labelled)
    assert Estimate.objects.count() == stored


def test_a_policy_is_estimated_by_itself(run: Run, ben: User) -> None:
    ingest.store_batch(
        run=run,
        batch=[
            builders.make_rollout(response, step=3, group=f"late-{group}", policy="step-3")
            for group in range(20)
            for response in builders.RESPONSES
        ],
    )
    ingest.finish_step(run=run, step=3)
    run.refresh_from_db()
    rule = builders.open_audit(run, budget=96, waves=2, last_step=3, window_steps=3)
    builders.label_audit(rule, ben)
    refresh_run(run=run)
    by_policy = {
        row.policy.uid: row for row in scorecard(run) if row.policy and row.estimand == "recall"
    }
    assert by_policy.keys() == {"step-0", "step-3"}
    assert sum(row.labels for row in by_policy.values()) == 96


def test_many_changes_are_one_refresh(run: Run) -> None:
    assert request_refresh(run_id=str(run.pk))
    assert not request_refresh(run_id=str(run.pk))
    refresh_run(run=run)
    assert request_refresh(run_id=str(run.pk))


def test_a_refresh_whose_message_was_lost_is_found_again(run: Run) -> None:
    request_refresh(run_id=str(run.pk))
    assert overdue_refreshes() == []
    requested = RefreshRequest.objects.get()
    requested.requested_at = requested.requested_at.replace(year=2020)
    requested.save()
    assert overdue_refreshes() == [run.pk]


def test_reviewers_own_errors_are_carried_where_labels_overlap(
    run: Run, project: Project, ben: User
) -> None:
    eve = builders.make_user(project, Role.REVIEWER, name="eve")
    rule = builders.open_audit(run, budget=64, waves=1, second_review_share=0.5)
    items.answer_all(rule.queue, ben)
    items.answer_all(rule.queue, eve)
    builders.label_wave(rule, ben)
    refresh_run(run=run)
    found = sensitivity(run)
    assert found.keys() == {"recall", "fpr", "precision", "accuracy"}
    plain = value(scorecard(run), "accuracy", verifier=None, slice=None, policy=None)
    assert found["accuracy"].point == pytest.approx(plain.point, abs=0.05)
    assert found["accuracy"].answers == AnswersUsed.DAWID_SKENE


def test_what_its_class_answers_is_not_guessed_anew(run: Run, project: Project, ben: User) -> None:
    eve = builders.make_user(project, Role.REVIEWER, name="eve")
    rule = builders.make_audit(run, budget=64, waves=1, second_review_share=0.5)
    Queue.objects.filter(rule=rule).update(questions=[])
    audit.start_audit(rule=rule, actor="ada")
    audit.open_windows(run=run)
    for reviewer in (ben, eve):
        while item := take_next(queue=rule.queue, reviewer=reviewer):
            is_right = item.rollout.messages[-1]["content"] in builders.RESPONSES[:2]
            items.commit(item, reviewer, Answer.CORRECT if is_right else Answer.INCORRECT)
            if name := item.rollout.answer_class:
                settle_class(prompt=item.rollout.group.prompt, answer_class=name)
    builders.label_wave(rule, ben)
    refresh_run(run=run)
    plain = value(scorecard(run), "accuracy", verifier=None, slice=None, policy=None)
    assert plain.point is not None
    assert Assignment.objects.filter(state=AssignmentState.SETTLED).exists()
    assert sensitivity(run)["accuracy"].point == pytest.approx(plain.point, abs=0.03)


def test_one_reviewer_alone_has_no_sensitivity_row(labelled: Run) -> None:
    refresh_run(run=labelled)
    assert sensitivity(labelled) == {}


def test_a_slice_that_cuts_a_runs_blocks_is_left_out(project: Project, ben: User) -> None:
    run = builders.make_run(project, step_block=2)
    builders.store_steps(run, [0, 1], groups=20)
    run.refresh_from_db()
    rule = builders.open_audit(run, budget=40, waves=1, first_step=0, last_step=1)
    builders.label_audit(rule, ben)
    for name, step in (("cuts", 1), ("fits", 0)):
        create_slice(
            project=project,
            name=name,
            conditions=[{"field": "step", "op": "at_least", "value": step}],
            actor="ada",
        )
    refresh_run(run=run)
    assert {row.slice.name for row in scorecard(run) if row.slice} == {"fits"}
