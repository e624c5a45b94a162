"""Which loss a run trains with, as far as its stored config says, and which others it may be held
against."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from review.calibration.models import RewardRule
from review.stats.advantages import Advantage, Loss

# Trainers' words for advantages that are not made of a group's rewards, or not of a table's.
OTHERS = ("steps", "gae", "pass-at-k")
# Trainers divide by at least this where a table pays probabilities.
POSTERIOR_FLOOR = 0.3
# Above this a floor is no setting that anybody trains with.
HIGHEST_FLOOR = 1e3
# A truncated rollout is paid this instead, by what the config says of it.
IF_TRUNCATED: Mapping[str, float] = {"wrong": 0.0, "filtered": math.nan}


@dataclass(frozen=True, slots=True)
class Trainer:
    """What a run's config says of its trainer; other trainers' configs say nothing.

    advantage: the trainer's word, of `Advantage` or of OTHERS; None: not said. truncated: paid as
    judged, "wrong", or "filtered". sums_channels: other rewards are added before they become
    advantages.
    """

    advantage: str | None
    std_floor: float
    truncated: str
    sums_channels: bool


def trainer_of(config: object) -> Trainer:
    """Of a config that anybody may have written: what is not understood is not said."""
    objective, grpo, reward = (_section(config, name) for name in ("objective", "grpo", "reward"))
    advantage, truncated = objective.get("advantage"), grpo.get("truncated")
    return Trainer(
        advantage=advantage if advantage in [*Advantage, *OTHERS] else None,
        std_floor=_std_floor(objective.get("std_floor")),
        truncated=truncated if isinstance(truncated, str) else "judged",
        sums_channels=(
            (bool(reward.get("channels")) and reward.get("combination") == "sum")
            or truncated == "punished"
        ),
    )


def _std_floor(said: object) -> float:
    if isinstance(said, bool) or not isinstance(said, int | float):
        return 0.0
    # As its loss is named: two that look the same are the same.
    return float(f"{said:g}") if 0 <= said <= HIGHEST_FLOOR else 0.0


def own_loss(trainer: Trainer, rule: RewardRule) -> Loss | None:
    """What the trainer will do with a table of this rule; None where that is not known here."""
    if trainer.advantage not in set(Advantage):
        return None
    advantage = Advantage(trainer.advantage)
    return Loss(advantage, _floor(trainer, rule) if advantage is Advantage.GROUP else 0.0)


def losses_for(trainer: Trainer, rule: RewardRule) -> Sequence[tuple[Loss, Loss]]:
    """The losses that a table of this rule is tried under, the trainer's own first, each with
    that of the raw verdict: a floor that comes with the table is none without it.

    Tables of the unbiased rule hold no probabilities, which expected advantages want.
    """
    own, floored = own_loss(trainer, rule), Loss(Advantage.GROUP, POSTERIOR_FLOOR)
    losses = [Loss(Advantage.GROUP), floored, *map(Loss, list(Advantage)[1:])]
    ordered = dict.fromkeys([own, *losses] if own else losses)
    return [
        (loss, Loss(loss.advantage, _raw_floor(loss, trainer, rule)))
        for loss in ordered
        if loss.advantage is not Advantage.EXPECTED or rule != RewardRule.UNBIASED
    ]


def _floor(trainer: Trainer, rule: RewardRule) -> float:
    return max(trainer.std_floor, POSTERIOR_FLOOR if rule == RewardRule.POSTERIOR else 0.0)


def _raw_floor(loss: Loss, trainer: Trainer, rule: RewardRule) -> float:
    comes_with_table = rule == RewardRule.POSTERIOR and loss.std_floor == POSTERIOR_FLOOR
    return min(trainer.std_floor, POSTERIOR_FLOOR) if comes_with_table else loss.std_floor


def _section(config: object, name: str) -> Mapping[str, Any]:
    section = config.get(name) if isinstance(config, Mapping) else None
    return section if isinstance(section, Mapping) else {}
