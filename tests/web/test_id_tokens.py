"""What an ID token must be before anybody is signed in by it."""

import base64
import json
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from pytest_django.fixtures import Settings

ISSUER = "https://issuer.example"
KEY, ANOTHER_KEY = (RSAKey.generate_key(2048, {"kid": "a"}) for _ in range(2))


@pytest.fixture
def sso(settings: Settings) -> Any:
    settings.OIDC_ISSUER, settings.OIDC_CLIENT_ID = ISSUER, "assay"
    settings.OIDC_CLIENT_SECRET = "not a secret"
    module = import_module("review.web.sso")
    module.provider.server_metadata.update(
        {
            "_loaded_at": 1,
            "issuer": ISSUER,
            "jwks": {"keys": [KEY.as_dict(private=False)]},
            # The worst that a provider can say of itself.
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        }
    )
    return module


def claims(**changes: object) -> dict[str, Any]:
    now = int(time.time())
    usual = {"iss": ISSUER, "aud": "assay", "sub": "1", "nonce": "n", "iat": now, "exp": now + 60}
    return {name: value for name, value in (usual | changes).items() if value is not None}


def signed(said: Mapping[str, Any], key: RSAKey = KEY) -> str:
    return jwt.encode({"alg": "RS256", "kid": "a"}, dict(said), key)


def parse(sso: Any, id_token: str) -> Any:
    return sso.provider.parse_id_token(
        {"id_token": id_token, "access_token": "x"},
        nonce="n",
        claims_options=sso.CLAIMS,
        claims_cls=sso.SignedIDToken,
    )


@pytest.mark.parametrize("changes", [{}, {"aud": ["assay", "other"], "azp": "assay"}])
def test_a_token_for_us_by_the_issuer_is_taken(changes: dict[str, object], sso: Any) -> None:
    assert parse(sso, signed(claims(**changes)))["sub"] == "1"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://another.example"},
        {"aud": "another"},
        {"aud": "another", "azp": "assay"},
        {"aud": None},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"exp": 1},
        {"exp": None},
    ],
    ids=str,
)
def test_a_token_that_says_something_else_is_refused(changes: dict[str, object], sso: Any) -> None:
    with pytest.raises(sso.FAILURES):
        parse(sso, signed(claims(**changes)))


def test_a_token_by_another_key_is_refused(sso: Any) -> None:
    with pytest.raises(sso.FAILURES):
        parse(sso, signed(claims(), ANOTHER_KEY))


@pytest.mark.filterwarnings("ignore:JWS algorithm")
def test_a_token_without_a_signature_is_refused(sso: Any) -> None:
    parts = ({"alg": "none", "kid": "a"}, claims())
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts)
    with pytest.raises(sso.FAILURES):
        parse(sso, f"{head.rstrip('=')}.{body.rstrip('=')}.")


@pytest.mark.parametrize("garbage", ["", "a.b.c", "nothing"])
def test_garbage_is_refused(garbage: str, sso: Any) -> None:
    with pytest.raises(sso.FAILURES):
        parse(sso, garbage)
