"""Audit rules: what is refused, and how a change takes effect."""

import pytest

from review.accounts.models import Project, Role
from review.flows import audit, ingest
from review.rollouts.services import create_slice
from review.runs.models import Run, RunStatus
from review.sampling.errors import InvalidRuleError, RuleStateError
from review.sampling.models import AuditRule, BudgetPer, RuleState, Wave
from review.sampling.services.rules import RuleSettings, change_rule, default_waves
from review.stats.design import RECALL_ONLY
from tests import builders
from tests.labeling import items

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(project: Project) -> Run:
    return builders.make_stored_run(project)


def settings(**changes: object) -> RuleSettings:
    alone = {"reviews_contradictions": False, "second_review_share": 0.0}
    return RuleSettings(**({"budget": 32, "last_step": 2} | alone | changes))


def refused(run: Run, **changes: object) -> dict[str, str]:
    with pytest.raises(InvalidRuleError) as refusal:
        builders.make_audit(run, **changes)
    assert not AuditRule.objects.exists()
    return dict(refusal.value.fields)


def test_every_field_that_cannot_be_met_is_named_at_once(run: Run) -> None:
    fields = refused(run, budget=0, floor=1.5, gold_share=0.9, window_steps=0)
    assert fields.keys() == {"budget", "floor", "gold_share", "window_steps"}
    assert fields["budget"] == "8 to 1,000,000 labels"


def test_steps_without_rollouts_are_refused(run: Run) -> None:
    ingest.finish_run(run=run, status=RunStatus.FINISHED, actor="test")
    run.refresh_from_db()
    assert refused(run, first_step=3, last_step=9).keys() == {"first_step"}


def test_a_slice_that_no_rollout_has_is_refused(run: Run, project: Project) -> None:
    nowhere = create_slice(
        project=project,
        name="geometry",
        conditions=[{"field": "domain", "op": "is", "value": "geometry"}],
        actor="test",
    )
    fields = refused(run, slices=[nowhere])
    assert fields == {"slices": "no rollout of these steps is in geometry"}


def test_verifiers_of_another_run_are_refused(run: Run, project: Project) -> None:
    other = builders.make_run(project)
    own, foreign = run.run_verifiers.get(), other.run_verifiers.get()
    assert refused(run, verifiers=[own, foreign]) == {"verifiers": "all of this run"}


def test_a_ranking_needs_two_verifiers(run: Run) -> None:
    assert refused(run, is_ranking=True).keys() == {"verifiers"}


def test_second_reviews_need_two_reviewers(run: Run, project: Project) -> None:
    builders.make_user(project, Role.REVIEWER)
    assert refused(run, reviews_contradictions=True).keys() == {"reviews_contradictions"}
    builders.make_user(project, Role.REVIEWER)
    assert builders.make_audit(run, reviews_contradictions=True)


def test_reviewers_must_be_the_projects(run: Run) -> None:
    stranger = builders.make_user()
    assert refused(run, reviewers=[stranger]) == {"reviewers": "reviewers of this project only"}


def test_a_change_takes_effect_at_the_next_wave(run: Run, project: Project) -> None:
    ben = builders.make_user(project, Role.REVIEWER)
    rule = builders.open_audit(run, budget=64, waves=2)
    window = rule.windows.get()
    first = window.waves.get()
    drawn = list(first.draws.values_list("pk", flat=True))
    change_rule(rule=rule, settings=settings(budget=96, waves=2, focus=RECALL_ONLY), actor="ada")
    assert list(first.draws.values_list("pk", flat=True)) == drawn
    builders.label_wave(rule, ben)
    second = window.waves.get(number=2)
    assert (first.version.number, second.version.number) == (1, 2)
    # 96 labels altogether, of which the first wave used 32.
    assert (first.planned, second.planned) == (32, 64)
    assert second.version.focus["fpr"] == 0


def test_an_old_version_stays_as_it_was(run: Run) -> None:
    rule = builders.make_audit(run, budget=40)
    change_rule(rule=rule, settings=settings(budget=80), actor="ada")
    versions = rule.versions.values_list("number", "budget", "created_by")
    assert list(versions) == [(1, 40, "test"), (2, 80, "ada")]


def test_a_change_that_cannot_be_met_changes_nothing(run: Run) -> None:
    rule = builders.make_audit(run)
    with pytest.raises(InvalidRuleError):
        change_rule(rule=rule, settings=settings(budget=0), actor="ada")
    assert rule.versions.count() == 1


def test_a_finished_audit_cannot_be_changed(run: Run) -> None:
    rule = builders.open_audit(run)
    audit.end_audit(rule=rule, actor="ada")
    with pytest.raises(RuleStateError):
        change_rule(rule=rule, settings=settings(), actor="ada")


def test_a_daily_budget_is_not_exceeded_in_a_day(run: Run, project: Project) -> None:
    ben = builders.make_user(project, Role.REVIEWER)
    rule = builders.open_audit(run, budget=24, waves=2, budget_per=BudgetPer.DAY)
    window = rule.windows.get()
    for _ in range(3):
        items.answer_all(rule.queue, ben)
        audit.advance_window(window=window)
    assert [wave.planned for wave in window.waves.all()] == [12, 12]
    window.refresh_from_db()
    assert window.state == "open"
    yesterday = Wave.objects.latest("pk").drawn_at.replace(year=2020)
    Wave.objects.update(drawn_at=yesterday)
    audit.advance_window(window=window)
    assert window.waves.count() == 3


def test_a_daily_budget_serves_a_window_until_the_next_one_opens(
    run: Run, project: Project
) -> None:
    ben = builders.make_user(project, Role.REVIEWER)
    rule = builders.open_audit(
        run, budget=8, waves=1, budget_per=BudgetPer.DAY, window_steps=1, last_step=2
    )
    first, second = rule.windows.order_by("number")
    items.answer_all(rule.queue, ben)
    audit.advance_window(window=first)
    first.refresh_from_db()
    assert first.state == "closed"
    assert second.state == "open"


def test_only_named_reviewers_are_served(run: Run, project: Project) -> None:
    ben = builders.make_user(project, Role.REVIEWER)
    eve = builders.make_user(project, Role.REVIEWER)
    rule = builders.open_audit(run, reviewers=[eve])
    assert items.take_next(queue=rule.queue, reviewer=ben) is None
    assert items.take_next(queue=rule.queue, reviewer=eve) is not None


def test_ending_an_audit_ends_its_windows(run: Run) -> None:
    rule = builders.open_audit(run, last_step=None)
    audit.end_audit(rule=rule, actor="ada")
    rule.refresh_from_db()
    window = rule.windows.get()
    assert rule.state == RuleState.FINISHED
    assert (window.state, window.is_ended_early) == ("closed", True)
    assert window.waves.get().state == "cancelled"


def test_small_budgets_have_few_waves() -> None:
    assert [default_waves(budget) for budget in (8, 48, 96, 300, 3000)] == [1, 1, 2, 4, 4]


@pytest.mark.parametrize("channel", ["format", "monitor"])
def test_a_verifier_that_is_not_about_correctness_has_no_rule_and_so_no_reward_table(
    project: Project, channel: str
) -> None:
    from review.runs.services import NewRun
    from review.verifiers.services import NewVerifier

    run, _ = ingest.open_run(
        project=project,
        new=NewRun(
            uid="two",
            name="two",
            seed=0,
            config={},
            group_size=4,
            normaliser="number-1",
            step_block=1,
        ),
        verifiers=[
            NewVerifier(name="boxed-any", version="1", channel="correctness", weight=1.0),
            NewVerifier(name="other", version="1", channel=channel),
        ],
        actor="test",
    )
    fields = refused(run, verifiers=[run.run_verifiers.get(verifier__name="other")])
    assert fields == {"verifiers": "correctness verifiers only"}
