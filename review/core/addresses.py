"""Where a request comes from."""

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """The address that the outermost trusted proxy was called from; with none, the caller's own.

    A client can write into X-Forwarded-For what it likes, but only to the left of what the proxies
    add, one address each.
    """
    direct = str(request.META.get("REMOTE_ADDR", ""))
    hops = settings.TRUSTED_PROXIES
    seen = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",")]
    return seen[-hops] if 0 < hops <= len(seen) and seen[-hops] else direct
