"""What a table would change, tried on groups that the run has stored."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from review.accounts.models import Project, User
from review.calibration import changes as measured
from review.calibration.changes import TableChanges, changes_of
from review.calibration.models import RewardRule, RewardTable
from review.calibration.services.tables import build_table
from review.flows import ingest
from review.runs.models import Run
from review.stats.reward_changes import FOLLOWS_VERDICT, LossChange
from tests import builders
from trainer.rewards import Cell

pytestmark = pytest.mark.django_db

RIGHT, ODD, WRONG, HEDGE = builders.RESPONSES
Build = Callable[..., RewardTable]


def audited_run(project: Project, ben: User, *groups: list[str], **changes: object) -> Run:
    """A run of one step with these groups, every one of its rollouts labelled."""
    run = builders.make_run(project, **changes)
    builders.make_prompt(run)
    store_groups(run, *groups)
    budget = sum(map(len, groups))
    rule = builders.open_audit(run, last_step=1, window_steps=1, budget=budget, waves=1)
    builders.label_audit(rule, ben)
    return run


def store_groups(run: Run, *groups: list[str], step: int = 1, **changes: object) -> None:
    ingest.store_batch(
        run=run,
        batch=[
            builders.make_rollout(text, group=f"s{step}-{number}", step=step, **changes)
            for number, group in enumerate(groups)
            for text in group
        ],
    )
    ingest.finish_step(run=run, step=step)
    run.refresh_from_db()


def built(run: Run, rule: RewardRule = RewardRule.DEMOTE_OR_ABSTAIN) -> RewardTable:
    return build_table(run=run, rule=rule, valid_from_step=2, valid_to_step=9, actor="test")


def of(table: RewardTable) -> TableChanges:
    found = changes_of(RewardTable.objects.get(pk=table.pk))
    assert found is not None
    return found


def under(table: RewardTable, loss: str) -> LossChange:
    (found,) = [change for change in of(table).losses if change.loss == loss]
    return found


def test_a_table_that_follows_the_verdict_is_a_no_op_under_grpo_alone(
    project: Project, ben: User
) -> None:
    run = audited_run(project, ben, *[[RIGHT, WRONG, WRONG, WRONG]] * 4)
    builders.make_prompt(run, "p2")
    # Nothing is settled of the second prompt's answers: its rollouts are paid by their cells.
    store_groups(run, *[[RIGHT, WRONG, WRONG, WRONG]] * 4, step=2, prompt="p2")
    table = built(run, RewardRule.POSTERIOR)
    assert (of(table).groups, of(table).settled, of(table).spread.told_apart) == (8, 0.5, 0)
    grpo = under(table, "group")
    assert (grpo.is_no_op, grpo.reason, grpo.size, grpo.cells) == (True, FOLLOWS_VERDICT, 0, ())
    changed = under(table, "centred")
    assert (changed.is_no_op, changed.groups, changed.flipped) == (False, 0.5, 0)


def test_hedges_told_from_honest_passes_change_advantages(project: Project, ben: User) -> None:
    run = audited_run(project, ben, *[[RIGHT, HEDGE, WRONG, WRONG]] * 16)
    table = built(run)
    grpo = under(table, "group")
    assert (grpo.is_no_op, grpo.reason, grpo.groups) == (False, None, 1)
    # The hedge, a quarter of the rollouts, was encouraged and no longer is.
    assert (grpo.flipped, of(table).spread.told_apart) == (0.25, 1)
    assert [row.outcome for row in grpo.outcomes] == ["pass", "fail"]
    hedge = grpo.cells[0]
    assert Cell.parse(hedge.cell).signature == "pass/boxed/integer/2+"
    assert (hedge.raw, hedge.rollouts) == (1, 0.25)
    assert hedge.paid is not None
    assert hedge.paid < 0.2
    assert hedge.change < -1


def test_settled_answers_are_paid_as_they_were_settled(project: Project, ben: User) -> None:
    """The verifier rejects 15.0, reviewers call it right: its class is paid 1."""
    run = audited_run(project, ben, *[[RIGHT, ODD, WRONG, WRONG]] * 8)
    # Of one prompt 15 and 15.0 are one class, judged right in both spellings.
    table = built(run)
    assert (of(table).settled, of(table).settled_against) == (1, 0.25)
    odd = under(table, "group").cells[0]
    assert Cell.parse(odd.cell).signature == "fail/boxed/decimal/1"
    assert (odd.raw, odd.paid) == (0, 1)
    assert under(table, "group").flipped == 0.25


def test_the_runs_own_loss_comes_first(project: Project, ben: User) -> None:
    config = {"objective": {"advantage": "centred"}}
    run = audited_run(project, ben, *[[RIGHT, HEDGE, WRONG, WRONG]] * 2, config=config)
    assert (of(built(run)).own, of(built(run)).losses[0].loss) == ("centred", "centred")
    Run.objects.filter(pk=run.pk).update(config={"objective": {"advantage": "gae"}})
    run.refresh_from_db()
    found = of(built(run))
    assert (found.own, found.trainer, found.losses[0].loss) == (None, "gae", "group")


def test_a_truncated_rollout_is_paid_as_the_run_pays_it(project: Project, ben: User) -> None:
    run = builders.make_run(project, config={"grpo": {"truncated": "filtered"}})
    builders.make_prompt(run)
    ingest.store_batch(
        run=run,
        batch=[
            builders.make_rollout(text, group=f"g{group}", truncated=text == RIGHT)
            for group in range(8)
            for text in builders.RESPONSES
        ],
    )
    ingest.finish_step(run=run, step=1)
    run.refresh_from_db()
    rule = builders.open_audit(run, last_step=1, window_steps=1, budget=32, waves=1)
    builders.label_audit(rule, ben)
    spread = of(built(run)).spread
    assert spread.left_out_raw == 0.25
    assert spread.left_out >= 0.25


def test_purged_groups_are_passed_over(project: Project, ben: User) -> None:
    run = audited_run(project, ben, *[[RIGHT, HEDGE, WRONG, WRONG]] * 4)
    one = run.rollouts.filter(group__uid="s1-0").earliest("pk")
    run.rollouts.filter(pk=one.pk).update(purged_at=timezone.now(), answer_class=None)
    found = of(built(run))
    assert (found.groups, found.rollouts, found.passed_over) == (3, 12, 1)
    run.rollouts.update(purged_at=timezone.now(), answer_class=None)
    nothing = of(built(run))
    assert (nothing.groups, nothing.passed_over, nothing.first_step) == (0, 4, None)
    assert not any(change.is_no_op for change in nothing.losses)


def test_of_a_large_run_a_bounded_sample_is_tried(
    project: Project, ben: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest steps and some of the windows', the first groups of each, every group whole."""
    run = audited_run(project, ben, *[[RIGHT, HEDGE, WRONG, WRONG]] * 8)
    for step in range(2, 13):
        store_groups(run, *[[RIGHT, HEDGE, WRONG, WRONG]] * 8, step=step)
    whole = of(built(run))
    assert (whole.is_sample, whole.groups, whole.steps) == (False, 96, 12)
    monkeypatch.setattr(measured, "MOST_ROLLOUTS", 30)
    monkeypatch.setattr(measured, "MOST_STEPS", 5)
    monkeypatch.setattr(measured, "NEWEST_STEPS", 4)
    sample = of(built(run))
    # Six rollouts of each of five steps: two groups, the second made whole.
    assert (sample.is_sample, sample.groups, sample.rollouts) == (True, 10, 40)
    assert (sample.steps, sample.first_step, sample.last_step) == (5, 1, 12)
    monkeypatch.setattr(measured, "MOST_ROLLOUTS", 15)
    # Each step's first group; at twice the bound all ends, before the group that is cut there.
    assert of(built(run)).rollouts == 20
    monkeypatch.setattr(measured, "MOST_ROLLOUTS", 9)
    assert of(built(run)).rollouts == 16


def test_a_very_large_group_is_passed_over(
    project: Project, ben: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = audited_run(project, ben, [RIGHT, HEDGE, WRONG, WRONG, WRONG], [RIGHT, WRONG, WRONG])
    monkeypatch.setattr(measured, "MOST_IN_A_GROUP", 3)
    found = of(built(run))
    assert (found.groups, found.passed_over) == (1, 1)


def test_a_larger_run_costs_no_more_queries(
    project: Project, ben: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "MOST_ROLLOUTS", 30)
    counts = []
    for groups in (2, 8):
        run = audited_run(project, ben, *[[RIGHT, HEDGE, WRONG, WRONG]] * groups)
        for step in range(2, 2 + groups):
            store_groups(run, [RIGHT, WRONG], step=step)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            built(run)
        counts.append(len(queries))
    # One more, for which groups are in the sample.
    assert counts[1] == counts[0] + 1


def test_a_table_from_before_has_none(project: Project, ben: User) -> None:
    table = built(audited_run(project, ben, *[[RIGHT, HEDGE, WRONG, WRONG]] * 2))
    table.preview.pop("changes")
    assert changes_of(table) is None
