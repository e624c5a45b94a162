"""Labels as the server exports them (`GET runs/{id}/labels?format=jsonl`), as examples to fit on.

A line that is no such row is refused, with file, line and rule; columns that are not read here may
be any, so that a newer server's file still loads. A row that says nothing to learn from is left
out, and counted under its reason.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from trainer.verifiers import Item

_Kind = TypeVar("_Kind")
_KINDS: dict[type, str] = {str: "a text", list: "a list", dict: "an object"}
_DECIDED = {"correct": True, "incorrect": False}


class LabelsError(ValueError):
    """The labels cannot be read, or nothing can be fitted to them; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled rollout.

    prompt: the problem's text without its spacing: what is held out together. earliest_wrong: the
    first wrong step from 1, 0 for none; None = the steps are not judged. weight: rollouts of the
    audited frame that it stands for. is_sampled: drawn by chance; a pick stands for itself alone.
    outcomes: "pass", "fail" or "undecided" by correctness verifier ("name@version").
    """

    id: str
    prompt: str
    prompt_id: str
    item: Item
    is_correct: bool
    earliest_wrong: int | None
    weight: float
    is_sampled: bool
    outcomes: Mapping[str, str]

    def step_labels(self) -> tuple[bool, ...]:
        """Whether each step is right, up to the first wrong one: of those after it nothing is
        known."""
        if self.earliest_wrong is None:
            return ()
        if self.earliest_wrong == 0:
            return (True,) * len(self.item.steps)
        return (True,) * (self.earliest_wrong - 1) + (False,)


@dataclass(frozen=True, slots=True)
class Labels:
    """Examples, and how many rows were left out for which reason."""

    examples: tuple[Example, ...]
    left_out: Mapping[str, int]


def read_labels(files: Sequence[Path], *, level: str) -> Labels:
    """The examples in these files for a fit of this level, in order.

    Raises LabelsError, naming file, line and rule.
    """
    rows = [row for file in files for row in _rows(file)]
    seen: dict[str, str] = {}
    for at, row in rows:
        if (id_ := row["id"]) in seen:
            raise LabelsError(f"{at}: id: {id_} is in {seen[id_]} too")
        seen[id_] = at
    weights = _weights(row for _, row in rows)
    examples, left_out = [], Counter[str]()
    for at, row in rows:
        if reason := _why_left_out(row, level, at):
            left_out[reason] += 1
        else:
            examples.append(_example(row, weights.get(row["id"]), at))
    if not examples:
        told = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        names = ", ".join(map(str, files))
        raise LabelsError(f"{names}: no labels to fit to ({told or 'the files are empty'})")
    if not any(example.is_sampled for example in examples):
        # Labels that were not drawn by an audit: each stands for itself.
        examples = [replace(example, is_sampled=True) for example in examples]
    return Labels(tuple(examples), dict(left_out))


def _rows(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """Each line with its place. Only its newlines end one: texts hold other line ends."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise LabelsError(f"cannot read {file}: {error.strerror}") from error
    return [
        _checked(line, f"{file}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def _checked(line: bytes, at: str) -> tuple[str, dict[str, Any]]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LabelsError(f"{at}: is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise LabelsError(f"{at}: must be an object")
    for name in ("id", "prompt_id", "prompt"):
        _field(row, name, str, at)
    for name in ("references", "messages", "steps", "verdicts", "errata"):
        _field(row, name, list, at)
    sample = _object(row, "sample", at)
    if sample is not None:
        _field(sample, "window", str, at, within="sample.")
        for name in ("weight", "wave", "planned"):
            if not _is_positive(sample.get(name)):
                raise LabelsError(f"{at}: sample.{name}: must be a number above 0")
    return at, row


def _is_positive(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < float("inf")  # type: ignore[operator]


def _field(
    row: Mapping[str, Any], name: str, kind: type[_Kind], at: str, *, within: str = ""
) -> _Kind:
    if name not in row:
        raise LabelsError(f"{at}: {within}{name}: is missing")
    value = row[name]
    if type(value) is not kind:
        told = f"must be {_KINDS[kind]}, not {type(value).__name__}"
        raise LabelsError(f"{at}: {within}{name}: {told}")
    return value


def _object(row: Mapping[str, Any], name: str, at: str) -> Mapping[str, Any] | None:
    return None if name in row and row[name] is None else _field(row, name, dict, at)


def _why_left_out(row: Mapping[str, Any], level: str, at: str) -> str:
    """A reason, or nothing: what people call a broken problem is no example of anything."""
    final = _object(row, "final", at)
    if final is None:
        return "without a final answer"
    if row.get("is_purged"):
        return "purged"
    if _field(final, "answer", str, at, within="final.") not in _DECIDED:
        return "undecided"
    is_upheld = any(erratum.get("state") == "upheld" for erratum in _objects(row, "errata", at))
    if is_upheld or final.get("problem_fault"):
        return "of a broken problem"
    is_said = final.get("earliest_wrong_step") is not None or final.get("no_wrong_step")
    if level == "step" and not (is_said and row["steps"]):
        return "without a word on its steps"
    return ""


def _example(row: Mapping[str, Any], weight: float | None, at: str) -> Example:
    contents = _contents(row, at)
    steps = _step_texts(row, contents, at)
    final = row["final"]
    earliest = 0 if final.get("no_wrong_step") else final.get("earliest_wrong_step")
    if earliest is not None and (type(earliest) is not int or not 0 <= earliest <= len(steps)):
        raise LabelsError(f"{at}: final.earliest_wrong_step: must be 1 to {len(steps)}")
    references = row["references"]
    if not all(isinstance(reference, str) for reference in references):
        raise LabelsError(f"{at}: references: must be texts")
    # The last words of the policy, as the server hands a rollout to its verifiers.
    written = [message["content"] for message in row["messages"] if message["role"] == "assistant"]
    return Example(
        id=row["id"],
        prompt=" ".join(row["prompt"].split()),
        prompt_id=row["prompt_id"],
        item=Item(row["prompt"], (written or contents)[-1], tuple(references), steps),
        is_correct=_DECIDED[final["answer"]],
        earliest_wrong=earliest,
        weight=1.0 if weight is None else weight,
        is_sampled=weight is not None,
        outcomes={
            str(verdict.get("verifier")): str(verdict.get("outcome"))
            for verdict in _objects(row, "verdicts", at)
            if verdict.get("channel") == "correctness"
        },
    )


def _contents(row: Mapping[str, Any], at: str) -> list[str]:
    contents = []
    for message in _objects(row, "messages", at):
        _field(message, "role", str, at, within="messages.")
        contents.append(_field(message, "content", str, at, within="messages."))
    if not contents:
        raise LabelsError(f"{at}: messages: there are none")
    return contents


def _step_texts(row: Mapping[str, Any], contents: Sequence[str], at: str) -> tuple[str, ...]:
    try:
        return tuple(contents[message][start:end] for message, start, end in row["steps"])
    except (TypeError, ValueError, IndexError):
        raise LabelsError(f"{at}: steps: must be [message, start, end] each") from None


def _objects(row: Mapping[str, Any], name: str, at: str) -> list[Mapping[str, Any]]:
    if not all(isinstance(entry, dict) for entry in row[name]):
        raise LabelsError(f"{at}: {name}: must hold objects")
    entries: list[Mapping[str, Any]] = row[name]
    return entries


def _weights(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """What each drawn rollout weighs in the estimate of its window, by its id.

    A wave's draws stand for what was not labelled before it (weight g), those of earlier waves then
    stand for themselves; the waves' totals are mixed by their planned sizes n_b: a draw of wave b
    weighs w_b g + the w of all later waves, w_b = n_b / n. A cancelled wave is in no estimate.
    """
    windows: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["sample"] is not None:
            windows[row["sample"]["window"]].append(row)
    weights = {}
    for drawn in windows.values():
        planned = {row["sample"]["wave"]: row["sample"]["planned"] for row in drawn}
        total = sum(planned.values())
        for row in drawn:
            sample = row["sample"]
            later = sum(size for wave, size in planned.items() if wave > sample["wave"])
            own = planned[sample["wave"]]
            weights[row["id"]] = (own * sample["weight"] + later) / total
    return weights
