"""What columns of the usual names are likely to hold."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from math import gcd
from typing import Any

Fields = Mapping[str, Any]

# By field, the names that programs give it, the likeliest first.
USUAL = {
    "prompt": ("prompt", "problem", "question", "input", "query", "instruction"),
    "completion": (
        *("completion", "response", "output", "generation", "answer_text", "text"),
        *("messages", "prediction"),
    ),
    "references": (
        *("references", "reference", "ground_truth", "gts", "gold", "target", "solution"),
        *("answer", "label", "expected"),
    ),
    "extracted": ("extracted", "answer_parsed", "extracted_answer", "pred", "parsed"),
    "group": ("group", "group_id", "prompt_id", "problem_id", "question_id"),
    "uid": ("uid", "rollout_id", "completion_id"),
    "step": ("step", "global_step", "iteration"),
    "truncated": ("truncated", "is_truncated", "stop_reason", "finish_reason"),
    "tokens": ("tokens", "num_tokens", "completion_tokens", "response_length"),
    "reward": ("reward",),
}
# Numbers that judge nothing.
NO_SCORES = {
    "advantage",
    "advantages",
    "step",
    "epoch",
    "index",
    "idx",
    "id",
    "seed",
    "temperature",
}
LIKELY_SCORES = ("acc", "correct", "is_correct", "score", "reward", "accuracy", "passed", "verdict")


def guess(records: Sequence[Fields]) -> dict[str, Any]:
    """A mapping for records of no known program, by the names of their columns."""
    names = columns_of(records)
    found = {field: _first(usual, names) for field, usual in USUAL.items()}
    taken = {name for field, name in found.items() if name and field != "reward"}
    return {
        **found,
        "verdicts": verdicts(score_columns(records, leave_out=taken)[:1]),
        "group_size": 0 if found["group"] else group_size(records, found["prompt"]),
    }


def columns_of(records: Iterable[Fields]) -> list[str]:
    return list(dict.fromkeys(name for fields in records for name in fields))


def _first(usual: Iterable[str], names: Sequence[str]) -> str:
    return next((name for name in usual if name in names), "")


def verdicts(columns: Iterable[str]) -> list[dict[str, Any]]:
    return [{"column": name[:80]} for name in columns]


def score_columns(records: Sequence[Fields], *, leave_out: Iterable[str] = ()) -> list[str]:
    """Columns that hold nothing but numbers, truth values and nulls; likely scores come first."""
    left_out = {*NO_SCORES, *leave_out}
    names = [
        name
        for name in columns_of(records)
        if name not in left_out and _are_numbers([fields.get(name) for fields in records])
    ]
    return sorted(names, key=lambda name: _rank(name.lower()))


def _are_numbers(values: Sequence[object]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, bool | int | float) for value in known)


def _rank(name: str) -> int:
    return LIKELY_SCORES.index(name) if name in LIKELY_SCORES else len(LIKELY_SCORES)


def group_size(records: Sequence[Fields], prompt: str) -> int:
    """How many completions each prompt has, from the runs of equal prompts; 0: no telling.

    The last run may be cut off. Two groups of one prompt in a row make one run: hence the divisor.
    Groups of many sizes have none but 1.
    """
    runs = [
        len(list(run)) for _, run in groupby(records, key=lambda fields: repr(fields.get(prompt)))
    ]
    size = gcd(*runs[:-1]) if prompt else 0
    return size if size > 1 else 0
