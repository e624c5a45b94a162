"""Request bodies: bounded, decompressed, decoded strictly into typed structs."""

import re
import zlib
from collections.abc import Iterator
from typing import IO, TypeVar

import msgspec
from django.conf import settings
from django.http import UnreadablePostError
from rest_framework.request import Request

from review.api.v1.errors import (
    BadRequestBodyError,
    BodyTooLargeError,
    LengthRequiredError,
    UnsupportedBodyError,
)

CHUNK = 64 * 1024
# A client that sends too much is read to its end, up to so many limits, so that it sees the answer.
DRAINED_LIMITS = 8
NDJSON = "application/x-ndjson"
# An escaped NUL: the only way in which JSON can spell what no text or jsonb of PostgreSQL holds.
# Behind an even number of backslashes; possessive, so that no number of them costs memory.
ESCAPED_NUL = re.compile(rb"(?<!\\)((?:\\\\)*+)\\u0000")

Body = TypeVar("Body")


class NoBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a call takes that needs nothing: no body, or an empty object."""


def read_body(request: Request) -> bytes:
    """The decompressed bytes of a JSON or NDJSON body, at most MAX_BATCH_BYTES of them.

    NUL characters in it become U+FFFD.
    """
    stream = request.stream
    if stream is None:
        if "Transfer-Encoding" in request.headers:
            raise LengthRequiredError
        return b"{}"
    if media_kind(request) not in {"application/json", NDJSON}:
        raise UnsupportedBodyError
    try:
        body = _bounded(stream, request)
    except UnreadablePostError:
        raise BadRequestBodyError("The connection ended inside the body.") from None
    return ESCAPED_NUL.sub(rb"\1\\ufffd", body) if rb"\u0000" in body else body


def _bounded(stream: IO[bytes], request: Request) -> bytes:
    limit = settings.MAX_BATCH_BYTES
    body = bytearray()
    is_too_large = int(request.META["CONTENT_LENGTH"]) > limit
    if not is_too_large:
        for piece in _decompressed(stream, request.headers.get("Content-Encoding", "")):
            body += piece
            if is_too_large := len(body) > limit:
                break
    if is_too_large:
        _drain(stream, limit * DRAINED_LIMITS)
        raise BodyTooLargeError(fields={"body": f"at most {limit} bytes, decompressed"})
    return bytes(body)


def media_kind(request: Request) -> str:
    return (request.content_type or "").partition(";")[0].strip().lower()


def _decompressed(stream: IO[bytes], encoding: str) -> Iterator[bytes]:
    if encoding in {"", "identity"}:
        while piece := stream.read(CHUNK):
            yield piece
        return
    if encoding.lower() != "gzip":
        raise UnsupportedBodyError(fields={"Content-Encoding": "gzip or none"})
    yield from _inflated(stream)


def _inflated(stream: IO[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    while piece := stream.read(CHUNK):
        while piece:
            try:
                yield inflater.decompress(piece, CHUNK)
            except zlib.error:
                raise BadRequestBodyError(
                    "The body is not valid gzip.", fields={"body": "gzip"}
                ) from None
            piece = inflater.unconsumed_tail
        if inflater.unused_data:
            # What follows would be lost without a word.
            raise BadRequestBodyError(
                "Something follows the gzip stream's end.", fields={"body": "one gzip member"}
            )
    if not inflater.eof:
        raise BadRequestBodyError("The gzip body ends early.", fields={"body": "gzip"})


def _drain(stream: IO[bytes], most: int) -> None:
    while most > 0 and (piece := stream.read(CHUNK)):
        most -= len(piece)


def decode(request: Request, kind: type[Body]) -> Body:
    """The body as the struct; unknown fields, wrong types and NaN are refused, the field named."""
    return _decoded(read_body(request), kind)


def decode_rows(request: Request, row: type[Body], field: str) -> list[Body]:
    """The rows of an NDJSON body (one a line), or of the named list of a JSON object."""
    if media_kind(request) != NDJSON:
        body = _decoded(read_body(request), dict[str, msgspec.Raw])
        if unknown := body.keys() - {field}:
            raise BadRequestBodyError(fields={min(unknown)[:NAMED]: NOT_A_FIELD})
        return _decoded(bytes(body.get(field, b"null")), list[row], at=field)  # type: ignore[valid-type]
    lines = read_body(request).splitlines()
    return [
        _decoded(line, row, at=f"{field}[{number}]") for number, line in enumerate(lines) if line
    ]


def _decoded(body: bytes, kind: type[Body], *, at: str = "") -> Body:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise BadRequestBodyError(fields=_named(str(error), at)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestBodyError(
            "The body is not valid JSON in UTF-8.", fields={at or "body": str(error)}
        ) from None


# "Expected `int`, got `str` - at `$.rollouts[0].step`"; the path is missing at the top.
REASON = re.compile(r"(?P<reason>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?", re.DOTALL)
WRONG_KEY = re.compile(r"Object (contains unknown|missing required) field `(.*)`", re.DOTALL)
# A field's name may be the client's own: no longer than this in an answer.
NAMED = 200
NOT_A_FIELD = "is not a field of this call"


def _named(reason: str, at: str) -> dict[str, str]:
    """What msgspec says of a body, by the field that it is about."""
    match = REASON.fullmatch(reason)
    path = (match and match["path"]) or ""
    reason = match["reason"] if match else reason
    names = [at, path]
    if wrong_key := WRONG_KEY.fullmatch(reason):
        names.append(wrong_key[2])
        is_missing = wrong_key[1].startswith("missing")
        reason = "is required" if is_missing else NOT_A_FIELD
    name = ".".join(filter(None, names)).replace(".[", "[")
    return {name[:NAMED] or "body": reason[:NAMED]}
