"""A provider of single sign-on and a server that trusts it, each a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests import ROOT
from tests.conftest import service_environment
from tests.contract.test_server_restart import free_port, kill, wait_until


@contextmanager
def provider(*options: str) -> Iterator[str]:
    """Its address. It signs with a key of its own, which it publishes."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "-n", "true", *options],
        env={**os.environ, "AUTHLIB_INSECURE_TRANSPORT": "1", "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://localhost:{port}"
    try:
        wait_until(lambda: answers(f"{url}/.well-known/openid-configuration"), "the provider")
        yield url
    finally:
        kill(process)


@contextmanager
def server(issuer: str) -> Iterator[str]:
    """The address of an Assay on the tests' database, at which one can sign in by the issuer."""
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "granian", "--interface", "wsgi", "--log-level", "warning"),
            *("--host", "127.0.0.1", "--port", str(port), "--blocking-threads", "4"),
            "review.wsgi:application",
        ],
        env=service_environment() | settings_for(issuer),
        cwd=ROOT,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{url}/login/"), "the server")
        yield url
    finally:
        kill(process)


def settings_for(issuer: str) -> dict[str, str]:
    return {
        "OIDC_ISSUER": issuer,
        "OIDC_CLIENT_ID": "assay",
        "OIDC_CLIENT_SECRET": "not a secret",
        "OIDC_NAME": "the Example account",
    }


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
