"""A rollout as a reader meets it: the problem, then its turns, the steps numbered through.

Blind: what a machine judged is not in here. The middle of what is long is folded.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from django.utils.translation import gettext_lazy

from review.rollouts.models import Rollout
from review.rollouts.queries import Step, ToolCall, Turn, turns_of
from review.web.rendering import render, render_plain

# More than this is folded, to what a reader wants first: how it starts and how it ends.
MOST_STEPS = 24
MOST_TURNS = 12
MOST_CHARACTERS = 24_000
KEPT_STEPS = (8, 4)
KEPT_TURNS = (4, 3)
KEPT_CHARACTERS = (8_000, 4_000)
# A fold that hides less than this is not worth its button.
LEAST_HIDDEN = 3
# A prompt or a tool's result that is longer stands closed.
LONG_TEXT = 1_500

ROLES = {
    "system": gettext_lazy("System"),
    "user": gettext_lazy("User"),
    "assistant": gettext_lazy("Assistant"),
    "tool": gettext_lazy("Tool"),
}

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Limits:
    most: int
    kept: tuple[int, int]


STEPS = Limits(MOST_STEPS, KEPT_STEPS)
TURNS = Limits(MOST_TURNS, KEPT_TURNS)


def reading(rollout: Rollout) -> dict[str, Any]:
    """What templates/web/_turns.html shows.

    steps: all of them, flat. passages: the turns, of which one passage may be folded; a turn's
    stretches: its steps, of which one stretch may be folded.
    """
    turns = turns_of(rollout)
    shown = [_turn(turn, position) for position, turn in enumerate(turns)]
    return {
        "problem": render(rollout.group.prompt.text),
        "steps": [step for turn in shown for step in turn["steps"]],
        "turns": shown,
        "passages": _passages(turns, shown),
        "is_conversation": len(turns) > 1 or any(turn.tool_calls for turn in turns),
    }


def _turn(turn: Turn, position: int) -> dict[str, Any]:
    steps = [_step(step) for step in turn.steps]
    is_tool = turn.role == "tool"
    return {
        "role": ROLES.get(turn.role, turn.role),
        "kind": turn.role if turn.role in ROLES else "other",
        "name": turn.name,
        "call_id": turn.call_id,
        "steps": steps,
        "stretches": _stretches(turn.steps, steps, position),
        "html": None if steps or not turn.text else _whole(turn.text, is_plain=is_tool),
        "is_long": len(turn.text) > LONG_TEXT,
        "length": len(turn.text),
        "tool_calls": [_tool_call(call) for call in turn.tool_calls],
    }


def _step(step: Step) -> dict[str, Any]:
    return {"number": step.number, "id": step.id, "html": render(step.text)}


def _whole(text: str, *, is_plain: bool) -> str:
    return render_plain(text) if is_plain else render(text)


# -- folds ---------------------------------------------------------------------------------------


def _stretches(
    steps: Sequence[Step], shown: Sequence[dict[str, Any]], position: int
) -> list[dict[str, Any]]:
    first, last = middle(steps, STEPS, lambda step: len(step.text))
    parts = [shown[:first], shown[first:last], shown[last:]]
    return [
        {"steps": part, "fold": f"fold-{position}" if number == 1 else None}
        for number, part in enumerate(parts)
        if part
    ]


def _passages(turns: Sequence[Turn], shown: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    first, last = middle(turns, TURNS, lambda turn: 0)
    parts = [shown[:first], shown[first:last], shown[last:]]
    return [
        {
            "turns": part,
            "steps": sum(len(turn["steps"]) for turn in part),
            "fold": "fold-turns" if number == 1 else None,
        }
        for number, part in enumerate(parts)
        if part
    ]


def middle(items: Sequence[Item], limits: Limits, length: Callable[[Item], int]) -> tuple[int, int]:
    """Of a long sequence the part [first, last) to fold; an empty one at its end otherwise."""
    whole = (len(items), len(items))
    lengths = [length(item) for item in items]
    if len(items) <= limits.most and sum(lengths) <= MOST_CHARACTERS:
        return whole
    head = _kept(lengths, limits.kept[0], KEPT_CHARACTERS[0])
    tail = _kept(lengths[::-1], limits.kept[1], KEPT_CHARACTERS[1])
    last = len(items) - tail
    return (head, last) if last - head >= LEAST_HIDDEN else whole


def _kept(lengths: Sequence[int], most: int, characters: int) -> int:
    """How many from the start stay in sight: one at least."""
    total = 0
    for count, length in enumerate(lengths[:most]):
        total += length
        if total > characters:
            return max(count, 1)
    return min(most, len(lengths))


# -- tool calls ----------------------------------------------------------------------------------


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "name": call.name,
        "arguments": _arguments(call.arguments),
        "is_long": len(call.arguments) > LONG_TEXT,
    }


def _arguments(written: str) -> list[tuple[str, str]]:
    """Named arguments each by itself, a text among them with its line ends; else as written."""
    try:
        named = _named(written)
    except (ValueError, RecursionError):  # no JSON object, or too deep a one
        return [("", render_plain(written, language="json"))]
    return [(name, _argument(raw)) for name, raw in named.items()]


def _named(written: str) -> dict[str, msgspec.Raw]:
    """The arguments as they are spelled: a parsed number would read 1.10 as 1.1."""
    named = msgspec.json.decode(written, type=dict[str, msgspec.Raw])
    if json.loads(written, object_pairs_hook=len) != len(named):
        raise ValueError("a name stands twice: one would be lost")
    return named


def _argument(raw: msgspec.Raw) -> str:
    spelled = bytes(raw).decode()
    if spelled.startswith('"'):
        return render_plain(json.loads(spelled))
    return render_plain(spelled, language="json")
