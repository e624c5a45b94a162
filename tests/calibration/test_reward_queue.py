"""Answers worth settling for the reward's sake."""

from dataclasses import replace

import pytest

from review.accounts.models import Project, User
from review.calibration.errors import TooFewLabelsError
from review.calibration.reward_queue import propose
from review.flows import audit, ingest
from review.runs.models import Run
from review.sampling.models import AuditRule, PickCause
from review.sampling.services.rules import change_rule, settings_of
from tests import builders


@pytest.fixture
def run(project: Project) -> Run:
    run = builders.make_run(project)
    builders.store_steps(run, [1], groups=80)
    run.refresh_from_db()
    return run


def store_new_problems(run: Run) -> None:
    """Ten problems that nobody has labelled, in the next step."""
    for number in range(10):
        builders.make_prompt(run, uid=f"new-{number}")
    ingest.store_batch(
        run=run,
        batch=[
            builders.make_rollout(response, step=2, prompt=f"new-{number}", group=f"g-{number}")
            for number in range(10)
            for response in builders.RESPONSES
        ],
    )
    ingest.finish_step(run=run, step=2)
    run.refresh_from_db()


def audited_once(run: Run, ben: User) -> AuditRule:
    """300 labels drawn by chance in the first window; 8 for the second, which is open."""
    rule = builders.open_audit(run, last_step=2, window_steps=1, budget=300, waves=1)
    builders.label_wave(rule, ben)
    smaller = replace(settings_of(rule.current), budget=8)
    change_rule(rule=rule, settings=smaller, actor="ada")
    store_new_problems(run)
    audit.open_windows(run=run)
    return rule


def test_rewards_may_not_steer_before_chance_has_drawn_enough(run: Run, ben: User) -> None:
    rule = builders.open_audit(run, last_step=1, window_steps=1, budget=32, waves=2)
    builders.label_wave(rule, ben)
    with pytest.raises(TooFewLabelsError, match="16 labels"):
        propose(rule, 5)


@pytest.mark.slow
def test_one_rollout_stands_for_each_class_up_to_half_the_budget(run: Run, ben: User) -> None:
    rule = audited_once(run, ben)
    window = rule.windows.get(number=1)
    drawn = run.rollouts.filter(draws__window=window)
    proposed = run.rollouts.filter(pk__in=propose(rule, 10))
    classes = set(proposed.values_list("group__prompt_id", "answer_class"))
    assert len(proposed) == len(classes) == 4
    assert not classes & set(drawn.values_list("group__prompt_id", "answer_class"))
    picks = audit.pick_rollouts(
        rule=rule,
        rollouts=[rollout.pk for rollout in proposed],
        cause=PickCause.REWARD,
        actor="ada",
    )
    assert len(picks) == 4
    assert propose(rule, 10) == []
