"""EVOUNA's TriviaQA answers as a run: five systems are the policies, their answers the group.

The verifier accepts an answer that contains an alias of the reference.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import SHARED_DATA
from trainer.verifiers import Item, Verdict, build

FILE = SHARED_DATA / "evouna" / "tq.jsonl"
VERIFIER = build("alias-contained")

needs_evouna = pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.name} of EVOUNA is not here")


@dataclass(frozen=True)
class Completion:
    uid: str
    prompt: str
    problem: str
    reference: str
    policy: str
    text: str
    is_correct: bool
    verdict: Verdict


def completions(file: Path = FILE) -> Iterator[Completion]:
    """Every judged completion of the proper prompts, group after group."""
    # Not splitlines: the answers hold other characters that it takes for line ends.
    for line in file.read_text(encoding="utf-8").strip().split("\n"):
        row = json.loads(line)
        if row["improper"]:
            continue
        for answer in row["completions"]:
            item = Item(row["prompt"], answer["text"], (row["reference"],))
            (verdict,) = VERIFIER.verify([item])
            yield Completion(
                uid=f"{row['prompt_id']}/{answer['model']}",
                prompt=row["prompt_id"],
                problem=row["prompt"],
                reference=row["reference"],
                policy=answer["model"],
                text=answer["text"],
                is_correct=answer["human_correct"],
                verdict=verdict,
            )
