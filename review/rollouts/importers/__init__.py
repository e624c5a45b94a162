"""Readers of files of rollouts: each turns a file of one format into records, one a completion."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from review.rollouts.errors import UnreadableFileError
from review.rollouts.importers import (
    guesses,
    inspect_log,
    jsonl,
    lm_eval,
    parquet,
    trl,
    verl,
)
from review.rollouts.importers.records import START, Reader, Record, Refused
from review.rollouts.models import ImportFormat

READERS: Mapping[str, Reader] = {
    ImportFormat.TRL: Reader(rows=parquet.rows, size=parquet.size, guess=trl.guess),
    ImportFormat.VERL: Reader(rows=verl.rows, size=jsonl.size, guess=verl.guess),
    ImportFormat.INSPECT: Reader(
        rows=inspect_log.rows, size=inspect_log.size, guess=inspect_log.guess
    ),
    ImportFormat.LM_EVAL: Reader(rows=lm_eval.rows, size=jsonl.size, guess=lm_eval.guess),
    ImportFormat.JSONL: Reader(rows=jsonl.rows, size=jsonl.size, guess=guesses.guess),
    ImportFormat.PARQUET: Reader(rows=parquet.rows, size=parquet.size, guess=guesses.guess),
}
# So many rows are looked at to tell what the columns hold.
SAMPLE_ROWS = 64

LM_EVAL_FIELDS = {"doc_id", "resps", "filtered_resps"}
VERL_FIELDS = {"input", "output"}
VERL_MARKS = {"gts", "score"}
TRL_FIELDS = {"step", "prompt", "completion", "advantage"}


def format_of(path: Path) -> ImportFormat:
    """The format that a file's content is in. Raises UnreadableFileError if it is none."""
    with path.open("rb") as file:
        start = file.read(8)
    if not start:
        raise UnreadableFileError("The file is empty.")
    if start.startswith(b"PAR1"):
        is_trl = set(parquet.columns(path)) >= TRL_FIELDS
        return ImportFormat.TRL if is_trl else ImportFormat.PARQUET
    if start.startswith(b"PK\x03\x04"):
        if not inspect_log.is_log(path):
            raise UnreadableFileError("A zip file that is no Inspect log. Unpack it first.")
        return ImportFormat.INSPECT
    if start.startswith(b"\x1f\x8b"):
        raise UnreadableFileError("The file is compressed by gzip. Unpack it first.")
    return _format_of_lines(path)


def _format_of_lines(path: Path) -> ImportFormat:
    rows = list(islice(jsonl.rows(path, START), 20))
    names = next((set(row.fields) for row in rows if isinstance(row, Record)), None)
    if names is None:
        reason = next((f": line {row.line} is {_says(row)}" for row in rows), "")
        raise UnreadableFileError(
            "The file is no Parquet, no Inspect log and no lines of JSON objects" + reason + "."
        )
    if names >= LM_EVAL_FIELDS:
        return ImportFormat.LM_EVAL
    if names >= VERL_FIELDS and names & VERL_MARKS:
        return ImportFormat.VERL
    return ImportFormat.JSONL


def _says(row: object) -> str:
    return row.reason if isinstance(row, Refused) else ""


def first_records(path: Path, format_: str) -> list[Record]:
    """Enough of a file to see what its columns hold."""
    rows = islice(READERS[format_].rows(path, START), SAMPLE_ROWS)
    return [row for row in rows if isinstance(row, Record)]


def guessed_mapping(path: Path, format_: str) -> dict[str, Any]:
    """A first mapping for the file, to be looked at by who knows it."""
    records = [record.fields for record in first_records(path, format_)]
    guessed = READERS[format_].guess(records)
    if format_ == ImportFormat.INSPECT and (model := inspect_log.policy(path)):
        guessed["policy"] = model
    return guessed
