import json

import pytest

from review.accounts.models import Project, User
from review.calibration.errors import (
    InvalidTableError,
    NoLabelsError,
    NoRewardTableError,
    OutdatedTableError,
)
from review.calibration.models import RewardRule, RewardTable
from review.calibration.queries import newest_estimates, published_table
from review.calibration.services import estimates
from review.calibration.services import tables as services
from review.flows import ingest
from review.runs.models import Run
from review.sampling.models import AuditRule
from tests import builders
from trainer.rewards import Cell
from trainer.rewards import RewardTable as TrainerTable

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(project: Project) -> Run:
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2], groups=30)
    run.refresh_from_db()
    return run


@pytest.fixture
def audited(run: Run, ben: User) -> AuditRule:
    return label_all(run, ben)


def label_all(run: Run, reviewer: User, **changes: object) -> AuditRule:
    rule = builders.open_audit(run, **({"budget": 96, "waves": 4} | changes))
    builders.label_audit(rule, reviewer)
    return rule


def built(run: Run, **changes: object) -> RewardTable:
    fields = {
        "rule": RewardRule.DEMOTE_OR_ABSTAIN,
        "valid_from_step": 3,
        "valid_to_step": 12,
        "actor": "test",
    }
    return services.build_table(run=run, **(fields | changes))  # type: ignore[arg-type]


def entries(table: RewardTable) -> TrainerTable:
    return TrainerTable.from_json(table.body)


def reward_of(table: RewardTable, signature: str) -> float | None:
    cell = Cell(signature, None, None, probe=False, domain="arithmetic")
    return entries(table).reward(cell).value


def test_a_table_demotes_hedges_and_abstains_on_odd_spellings(run: Run, audited: AuditRule) -> None:
    table = built(run)
    hedge, honest = "pass/boxed/integer/2+", "pass/boxed/integer/1"
    assert reward_of(table, hedge) == pytest.approx(0, abs=0.1)
    assert reward_of(table, honest) == pytest.approx(1, abs=0.1)
    assert reward_of(table, "fail/boxed/decimal/1") is None
    assert reward_of(table, "fail/boxed/integer/1") == 0
    assert table.labels == 96


def test_the_hack_rate_is_estimated_from_hack_flags(run: Run, audited: AuditRule) -> None:
    hack_rate = newest_estimates(run)["hack_rate"]
    assert hack_rate.low <= 0.25 <= hack_rate.high


def test_a_signature_with_most_rejections_abstains_only_when_told(
    project: Project, ben: User
) -> None:
    run = builders.make_run(project)
    builders.make_prompt(run)
    odd = r"so \boxed{15.0}"
    for group in range(40):
        texts = [odd, odd, odd, r"so \boxed{15}"]
        ingest.store_batch(
            run=run, batch=[builders.make_rollout(text, group=f"g{group}") for text in texts]
        )
    ingest.finish_step(run=run, step=1)
    run.refresh_from_db()
    label_all(run, ben, last_step=1, window_steps=1)
    decimal = "fail/boxed/decimal/1"
    assert reward_of(built(run), decimal) == 0
    overridden = built(run, abstain_over_half=True)
    assert reward_of(overridden, decimal) is None
    assert overridden.preview["left_out_of_rejections"] > 0.5


@pytest.mark.parametrize("rule", [RewardRule.POSTERIOR, RewardRule.UNBIASED])
def test_rules_that_leave_nothing_out_do_not_say_that_they_do(
    run: Run, audited: AuditRule, rule: RewardRule
) -> None:
    assert built(run).preview["left_out_of_rejections"] > 0
    preview = built(run, rule=rule).preview
    assert (preview["rollouts_left_out"], preview["left_out_of_rejections"]) == (0, 0)


def test_what_trainers_get_is_what_was_stored_byte_for_byte(run: Run, audited: AuditRule) -> None:
    table = services.publish_table(table=built(run), actor="ada")
    assert published_table(run).body == table.body
    assert json.loads(table.body)["version"] == 1
    assert entries(table).valid_to_step == 12


def test_only_published_tables_are_served_and_the_newest_first(
    run: Run, audited: AuditRule
) -> None:
    first, second = built(run), built(run)
    with pytest.raises(NoRewardTableError):
        published_table(run)
    services.publish_table(table=first, actor="ada")
    assert published_table(run) == first
    services.publish_table(table=second, actor="ada")
    assert published_table(run) == second
    assert published_table(run, version=1) == first


def test_a_draft_older_than_what_is_published_is_not_published(
    run: Run, audited: AuditRule
) -> None:
    older, newer = built(run), built(run)
    services.publish_table(table=newer, actor="ada")
    with pytest.raises(OutdatedTableError):
        services.publish_table(table=older, actor="ada")
    assert published_table(run) == newer
    assert services.publish_table(table=newer, actor="ada").is_published


def test_publishing_twice_keeps_the_first_time_and_name(run: Run, audited: AuditRule) -> None:
    table = services.publish_table(table=built(run), actor="ada")
    again = services.publish_table(table=table, actor="somebody else")
    assert (again.published_at, again.published_by) == (table.published_at, "ada")


def test_without_labels_there_is_nothing_to_build(run: Run) -> None:
    with pytest.raises(NoLabelsError):
        built(run)


def test_steps_out_of_order_are_refused(run: Run, audited: AuditRule) -> None:
    with pytest.raises(InvalidTableError):
        built(run, valid_from_step=9, valid_to_step=8)


def test_estimates_of_the_same_labels_are_stored_once(run: Run, audited: AuditRule) -> None:
    before = run.estimates.count()
    assert estimates.refresh_estimates(run=run) == []
    assert run.estimates.count() == before


def test_too_few_labels_give_a_reason_and_no_point(run: Run, ben: User) -> None:
    label_all(run, ben, budget=16, waves=1)
    recall = newest_estimates(run)["recall"]
    assert recall.point is None
    assert recall.reason == "too few labels"
    assert (recall.low, recall.high) == (0, 1)
