"""Request bodies: bounded, decompressed, decoded strictly into typed structs."""

import re
import zlib
from collections.abc import Iterator
from typing import IO, TypeVar

import msgspec
from django.conf import settings
from rest_framework.request import Request

from review.api.v1.errors import BadRequestBodyError, BodyTooLargeError, UnsupportedBodyError

CHUNK = 64 * 1024
# A client that sends too much is read to its end, up to so many limits, so that it sees the answer.
DRAINED_LIMITS = 8
NDJSON = "application/x-ndjson"

Body = TypeVar("Body")


def read_body(request: Request) -> bytes:
    """The decompressed bytes of a JSON or NDJSON body, at most MAX_BATCH_BYTES of them."""
    stream = request.stream
    if stream is None:
        return b"{}"
    if media_kind(request) not in {"application/json", NDJSON}:
        raise UnsupportedBodyError
    limit = settings.MAX_BATCH_BYTES
    body = bytearray()
    for piece in _decompressed(stream, request.headers.get("Content-Encoding", "")):
        body += piece
        if len(body) > limit:
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
            raise BadRequestBodyError(fields={min(unknown): "is not a field of this call"})
        return _decoded(bytes(body.get(field, b"null")), list[row], at=field)  # type: ignore[valid-type]
    lines = read_body(request).splitlines()
    return [
        _decoded(line, row, at=f"{field}[{number}]") for number, line in enumerate(lines) if line
    ]


def _decoded(body: bytes, kind: type[Body], *, at: str = "") -> Body:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `")
        field = re.sub(r"^\$\.?", "", path.rstrip("`"))
        name = f"{at}.{field}" if at and field and not field.startswith("[") else at + field
        raise BadRequestBodyError(fields={name or "body": reason}) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestBodyError(
            "The body is not valid JSON in UTF-8.", fields={at or "body": str(error)}
        ) from None
