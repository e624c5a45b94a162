"""What a run's config says of its loss, and which losses a table is tried under."""

import pytest

from review.calibration.losses import Trainer, losses_for, own_loss, trainer_of
from review.calibration.models import RewardRule
from review.stats.advantages import Advantage, Loss
from trainer.config import TrainerConfig
from trainer.objectives import NAMED
from trainer.stages.experience import STD_FLOORS

UNSAID = Trainer(advantage=None, std_floor=0.0, truncated="judged", sums_channels=False)
DEMOTE, POSTERIOR, UNBIASED = RewardRule


def keys(trainer: Trainer, rule: RewardRule) -> list[str]:
    return [loss.key for loss, _ in losses_for(trainer, rule)]


@pytest.mark.parametrize(
    "config",
    [
        {},
        [],
        None,
        {"objective": []},
        {"objective": {"advantage": 3, "std_floor": "0.3"}, "grpo": 1, "reward": None},
        {"objective": {"std_floor": -1}},
        {"objective": {"advantage": "a word that no trainer has"}},
        {"objective": {"advantage": ["group"]}},
        {"objective": {"std_floor": float("nan")}},
        {"objective": {"std_floor": 10**400}},
        {"objective": {"std_floor": True}},
    ],
)
def test_a_config_of_something_else_says_nothing(config: object) -> None:
    assert trainer_of(config) == UNSAID
    assert own_loss(UNSAID, DEMOTE) is None


@pytest.mark.parametrize("name", [name for name in NAMED if name != "process"])
def test_our_trainers_config_says_its_loss(name: str) -> None:
    config = TrainerConfig.from_dict({"objective": {"name": name}}).to_dict()
    trainer = trainer_of(config)
    assert trainer.advantage == NAMED[name].advantage
    is_known = trainer.advantage in set(Advantage)
    assert own_loss(trainer, DEMOTE) == (Loss(Advantage(trainer.advantage)) if is_known else None)


def test_a_table_of_probabilities_brings_its_floor_with_it() -> None:
    grpo = trainer_of({"objective": {"advantage": "group", "std_floor": 0.0}})
    assert STD_FLOORS == {"posterior": 0.3}
    (loss, raw), *_ = losses_for(grpo, POSTERIOR)
    assert (loss, raw) == (Loss(Advantage.GROUP, 0.3), Loss(Advantage.GROUP))
    (loss, raw), *_ = losses_for(grpo, DEMOTE)
    assert (loss, raw) == (Loss(Advantage.GROUP), Loss(Advantage.GROUP))


def test_a_floor_of_the_trainers_own_is_tried_too_and_holds_for_both() -> None:
    own = trainer_of({"objective": {"advantage": "group", "std_floor": 0.1}})
    assert keys(own, DEMOTE) == [
        *("group-0.1", "group", "group-0.3", "centred", "leave-one-out", "expected")
    ]
    (loss, raw), *_ = losses_for(own, DEMOTE)
    assert loss == raw == Loss(Advantage.GROUP, 0.1)
    (loss, raw), *_ = losses_for(own, POSTERIOR)
    assert (loss, raw) == (Loss(Advantage.GROUP, 0.3), Loss(Advantage.GROUP, 0.1))


def test_floors_that_look_the_same_are_one_loss() -> None:
    own = trainer_of({"objective": {"advantage": "group", "std_floor": 0.30000001}})
    assert keys(own, DEMOTE).count("group-0.3") == 1


def test_unbiased_values_are_no_probabilities() -> None:
    assert "expected" not in keys(UNSAID, UNBIASED)
    assert "expected" in keys(UNSAID, POSTERIOR)


def test_other_channels_are_said_where_they_are_summed() -> None:
    channels = [{"verifier": "format-tags", "weight": 0.1}]
    assert trainer_of({"reward": {"channels": channels, "combination": "sum"}}).sums_channels
    assert not trainer_of(
        {"reward": {"channels": channels, "combination": "normalise-first"}}
    ).sums_channels
    assert trainer_of({"grpo": {"truncated": "punished"}}).sums_channels
