"""Each criterion of a rubric, by the verifier's own verdict on it and the reviewers' answer."""

import pytest

from review.accounts.models import Project, User
from review.calibration.models import Estimand, Estimate
from review.calibration.queries import criteria_scorecard, scorecard
from review.calibration.services.scorecard import refresh_run
from review.flows.replays import add_verifier, go_on, start_replay
from review.labeling.models import Label
from review.runs.models import Run
from review.verifiers.criteria import criterion_verdicts
from review.verifiers.services import purge_rollouts
from tests import builders
from tests.calibration.criteria import (
    HEDGE,
    judge_by_criteria,
    label_criteria,
    make_criteria_run,
    records_of,
    text_of,
)

pytestmark = pytest.mark.django_db

RECALL, FPR, UNDECIDED = (
    Estimand.CRITERION_RECALL,
    Estimand.CRITERION_FPR,
    Estimand.CRITERION_UNDECIDED,
)


@pytest.fixture
def run(project: Project, ben: User) -> Run:
    return make_criteria_run(builders.make_run(project), ben)


def found(run: Run) -> dict[tuple[str, str], Estimate]:
    refresh_run(run=run)
    return {(row.criterion, row.estimand): row for row in criteria_scorecard(run)}


def test_a_criterion_is_measured_by_what_reviewers_say_of_it(run: Run) -> None:
    verifier = judge_by_criteria(run)
    rows = found(run)
    # Of the 48 that commit it passes 16; all 16 that hedge; and 16 of 64 are undecided.
    for estimand, share in ((RECALL, 1 / 3), (FPR, 1.0), (UNDECIDED, 1 / 4)):
        row = rows["commits", estimand]
        assert (row.low, row.point, row.high) == pytest.approx((share, share, share))
        assert (row.labels, row.verifier, row.unanswered_share) == (64, verifier, 0)


def test_criteria_without_a_partner_of_the_same_name_are_named_and_not_estimated(run: Run) -> None:
    judge_by_criteria(run, name="polite")
    rows = found(run)
    assert {name for name, _ in rows} == {"polite", "commits", "Is kind"}
    assert {row.point for row in rows.values()} == {None}
    assert rows["polite", RECALL].reason == "no queue's rubric has a criterion of this name"
    for name in ("commits", "Is kind"):
        assert rows[name, RECALL].reason == "the verifier judges no criterion of this name"


def test_a_criterion_is_also_known_by_the_words_that_a_judge_is_asked(run: Run) -> None:
    criteria = [
        {"name": "kind", "text": "Is kind", "verifier": {"name": "boxed-any"}},
        {"name": "commits", "text": "It commits.", "verifier": {"name": "first-boxed"}},
    ]
    replay = add_verifier(run=run, name="rubric", params={"criteria": criteria}, actor="ada")
    assert go_on(replay=replay)
    assert go_on(replay=start_replay(replay=replay, actor="ada"))
    rows = found(run)
    assert {name for name, _ in rows} == {"kind", "commits"}
    # Kind are the first two responses, of which this verifier reads the first alone.
    assert rows["kind", RECALL].point == pytest.approx(0.5)


def test_a_verifier_that_has_not_judged_all_that_was_sampled_is_not_estimated(run: Run) -> None:
    judge_by_criteria(run, until=16)
    row = found(run)["commits", RECALL]
    assert (row.point, row.reason) == (None, "it has judged 25 % of the sampled rollouts")
    judge_by_criteria(run)
    assert found(run)["commits", RECALL].point == pytest.approx(1 / 3)


def test_a_queue_that_does_not_ask_leaves_the_run_without(run: Run, ben: User) -> None:
    builders.store_steps(run, [3, 4], groups=8)
    second = builders.open_audit(run, budget=64, waves=1, first_step=3, last_step=4)
    label_criteria(second, ben, rubric=["Is kind"])
    judge_by_criteria(run)
    row = found(run)["commits", RECALL]
    assert (row.point, row.reason) == (None, "some windows' queues do not ask for it")


def test_reviewers_who_cannot_tell_leave_an_item_unanswered(run: Run) -> None:
    judge_by_criteria(run)
    hedged = [label for label in Label.objects.all() if text_of(label.assignment.rollout) == HEDGE]
    Label.objects.filter(pk__in=[label.pk for label in hedged[:4]]).update(
        criteria=["cannot_tell", "met"]
    )
    row = found(run)["commits", FPR]
    assert (row.labels, row.unanswered_share) == (60, pytest.approx(4 / 64))


def test_a_purge_keeps_what_estimates_rest_on_and_no_text(run: Run) -> None:
    verifier = judge_by_criteria(run)
    uids = list(run.rollouts.values_list("uid", flat=True))
    purge_rollouts(run=run, uids=uids, actor="ada")
    assert {str(record) for record in records_of(verifier)} == {
        f"{{'criteria': [{{'name': 'commits', 'outcome': '{outcome}'}}]}}"
        for outcome in ("pass", "fail", "undecided")
    }
    assert found(run)["commits", RECALL].point == pytest.approx(1 / 3)


def test_a_name_that_might_be_a_text_goes_with_the_texts(run: Run) -> None:
    verifier = judge_by_criteria(run, name="Ada lives in Turin")
    purge_rollouts(run=run, uids=list(run.rollouts.values_list("uid", flat=True)), actor="ada")
    assert set(map(str, records_of(verifier))) == {"None"}


def test_refreshing_twice_stores_nothing_new(run: Run) -> None:
    judge_by_criteria(run)
    refresh_run(run=run)
    stored = Estimate.objects.count()
    refresh_run(run=run)
    assert Estimate.objects.count() == stored
    assert not [row for row in scorecard(run) if row.criterion]


def test_a_record_of_another_shape_says_nothing(run: Run) -> None:
    verifier = judge_by_criteria(run)
    sampled = list(run.rollouts.values_list("pk", flat=True))
    for record in (
        {"criteria": "commits"},
        {"criteria": [{"name": "commits"}, {"outcome": "pass"}]},
        {"criteria": [{"name": 3, "outcome": "pass"}, {"name": "x" * 301, "outcome": "pass"}]},
        {"criteria": [{"name": "commits", "outcome": "maybe"}]},
        {"criteria": [{"name": "commits", "outcome": "pass"}] * 2},
        {"criteria": [[{"name": ["commits"], "outcome": {"commits": "pass"}}], None]},
        ["criteria"],
    ):
        verifier.verdicts.update(record=record)
        assert criterion_verdicts(verifier, sampled).names == ()
    assert found(run) == {}
