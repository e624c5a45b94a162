"""Inspect's logs: an .eval file is a zip of header.json and samples/{id}_epoch_{n}.json.

Nothing is ever unpacked to a path: members are read one at a time, in memory, within bounds. The
epochs of a sample are a group. Long texts stand once under `attachments` and are named elsewhere.
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
from msgspec import structs

from review.rollouts.errors import UnreadableFileError
from review.rollouts.importers import guesses
from review.rollouts.importers.jsonl import decoded
from review.rollouts.importers.records import (
    MOST_ROW_BYTES,
    Position,
    Record,
    Refused,
    Row,
    refuse_deep,
)

SAMPLE = re.compile(r"samples/(?P<id>.*)_epoch_(?P<epoch>[0-9]{1,9})\.json", re.DOTALL)
# Its events, which are not read, make most of a sample.
MOST_SAMPLE_BYTES = 4 * MOST_ROW_BYTES
MOST_DIRECTORY_BYTES = 16 * 1024 * 1024
MOST_UNPACKED_BYTES = 64 * 1024**3
ATTACHMENT = "attachment://"
ZSTANDARD = 93
# A member's own header: fixed part, then name and extra fields of these lengths.
LOCAL_HEADER = struct.Struct("<26xHH")
CUT_OFF = {"max_tokens", "model_length"}
DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError),
    *(OSError, EOFError, OverflowError),
)


class Sample(msgspec.Struct):
    """What is read of a sample. Its events and its store are passed over."""

    id: str | int = ""
    epoch: int = 1
    input: str | list[dict[str, Any]] = ""
    choices: list[str] | None = None
    target: str | list[str] = ""
    messages: list[dict[str, Any]] = []
    output: dict[str, Any] = {}
    scores: dict[str, dict[str, Any]] | None = None
    attachments: dict[str, str] = {}
    error: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(Sample).decode


def rows(path: Path, position: Position) -> Iterator[Row]:
    with path.open("rb") as file, _opened(file) as archive:
        members = samples_of(archive)
        for number in range(position.rows + 1, len(members) + 1):
            try:
                sample = _sample(_content(file, archive, members[number - 1]))
                refuse_deep(structs.astuple(sample))
                yield Record(number, number, _key(sample), _fields(sample))
            except ValueError as error:
                yield Refused(number, number, str(error))


def size(path: Path) -> int:
    with path.open("rb") as file, _opened(file) as archive:
        return len(samples_of(archive))


def policy(path: Path) -> str:
    """The model that was evaluated."""
    with path.open("rb") as file, _opened(file) as archive:
        try:
            header = decoded(_content(file, archive, archive.getinfo("header.json")))
            return str(header["eval"]["model"])[:200]
        except (KeyError, TypeError, ValueError):
            return ""


def is_log(path: Path) -> bool:
    with path.open("rb") as file, _opened(file) as archive:
        return any(SAMPLE.fullmatch(member.filename) for member in archive.infolist())


def samples_of(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members that hold samples, the epochs of each sample together."""
    order: dict[str, int] = {}
    found = []
    for member in archive.infolist():
        if match := SAMPLE.fullmatch(member.filename):
            place = order.setdefault(match["id"], len(order))
            found.append((place, int(match["epoch"]), member))
    return [member for *_, member in sorted(found, key=lambda one: one[:2])]


def _opened(file: IO[bytes]) -> zipfile.ZipFile:
    """The archive, if its list of members is of a size to be read, and so is all that they hold."""
    try:
        if _directory_bytes(file) > MOST_DIRECTORY_BYTES:
            raise UnreadableFileError("The archive holds too many files.")
        archive = zipfile.ZipFile(file)
    except (*DAMAGED, ValueError):
        raise UnreadableFileError("The file is not a valid zip archive.") from None
    if sum(member.file_size for member in archive.infolist()) > MOST_UNPACKED_BYTES:
        raise UnreadableFileError(f"Unpacked it is larger than {MOST_UNPACKED_BYTES >> 30} GiB.")
    return archive


def _directory_bytes(file: IO[bytes]) -> int:
    """How long the list of members is, from the record at the archive's end."""
    file.seek(0, 2)
    start = max(0, file.tell() - 66_000)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        raise zipfile.BadZipFile
    (length,) = struct.unpack_from("<I", tail, at + 12)
    if length == 0xFFFF_FFFF:
        # A larger archive says it in a record of its own, whose place stands before this one.
        (place,) = struct.unpack_from("<Q", tail, at - 20 + 8)
        file.seek(place)
        (length,) = struct.unpack_from("<Q", file.read(56), 40)
    return int(length)


def _content(file: IO[bytes], archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member, unpacked. Raises ValueError if it is too large or damaged."""
    if max(member.file_size, member.compress_size) > MOST_SAMPLE_BYTES:
        raise ValueError(f"longer than {MOST_SAMPLE_BYTES >> 20} MiB")
    try:
        if member.compress_type == ZSTANDARD:
            return _unpacked(file, member)
        with archive.open(member) as opened:
            return opened.read(MOST_SAMPLE_BYTES + 1)
    except DAMAGED as error:
        raise ValueError(f"cannot be unpacked: {str(error)[:200]}") from None


def _unpacked(file: IO[bytes], member: zipfile.ZipInfo) -> bytes:
    """Of a compression that this Python's zipfile does not know."""
    import pyarrow as pa

    file.seek(member.header_offset)
    name, extra = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    file.seek(name + extra, 1)
    packed = pa.BufferReader(file.read(member.compress_size))
    with pa.CompressedInputStream(packed, "zstd") as stream:
        content: bytes = stream.read(member.file_size + 1)
    if len(content) != member.file_size:
        raise ValueError("is not as long as the archive says")
    return content


def _sample(content: bytes) -> Sample:
    try:
        return _decode(content)
    except msgspec.ValidationError as error:
        raise ValueError(f"not a sample: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Scores may be NaN, which is no JSON.
        if len(content) > MOST_ROW_BYTES:
            raise ValueError("not valid JSON") from None
    try:
        return msgspec.convert(decoded(content), Sample)
    except msgspec.ValidationError as error:
        raise ValueError(f"not a sample: {error}") from None


def _key(sample: Sample) -> str:
    return f"{sample.id}.{sample.epoch}"


def _fields(sample: Sample) -> dict[str, Any]:
    resolve = _Attachments(sample.attachments)
    if sample.error is not None and not sample.scores:
        raise ValueError(f"the sample failed: {str(sample.error.get('message'))[:200]}")
    scores = _scores(sample.scores or {})
    return {
        "id": sample.id,
        "epoch": sample.epoch,
        "input": resolve(_with_choices(sample)),
        "target": sample.target,
        "completion": resolve(_completion(sample)),
        "answer": _answer(resolve, sample),
        "cut off": _stop_reason(sample) in CUT_OFF,
        "tokens": _tokens(sample),
    } | scores


def _with_choices(sample: Sample) -> object:
    if not sample.choices:
        return sample.input
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    listed = "\n".join(
        f"{letter}) {choice}" for letter, choice in zip(letters, sample.choices, strict=False)
    )
    if isinstance(sample.input, str):
        return f"{sample.input}\n\n{listed}"
    return [*sample.input, {"role": "choices", "content": listed}]


def _completion(sample: Sample) -> object:
    """What the model said and what tools answered, without what it was given."""
    for place, message in enumerate(sample.messages):
        if message.get("role") == "assistant" and message.get("source") != "input":
            return sample.messages[place:]
    choices = sample.output.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0].get("message")
    return None


def _scores(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A column for each scorer, and one for each part of a value that has several."""
    columns: dict[str, Any] = {}
    for name, score in scores.items():
        value = score.get("value")
        if isinstance(value, dict):
            columns |= {f"{name}: {part}": number for part, number in value.items()}
        else:
            columns[f"score: {name}" if name in FIXED else name] = value
    return columns


FIXED = {"id", "epoch", "input", "target", "completion", "answer", "cut off", "tokens"}


def _answer(resolve: "_Attachments", sample: Sample) -> object:
    """What the first scorer judged. It is often all of the completion: then it is no answer."""
    first = next(iter((sample.scores or {}).values()), {})
    answer = resolve(first.get("answer"))
    whole = resolve(sample.output.get("completion"))
    return None if answer == whole else answer


def _stop_reason(sample: Sample) -> object:
    choices = sample.output.get("choices")
    is_listed = isinstance(choices, list) and choices and isinstance(choices[0], dict)
    return choices[0].get("stop_reason") if is_listed else None  # type: ignore[index]


def _tokens(sample: Sample) -> object:
    usage = sample.output.get("usage")
    return usage.get("output_tokens") if isinstance(usage, dict) else None


class _Attachments:
    """Puts texts where they are named. One may be named often: all together are bounded."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts
        self.left = MOST_ROW_BYTES

    def __call__(self, value: object) -> object:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self(one) for one in value]
        if isinstance(value, dict):
            return {name: self(one) for name, one in value.items()}
        return value

    def _text(self, text: str) -> str:
        if not text.startswith(ATTACHMENT):
            return text
        found = self.texts.get(text.removeprefix(ATTACHMENT), text)
        self.left -= len(found)
        if self.left < 0:
            raise ValueError(f"longer than {MOST_ROW_BYTES >> 20} MiB with its attachments")
        return found


def guess(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    scores = [name for name in guesses.columns_of(records) if name not in FIXED]
    has_answers = any(fields.get("answer") is not None for fields in records)
    return {
        "prompt": "input",
        "completion": "completion",
        "references": "target",
        "extracted": "answer" if has_answers else "",
        "group": "id",
        "truncated": "cut off",
        "tokens": "tokens",
        "verdicts": guesses.verdicts(scores[:5]),
    }
