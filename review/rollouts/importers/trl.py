"""TRL's logged completions: completions_00010.parquet, one file for each logged step.

Columns: step, prompt and completion (text or messages), a float for each reward function (NaN where
it gave None), what reward functions logged besides, advantage. A group is a block of equal prompts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from review.rollouts.importers import guesses


def guess(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = guesses.guess(records)
    scores = guesses.score_columns(records)
    return found | {
        "prompt": "prompt",
        "completion": "completion",
        "step": "step",
        "group": "",
        "group_size": guesses.group_size(records, "prompt"),
        "uid": "",
        # The advantage is made of these, so each of them may be the verdict: the first is.
        "verdicts": guesses.verdicts(scores)[:5],
        "reward": scores[0] if len(scores) == 1 else "",
    }
