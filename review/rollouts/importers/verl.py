"""verl's rollouts: {global_step}.jsonl, one completion a line.

Fields: input, output, gts (text, list, dict or JSON), score, step; acc, pred and others where the
reward function gives them; uid = {sample}_{rollout}_{output} of the newer trainer. `score` holds
what is added to the reward (a penalty for length): where there is `acc`, that is the verdict.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from review.rollouts.importers import guesses, jsonl
from review.rollouts.importers.records import Position, Record, Row

UID = re.compile(r"(?P<sample>.+)_[0-9]+_[0-9]+", re.DOTALL)
SAMPLE = "sample of the uid"


def rows(path: Path, position: Position) -> Iterator[Row]:
    for row in jsonl.rows(path, position):
        yield _with_sample(row) if isinstance(row, Record) else row


def _with_sample(record: Record) -> Record:
    uid = record.fields.get("uid")
    match = UID.fullmatch(uid) if isinstance(uid, str) else None
    return replace(record, fields=record.fields | {SAMPLE: match["sample"]}) if match else record


def guess(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = guesses.columns_of(records)
    has_samples = SAMPLE in names
    return {
        "prompt": "input",
        "completion": "output",
        "references": "gts" if "gts" in names else "",
        "extracted": "pred" if "pred" in names else "",
        "step": "step" if "step" in names else "",
        "group": SAMPLE if has_samples else "",
        "group_size": 0 if has_samples else guesses.group_size(records, "input"),
        "verdicts": guesses.verdicts(["acc" if "acc" in names else "score"]),
        "reward": "score" if "score" in names else "",
    }
