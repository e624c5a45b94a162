import pytest

from trainer.config import TrainerConfig, load_config
from trainer.demo.loop import RECIPE
from trainer.demo.plans import ARMS, COMPARISONS, ArmPlan, planned_tables

AUDITED = [arm for arm in ARMS.values() if arm.audit]


def test_plan_of_the_demo_spends_the_labels_and_covers_every_step() -> None:
    audit = ARMS["calibrated-300"].audit
    assert audit is not None
    plan = planned_tables(audit, TrainerConfig())
    windows = [(table.first_step, table.last_step) for table in plan]
    assert windows == [(1, 8), (9, 18), (19, 28), (29, 38), (39, 48)]
    assert [table.valid_to_step for table in plan] == [18, 28, 38, 48, 60]


@pytest.mark.parametrize(("steps", "last_valid"), [(12, [12]), (18, [18]), (25, [18, 25])])
def test_plan_of_a_short_run_ends_with_it(steps: int, last_valid: list[int]) -> None:
    audit = ARMS["calibrated-300"].audit
    assert audit is not None
    plan = planned_tables(audit, TrainerConfig.from_dict({"grpo": {"steps": steps}}))
    assert [table.valid_to_step for table in plan] == last_valid


@pytest.mark.parametrize("arm", AUDITED, ids=lambda arm: arm.name)
def test_labels_of_an_arm_are_what_it_is_called_by(arm: ArmPlan) -> None:
    assert arm.audit is not None
    n_tables = len(planned_tables(arm.audit, load_config(RECIPE)))
    n_labels = arm.audit.warm_up + (n_tables - 1) * arm.audit.window
    assert n_labels == arm.audit.labels == int(arm.name.split("-")[1])


def test_full_comparison_crosses_rules_labels_reviewers_and_learning_rates() -> None:
    full = [ARMS[name] for name in COMPARISONS["hack-full"]]
    crossed = {
        (arm.audit.rule, arm.audit.labels, arm.audit.error_rate, arm.ceiling)
        for arm in full
        if arm.audit
    }
    assert len(crossed) == len(AUDITED) == 3 * 2 * 2 * 2
    assert len(full) == len(crossed) + 8
    assert set(COMPARISONS["hack"]) <= set(COMPARISONS["hack-full"])


@pytest.mark.parametrize("arm", ARMS.values(), ids=lambda arm: arm.name)
def test_settings_of_every_arm_are_a_recipe_of_the_same_length(arm: ArmPlan) -> None:
    config = load_config(RECIPE, arm.settings).with_overrides(reward_source=arm.reward)
    assert config.grpo.steps == load_config(RECIPE).grpo.steps
    assert ARMS[arm.ceiling].reward == "true"
