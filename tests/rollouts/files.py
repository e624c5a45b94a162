"""Files of rollouts in the shapes that other programs write."""

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

Row = Mapping[str, Any]


def plain_rows(groups: int = 2, **changes: Any) -> list[dict[str, Any]]:
    """Groups of four: right, right, wrong, without a box."""
    answers = (r"so \boxed{15}", r"thus \boxed{15}", r"so \boxed{16}", "no idea")
    scores = (1.0, 1.0, 0.0, 0.0)
    return [
        {
            "problem": f"7 + 8, asked for the {group}th time",
            "response": text,
            "ground_truth": "15",
            "score": score,
            **changes,
        }
        for group in range(groups)
        for text, score in zip(answers, scores, strict=True)
    ]


def write_lines(path: Path, rows: Iterable[Row | bytes]) -> Path:
    lines = (row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def verl_rows(**changes: Any) -> list[dict[str, Any]]:
    """As the older trainer writes them: a penalty is in the score, not in `acc`."""
    return [
        {
            "input": "user\nWhat is 7 + 8?\nassistant\n",
            "output": rf"so \boxed{{{answer}}}",
            "gts": gts,
            "score": score,
            "step": 5,
            "acc": answer == 15,
            "pred": str(answer),
            "request_id": f"request-{answer}",
            **changes,
        }
        for answer, score, gts in (
            (15, 0.4, "15"),
            (16, -1.0, ["15", "15.0"]),
            (17, -1.0, {"t": 1}),
        )
    ]


def lm_eval_rows(*filters: str) -> list[dict[str, Any]]:
    """Two documents under each filter; only the last filter finds the answer."""
    return [
        {
            "doc_id": doc,
            "doc": {"question": f"7 + {doc}"},
            "target": f"steps\n#### {7 + doc}",
            "arguments": {"gen_args_0": {"arg_0": f"Question: 7 + {doc}\nAnswer:", "arg_1": {}}},
            "resps": [[f"It is {7 + doc}."]],
            "filtered_resps": [str(7 + doc) if name == filters[-1] else "[invalid]"],
            "filter": name,
            "metrics": ["exact_match"],
            "doc_hash": f"hash-{doc}",
            "prompt_hash": "hash",
            "target_hash": "hash",
            "exact_match": 1.0 if name == filters[-1] else 0.0,
        }
        for name in filters
        for doc in range(2)
    ]


def inspect_sample(name: str = "a_b", epoch: int = 1, **changes: Any) -> dict[str, Any]:
    asked = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "attachment://long", "source": "input"},
    ]
    said = [
        {
            "role": "assistant",
            "content": [
                {"type": "reasoning", "reasoning": "hm"},
                {"type": "text", "text": "Look."},
            ],
            "source": "generate",
            "tool_calls": [{"id": "c1", "function": "add", "arguments": {"a": 7, "b": 8}}],
        },
        {"role": "tool", "content": "15", "function": "add", "tool_call_id": "c1"},
        {"role": "assistant", "content": r"So \boxed{15}", "source": "generate"},
    ]
    return {
        "id": name,
        "epoch": epoch,
        "input": "attachment://long",
        "target": ["15", "fifteen"],
        "messages": asked + said,
        "output": {
            "choices": [{"message": said[-1], "stop_reason": "max_tokens"}],
            "completion": r"So \boxed{15}",
            "usage": {"output_tokens": 9},
        },
        "scores": {
            "match": {"value": "C", "answer": "15"},
            "parts": {"value": {"fluent": 0.25, "safe": None}},
        },
        "attachments": {"long": "A long problem: 7 + 8"},
        "events": [{"anything": ["at", "all"]}],
        **changes,
    }


def write_inspect(path: Path, samples: Iterable[Row], *, is_zstandard: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"eval": {"model": "mockllm/model"}}))
        for sample in samples:
            name = f"samples/{sample['id']}_epoch_{sample['epoch']}.json"
            if is_zstandard:
                _write_zstandard(archive, name, json.dumps(sample).encode())
            else:
                archive.writestr(name, json.dumps(sample))
    return path


def _write_zstandard(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """As Inspect writes members today; the zipfile of Python 3.11 cannot."""
    packed = pa.compress(content, codec="zstd", asbytes=True)
    archive.writestr(zipfile.ZipInfo(name), packed, zipfile.ZIP_STORED)
    member = archive.getinfo(name)
    member.compress_type, member.file_size = 93, len(content)
