"""Cells and the reward table: one lookup per rollout, the same code in trainer and server."""

from trainer.rewards.cells import (
    CELL_VERSION,
    NORMALISERS,
    Cell,
    CellError,
    GroupRollout,
    UnknownNormaliserError,
    answer_class,
    cells_of_group,
    signature,
)
from trainer.rewards.scoring import Scored, response_in, score_group
from trainer.rewards.table import RULES, Entry, Reward, RewardTable, TableError, raw_reward

__all__ = [
    "CELL_VERSION",
    "NORMALISERS",
    "RULES",
    "Cell",
    "CellError",
    "Entry",
    "GroupRollout",
    "Reward",
    "RewardTable",
    "Scored",
    "TableError",
    "UnknownNormaliserError",
    "answer_class",
    "cells_of_group",
    "raw_reward",
    "response_in",
    "score_group",
    "signature",
]
