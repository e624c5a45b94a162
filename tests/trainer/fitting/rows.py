"""Rows as the server exports labels, every default filled."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def make_row(id: str = "a-1", **changes: Any) -> Row:
    """`changes`: whole columns."""
    text = "First 7.\n\nThen 15."
    return {
        "id": id,
        "prompt_id": "p-1",
        "prompt": "7 + 8 = ?",
        "references": ["15"],
        "messages": [{"role": "assistant", "content": text}],
        "steps": [[0, 0, 8], [0, 10, 18]],
        "is_purged": False,
        "verdicts": [make_verdict()],
        "final": make_final(),
        "sample": make_sample(),
        "errata": [],
    } | changes


def make_final(answer: str = "correct", **changes: Any) -> Row:
    said = {"earliest_wrong_step": None, "no_wrong_step": False, "problem_fault": ""}
    return {"answer": answer, **said} | changes


def make_sample(weight: float = 2.0, **changes: Any) -> Row:
    return {"window": "w-1", "wave": 1, "planned": 8, "weight": weight} | changes


def make_verdict(outcome: str = "pass", verifier: str = "exact-match@2") -> Row:
    return {"verifier": verifier, "channel": "correctness", "outcome": outcome}


def write(rows: Iterable[Row], folder: Path) -> Path:
    file = folder / "labels.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def answered(prompts: int, *, a_prompt: int = 4) -> list[Row]:
    """An answer is right where it says "yes"; the other verifier accepts them all."""
    rows = []
    for prompt in range(prompts):
        for i in range(a_prompt):
            is_right = (prompt + i) % 2 == 0
            text = f"I think {'yes' if is_right else 'no'} it is"
            rows.append(
                make_row(
                    f"{prompt}-{i}",
                    prompt_id=f"p-{prompt}",
                    prompt=f"Is it {prompt}?",
                    messages=[{"role": "assistant", "content": text}],
                    steps=[],
                    final=make_final("correct" if is_right else "incorrect"),
                )
            )
    return rows


def stepped(prompts: int, *, a_prompt: int = 4) -> list[Row]:
    """Four steps each; the first one that says "bad" is the first wrong one."""
    rows = []
    for prompt in range(prompts):
        for i in range(a_prompt):
            wrong = (prompt + i) % 5  # 0: none
            steps = ["bad" if number == wrong else "good" for number in range(1, 5)]
            spans, at = [], 0
            for step in steps:
                spans.append([0, at, at + len(step)])
                at += len(step) + 1
            final = make_final(
                "incorrect" if wrong else "correct",
                earliest_wrong_step=wrong or None,
                no_wrong_step=not wrong,
            )
            rows.append(
                make_row(
                    f"{prompt}-{i}",
                    prompt_id=f"p-{prompt}",
                    prompt=f"Is it {prompt}?",
                    messages=[{"role": "assistant", "content": "\n".join(steps)}],
                    steps=spans,
                    final=final,
                )
            )
    return rows
