"""What a client has already is not sent again."""

from django.utils.http import parse_etags
from rest_framework.request import Request


def is_known(request: Request, etag: str) -> bool:
    """Whether the client has the answer of this tag."""
    # A proxy that compresses makes the tag a weak one: it is still this answer's.
    known = {
        tag.removeprefix("W/") for tag in parse_etags(request.headers.get("If-None-Match", ""))
    }
    return not known.isdisjoint({etag, "*"})


def headers(etag: str) -> dict[str, str]:
    return {"ETag": etag, "Cache-Control": "private, no-cache"}
