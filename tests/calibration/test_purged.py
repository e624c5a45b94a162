"""Rollouts that were purged before a later verifier came: nothing is said of them, and the rest is
estimated. All 64 are labelled, 16 of each kind, so that estimates are what is counted."""

from collections.abc import Collection
from uuid import uuid4

import pytest

from review.accounts.models import Project, User
from review.calibration.comparisons import compare_verifiers
from review.calibration.labelled_rollouts import labelled_behind
from review.calibration.models import Estimand, Estimate
from review.calibration.queries import criteria_scorecard, scorecard
from review.calibration.services.scorecard import refresh_run
from review.flows import audit, ingest
from review.flows.ingest import IncomingVerdict
from review.flows.labels import commit_label
from review.labeling.models import Answer
from review.labeling.services.judgements import NewLabel
from review.labeling.services.leases import take_next
from review.rollouts.services import create_slice
from review.runs.models import Run
from review.verifiers.models import VerifierVersion
from review.verifiers.services import purge_rollouts
from tests import builders
from tests.calibration.criteria import (
    HEDGE,
    ODD,
    RIGHT,
    SAID,
    judge_by_criteria,
    make_criteria_run,
    text_of,
)
from trainer.verifiers import Outcome

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(project: Project, ben: User) -> Run:
    return make_criteria_run(builders.make_run(project), ben)


def purge(run: Run, text: str, most: int) -> None:
    uids = [rollout.uid for rollout in run.rollouts.order_by("pk") if text_of(rollout) == text]
    purge_rollouts(run=run, uids=uids[:most], actor="ada")


def judge_the_rest(
    run: Run,
    version: str,
    passed: Collection[str],
    *,
    channel: str = "correctness",
    most: int | None = None,
) -> VerifierVersion:
    """A later version that passes these texts; of what is purged it says nothing."""
    said = [
        (
            rollout.uid,
            IncomingVerdict(
                verifier=f"later-{channel}",
                version=version,
                outcome=Outcome.PASS if text_of(rollout) in passed else Outcome.FAIL,
                path="boxed",
                form="integer",
                candidates=1,
                extracted="0",
            ),
        )
        for rollout in run.rollouts.filter(purged_at=None).order_by("pk")[:most]
    ]
    ingest.store_verdicts(run=run, channel=channel, verdicts=said)
    return VerifierVersion.objects.get(project=run.project, version=version, channel=channel)


def found(run: Run, verifier: VerifierVersion, **scope: object) -> dict[str, Estimate]:
    refresh_run(run=run)
    whole = {"slice": None, "policy": None} | scope
    return {
        row.estimand: row
        for row in scorecard(run)
        if row.verifier == verifier
        if all(getattr(row, name) == value for name, value in whole.items())
    }


def test_a_later_verifier_is_estimated_on_what_was_left_to_judge(run: Run) -> None:
    purge(run, RIGHT, 12)
    rows = found(run, judge_the_rest(run, "2", {RIGHT}))
    # Of the right ones 4 plain and 16 odd were left.
    assert rows[Estimand.RECALL].point == pytest.approx(4 / 20)
    assert rows[Estimand.FPR].point == pytest.approx(0)
    assert rows[Estimand.ACCURACY].point == pytest.approx(20 / 52)
    assert {(row.labels, row.left_out) for row in rows.values()} == {(52, 12)}


def test_what_it_can_still_judge_is_waited_for(run: Run) -> None:
    purge(run, ODD, 4)
    row = found(run, judge_the_rest(run, "2", {RIGHT}, most=30))[Estimand.RECALL]
    assert (row.point, row.reason) == (None, "it has judged 50 % of the windows' rollouts")


def test_it_is_estimated_on_slices_too(run: Run, project: Project) -> None:
    conditions = [{"field": "step", "op": "at_least", "value": 2}]
    half = create_slice(project=project, name="late", conditions=conditions, actor="ada")
    purge(run, RIGHT, 12)
    # Eight of them are of the first step.
    rows = found(run, judge_the_rest(run, "2", {RIGHT}), slice=half)
    assert rows[Estimand.RECALL].point == pytest.approx(4 / 12)
    assert rows[Estimand.RECALL].labels == 28


def test_two_verifiers_are_compared_on_what_both_have_judged(run: Run) -> None:
    own = run.run_verifiers.get().verifier
    early = judge_the_rest(run, "2", {RIGHT, ODD})
    purge(run, RIGHT, 12)
    late = judge_the_rest(run, "3", {RIGHT})
    for first, second, difference in (
        (early, late, 1 - 4 / 20),
        (late, early, 4 / 20 - 1),
        (own, late, 0),
        (late, own, 0),
    ):
        compared = compare_verifiers(run, first, second)
        assert compared
        assert compared[Estimand.RECALL].point == pytest.approx(difference)
    assert found(run, early)[Estimand.RECALL].point == pytest.approx(1)


def test_behind_its_numbers_are_the_rollouts_that_it_judged(run: Run) -> None:
    purge(run, RIGHT, 12)
    later = judge_the_rest(run, "2", {RIGHT})
    behind = labelled_behind(run, Estimand.RECALL, verifier=later)
    assert (len(behind), sum(is_bad for _, is_bad in behind)) == (20, 16)


def test_criteria_have_them_among_the_unanswered(run: Run) -> None:
    purge(run, HEDGE, 4)
    judge_by_criteria(run)
    refresh_run(run=run)
    rows = {row.estimand: row for row in criteria_scorecard(run) if row.criterion == "commits"}
    recall = rows[Estimand.CRITERION_RECALL]
    assert (recall.point, recall.labels) == (pytest.approx(1 / 3), 60)
    assert recall.unanswered_share == pytest.approx(4 / 64)


def test_steps_of_a_purged_rollout_are_no_miss(project: Project, ben: User) -> None:
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2], groups=10)
    run.refresh_from_db()
    rule = builders.open_audit(run, budget=80, waves=1)
    while item := take_next(queue=rule.queue, reviewer=ben):
        assert item.lease_token
        commit_label(
            assignment=item,
            reviewer=ben,
            token=item.lease_token,
            client_key=uuid4(),
            new=NewLabel(answer=Answer.CORRECT, has_no_wrong_step=True),
        )
    audit.advance_window(window=rule.windows.get())
    purge(run, RIGHT, 8)
    later = judge_the_rest(run, "2", SAID, channel="process")
    rows = found(run, later)
    assert rows[Estimand.FAULTLESS_PASSED].point == pytest.approx(1)
    assert rows[Estimand.FAULTLESS_PASSED].labels == 72
    # Nor of one that was purged after it was judged: what it said went with the texts.
    purge(run, ODD, 8)
    rows = found(run, later)
    assert rows[Estimand.FAULTLESS_PASSED].point == pytest.approx(1)
    assert rows[Estimand.FAULTLESS_PASSED].labels == 64
