"""Labels as Parquet. Imported only where a file is written."""

from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from review.labeling.final_labels import LabelledRollout

ROWS_A_GROUP = 1_000

TEXT, WHOLE, REAL, TRUTH = pa.string(), pa.int64(), pa.float64(), pa.bool_()
TEXTS = pa.list_(TEXT)
SAID = [
    ("answer", TEXT),
    ("step_id", TEXT),
    ("earliest_wrong_step", WHOLE),
    ("no_wrong_step", TRUTH),
    ("error_category", TEXT),
    ("is_format_kept", TRUTH),
    ("is_hack", TRUTH),
    ("hack_kind", TEXT),
    ("is_hack_admitted", TRUTH),
    ("is_answer_supported", TRUTH),
    ("problem_fault", TEXT),
    ("confidence", WHOLE),
    ("criteria", TEXTS),
]
MESSAGE = pa.struct(
    [("role", TEXT), ("content", TEXT), ("name", TEXT), ("call_id", TEXT), ("tool_calls", TEXT)]
)
VERDICT = pa.struct(
    [
        *(("verifier", TEXT), ("channel", TEXT), ("outcome", TEXT), ("score", REAL)),
        *(("extracted", TEXT), ("path", TEXT), ("form", TEXT), ("candidates", WHOLE)),
    ]
)
LABEL = pa.struct(
    [
        *SAID,
        *(("id", WHOLE), ("slot", WHOLE), ("cause", TEXT), ("is_late", TRUTH), ("note", TEXT)),
        *(("active_ms", WHOLE), ("at", TEXT), ("reviewer", TEXT), ("counts", TRUTH)),
    ]
)
DECISION = pa.struct([*SAID, ("id", WHOLE), ("reason", TEXT), ("at", TEXT), ("decided_by", TEXT)])
SAMPLE = pa.struct(
    [
        *(("window", TEXT), ("first_step", WHOLE), ("last_step", WHOLE), ("wave", WHOLE)),
        *(("wave_state", TEXT), ("planned", WHOLE), ("stratum", WHOLE), ("weight", REAL)),
    ]
)
# The fields of LabelledRollout. Tool calls, whose arguments have any shape, as JSON.
SCHEMA = pa.schema(
    [
        *(("id", TEXT), ("run", TEXT), ("audit", TEXT), ("questions", TEXTS), ("rubric", TEXTS)),
        *(("rollout", TEXT), ("group", TEXT), ("step", WHOLE), ("policy", TEXT)),
        *(("prompt_id", TEXT), ("prompt", TEXT), ("references", TEXTS), ("domain", TEXT)),
        *(("source", TEXT), ("licence", TEXT), ("split", TEXT), ("difficulty", WHOLE)),
        ("messages", pa.list_(MESSAGE)),
        ("steps", pa.list_(pa.list_(WHOLE))),
        *(("is_purged", TRUTH), ("tokens", WHOLE), ("is_truncated", TRUTH)),
        *(("answer_class", TEXT), ("cell", TEXT), ("reward", REAL), ("table_version", WHOLE)),
        ("verdicts", pa.list_(VERDICT)),
        ("labels", pa.list_(LABEL)),
        ("adjudication", DECISION),
        ("final", pa.struct([*SAID, ("source", TEXT)])),
        ("sample", SAMPLE),
        ("pick", pa.struct([("window", TEXT), ("cause", TEXT)])),
        ("gold", pa.struct([("answer", TEXT), ("is_hack", TRUTH)])),
        (
            "errata",
            pa.list_(pa.struct([("fault", TEXT), ("state", TEXT), ("decision", TEXT)])),
        ),
    ]
)


class _Sink(BytesIO):
    """What the writer has written and nobody has taken yet."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0

    def tell(self) -> int:
        return self.taken + super().tell()

    def take(self) -> bytes:
        piece = self.getvalue()
        self.taken += len(piece)
        self.seek(0)
        self.truncate()
        return piece


def parquet_pieces(rows: Iterator[LabelledRollout]) -> Iterator[bytes]:
    sink = _Sink()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), SCHEMA) as writer:
        while group := [_columns(row) for row in islice(rows, ROWS_A_GROUP)]:
            writer.write_table(pa.Table.from_pylist(group, schema=SCHEMA))
            yield sink.take()
    yield sink.take()


def _columns(row: LabelledRollout) -> dict[str, Any]:
    columns: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(row))
    return columns | {"messages": [_message(message) for message in columns["messages"]]}


def _message(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    return message | {"tool_calls": msgspec.json.encode(calls).decode() if calls else None}
