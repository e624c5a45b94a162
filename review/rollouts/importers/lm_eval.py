"""lm-eval's logged samples: samples_{task}_{time}.jsonl, a line for each document and filter.

Fields: doc_id, doc, target, arguments, resps (per request a list of responses), filtered_resps,
filter, metrics (names) and a value for each metric. All documents of one filter come before those
of the next, which judges the same responses again.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from review.rollouts.importers import guesses, jsonl
from review.rollouts.importers.records import Position, Record, Refused, Row

PROMPT, RESPONSE, ANSWER = "prompt", "response", "filtered response"


def rows(path: Path, position: Position) -> Iterator[Row]:
    for row in jsonl.rows(path, position):
        if isinstance(row, Refused):
            yield row
        else:
            yield from _responses(row)


def _responses(record: Record) -> Iterator[Row]:
    """One record for each response. The metrics are of what the filter chose: of one response only
    where there is one, else nobody's."""
    fields = record.fields
    texts = _texts(fields.get("resps"))
    if not texts:
        reason = "no generated text in resps: log-likelihoods cannot be audited"
        yield Refused(record.line, record.after, reason)
        return
    judged = fields if len(texts) == 1 else _without_metrics(fields)
    shared = {PROMPT: _prompt(fields), ANSWER: _only(fields.get("filtered_resps"))}
    for number, text in enumerate(texts):
        key = f"{fields.get('doc_id')}.{fields.get('doc_hash')}.{number}"
        yield Record(record.line, record.after, key, judged | shared | {RESPONSE: text})


def _texts(resps: object) -> list[str]:
    """resps is a list (requests) of lists (repeats) of texts."""
    if not isinstance(resps, list):
        return []
    flat = [one for each in resps for one in (each if isinstance(each, list) else [each])]
    return flat if all(isinstance(one, str) for one in flat) else []


def _without_metrics(fields: Mapping[str, Any]) -> dict[str, Any]:
    names = fields.get("metrics")
    metrics = {name for name in names if isinstance(name, str)} if isinstance(names, list) else ()
    return {name: value for name, value in fields.items() if name not in metrics}


def _prompt(fields: Mapping[str, Any]) -> object:
    """The first argument of the first request; chat templates make it JSON in a text."""
    arguments = fields.get("arguments")
    if isinstance(arguments, dict):
        arguments = [
            list(one.values()) if isinstance(one, dict) else one for one in arguments.values()
        ]
    first = arguments[0] if isinstance(arguments, list) and arguments else None
    return first[0] if isinstance(first, list) and first else first


def _only(values: object) -> object:
    while isinstance(values, list) and len(values) == 1:
        values = values[0]
    return values if isinstance(values, str) and values != "[invalid]" else None


def guess(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = records[0] if records else {}
    names = first.get("metrics")
    metrics = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return {
        "prompt": PROMPT,
        "completion": RESPONSE,
        "references": "target",
        "extracted": ANSWER,
        "group": "doc_id",
        "variant": "filter",
        "first_variant": str(first.get("filter", "")),
        "verdicts": guesses.verdicts(metrics[:1]),
        "policy": "evaluated",
    }
