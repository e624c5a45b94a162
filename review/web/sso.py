"""Single sign-on by OpenID Connect. Imported, and so Authlib with it, only where it is set up."""

from collections.abc import Mapping

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.django_client import OAuth
from authlib.oidc.core import CodeIDToken
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from joserfc.errors import BadSignatureError, JoseError
from requests import RequestException

from review.accounts.services.identities import person_of

TIMEOUT_S = 10
NEXT = "sso_next"
# What an ID token must say beside its signature, nonce and times, which Authlib looks at by itself.
CLAIMS = {
    "iss": {"essential": True, "value": settings.OIDC_ISSUER},
    "aud": {"essential": True, "value": settings.OIDC_CLIENT_ID},
}
FAILURES = (AuthlibBaseError, JoseError, RequestException)


class SignedIDToken(CodeIDToken):  # type: ignore[misc]  # Authlib has no types
    def validate(self, now: int | None = None, leeway: int = 0) -> None:
        """Authlib takes an unsigned token from a provider that says it may issue such."""
        if self.header["alg"] == "none":
            raise BadSignatureError
        super().validate(now, leeway)


provider = OAuth().register(
    "provider",
    server_metadata_url=f"{settings.OIDC_ISSUER.rstrip('/')}/.well-known/openid-configuration",
    client_id=settings.OIDC_CLIENT_ID,
    client_secret=settings.OIDC_CLIENT_SECRET,
    client_kwargs={
        "scope": "openid profile email",
        "code_challenge_method": "S256",
        "default_timeout": TIMEOUT_S,
    },
)


@require_GET
@never_cache
def start(request: HttpRequest) -> HttpResponse:
    """Followed from a link, not sent by a form: the content policy binds forms to this origin."""
    request.session[NEXT] = request.GET.get("next", "")
    back = request.build_absolute_uri(reverse("web:sso-callback"))
    try:
        away: HttpResponse = provider.authorize_redirect(request, back)
    except FAILURES:
        return _failed(request)
    return away


@require_GET
@never_cache
def callback(request: HttpRequest) -> HttpResponse:
    try:
        token = provider.authorize_access_token(
            request, claims_options=CLAIMS, claims_cls=SignedIDToken
        )
        claims = token["userinfo"]
    except (*FAILURES, KeyError):
        # A KeyError: there is no ID token in the answer.
        return _failed(request)
    user = person_of(issuer=claims["iss"], subject=claims["sub"], called=_name(claims))
    target = request.session.pop(NEXT, "")
    login(request, user)
    is_ours = url_has_allowed_host_and_scheme(
        target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return redirect(target if is_ours else "web:home")


def _failed(request: HttpRequest) -> HttpResponse:
    messages.error(request, _("That sign-in did not work. Try again, or use a password."))
    return redirect("web:login")


def _name(claims: Mapping[str, object]) -> str:
    """What to call them. Who they are is the subject's business alone."""
    address = str(claims.get("email") or "")
    name = claims.get("preferred_username") or address.partition("@")[0] or claims.get("name")
    return str(name or "")
