"""Bearer tokens: which project, in whose name, allowed to do what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.cache import cache
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import (
    AuthenticationFailed,
    MethodNotAllowed,
    PermissionDenied,
    Throttled,
)
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from review.accounts.models import ServiceToken, User
from review.accounts.queries import usable_token
from review.accounts.services.tokens import mark_used
from review.core.addresses import client_address

if TYPE_CHECKING:
    from rest_framework.views import APIView

# Refused tokens from one address, in so many seconds, before it has to wait.
REFUSALS_ALLOWED = 60
REFUSAL_WINDOW_S = 60


class TokenAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[User, ServiceToken]:
        kind, _, secret = get_authorization_header(request).decode("latin-1").partition(" ")
        token = usable_token(secret.strip()) if kind.lower() == "bearer" else None
        if token is None:
            _count_refusal(request)
            raise AuthenticationFailed("Send a valid token: Authorization: Bearer <token>.")
        mark_used(token=token)
        return token.owner, token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def _count_refusal(request: Request) -> None:
    key = f"refused-token:{client_address(request)}"
    try:
        refusals = cache.incr(key)
    except ValueError:
        # The first one of its minute.
        cache.set(key, 1, REFUSAL_WINDOW_S)
        return
    if refusals > REFUSALS_ALLOWED:
        raise Throttled(REFUSAL_WINDOW_S, "Too many refused tokens.")


class HasScope(BasePermission):
    """Each view names, for each of its methods, the scopes of which a token needs one.

    A method that it does not name is refused.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        method = "GET" if request.method == "HEAD" else request.method or ""
        scopes: dict[str, set[str]] = view.scopes  # type: ignore[attr-defined]
        if method not in scopes:
            raise MethodNotAllowed(method)
        if scopes[method].isdisjoint(token_of(request).scopes):
            named = " or ".join(sorted(scopes[method]))
            raise PermissionDenied(f"This call needs a token with the scope {named}.")
        return True


def token_of(request: Request) -> ServiceToken:
    token = request.auth
    assert isinstance(token, ServiceToken)  # noqa: S101  (no view is reached without one)
    return token
