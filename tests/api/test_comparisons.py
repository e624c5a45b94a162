"""GET runs/{id}/comparisons and the difference of two slices."""

from review.accounts.models import Project, User
from review.rollouts.services import create_slice
from review.runs.models import Run
from tests import builders
from tests.api.calls import Caller, refused
from tests.calibration.test_scorecard import judge_all


def test_a_run_that_nobody_has_audited_has_nothing_to_compare(caller: Caller, run: Run) -> None:
    body = caller.get(f"runs/{run.pk}/comparisons").json()
    assert (body["ranks"], body["against_primary"]) == ([], [])
    assert {drift["estimand"] for drift in body["drifts"]} == {
        *("recall", "fpr", "accuracy", "hack_rate")
    }
    assert body["drifts"][0]["slope"]["point"] is None
    assert body["drifts"][0]["change"]["reason"]


def test_a_later_verifier_is_held_against_the_primary(project: Project, ben: User) -> None:
    caller = Caller(builders.make_token(project, "lead"))
    run = builders.make_stored_run(project)
    builders.label_audit(builders.open_audit(run, budget=80, waves=2), ben)
    judge_all(run)
    (against,) = caller.get(f"runs/{run.pk}/comparisons").json()["against_primary"]
    assert against["verifier"] == "boxed-any@2"
    recall = next(row for row in against["differences"] if row["estimand"] == "recall")
    assert recall["low"] > 0
    early, late = (
        create_slice(
            project=project,
            name=op,
            conditions=[{"field": "step", "op": op, "value": step}],
            actor="ada",
        )
        for op, step in (("at_most", 1), ("at_least", 2))
    )
    url = f"runs/{run.pk}/slice-difference?estimand=recall&first={early.pk}&second={late.pk}"
    difference = caller.get(url).json()
    # None; one interval of twenty misses it, and hardly one of a million by three times as much.
    assert abs(difference["point"]) < 1.5 * (difference["high"] - difference["low"])


def test_a_difference_of_what_is_unknown_is_refused(caller: Caller, run: Run) -> None:
    answer = caller.get(f"runs/{run.pk}/slice-difference?estimand=beauty")
    refused(answer, 400, "invalid_body", "estimand")
    answer = caller.get(f"runs/{run.pk}/slice-difference?estimand=recall&first=x")
    refused(answer, 400, "invalid_body", "first")
