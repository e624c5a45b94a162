"""Single sign-on against a real provider over HTTP: codes, signed ID tokens, keys and all."""

import os
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from django.test import Client
from django.urls import NoReverseMatch, reverse

from review.accounts.models import Identity, Project, Role, User
from review.accounts.services.invitations import invite
from tests import ROOT, builders
from tests.contract.sign_on import provider, server, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

FAILED = "That sign-in did not work"


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with provider() as url:
        yield url


@pytest.fixture(scope="module")
def assay(django_db_setup: None, issuer: str) -> Iterator[str]:
    with server(issuer) as url:
        yield url


@pytest.fixture
def browser(assay: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=assay, timeout=20) as client:
        yield client


def describe(issuer: str, subject: str, **claims: object) -> None:
    httpx.put(f"{issuer}/users/{subject}", json=claims).raise_for_status()


def leave(browser: httpx.Client, target: str = "") -> str:
    """Where the provider is to be asked."""
    answer = browser.get("/sso/", params={"next": target} if target else {})
    assert answer.status_code == 302
    return answer.headers["Location"]


def agree(url: str, **form: str) -> str:
    """The person says who they are at the provider, which sends them back."""
    return httpx.post(url, data=form, timeout=60).headers["Location"]


def sign_in(browser: httpx.Client, subject: str, target: str = "") -> httpx.Response:
    back = agree(leave(browser, target), sub=subject)
    return browser.get(back, follow_redirects=True)


def test_a_new_person_gets_an_account_and_no_project(issuer: str, browser: httpx.Client) -> None:
    describe(issuer, "s-1", email="alice@example.org", preferred_username="alice")
    assert "Sign in with the Example account" in browser.get("/login/").text
    home = sign_in(browser, "s-1")
    assert home.url.path == "/"
    assert "You are in no project yet" in home.text
    alice = User.objects.get()
    assert alice.username == "alice"
    assert not alice.has_usable_password()
    assert Identity.objects.get().issuer == issuer
    # Who has no password is not asked to change it.
    assert "Change password" not in home.text


def test_the_provider_is_asked_in_a_way_that_nobody_else_can_answer(browser: httpx.Client) -> None:
    first, second = (parse_qs(urlsplit(leave(browser)).query) for _ in range(2))
    assert first["response_type"] == ["code"]
    assert first["code_challenge_method"] == ["S256"]
    for name in ("state", "nonce", "code_challenge"):
        assert first[name] != second[name]


def test_a_person_is_known_by_the_subject_whatever_else_changes(
    issuer: str, browser: httpx.Client
) -> None:
    describe(issuer, "s-2", email="bob@example.org", preferred_username="bob")
    sign_in(browser, "s-2")
    browser.cookies.clear()
    describe(issuer, "s-2", email="robert@example.org", preferred_username="robert")
    sign_in(browser, "s-2")
    assert list(User.objects.values_list("username", flat=True)) == ["bob"]


def test_nobody_takes_over_an_account_by_its_name_or_address(
    issuer: str, browser: httpx.Client
) -> None:
    ben = User.objects.create_user("ben", email="ben@example.org", password="pass-word-9")
    describe(issuer, "s-3", email="ben@example.org", email_verified=True, preferred_username="Ben")
    sign_in(browser, "s-3")
    newcomer = Identity.objects.get().user
    assert newcomer != ben
    assert newcomer.username == "Ben-2"
    ben.refresh_from_db()
    assert ben.check_password("pass-word-9")


def test_whoever_holds_an_invitation_comes_back_to_it(
    issuer: str, browser: httpx.Client, project: Project
) -> None:
    ida = builders.make_user(project, Role.ADMIN, name="ida")
    secret = invite(project=project, invitee="Eve", roles=["lead"], actor=ida).secret
    describe(issuer, "s-4", preferred_username="eve")
    page = sign_in(browser, "s-4", f"/join/{secret}/")
    assert "Join as eve" in page.text


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "javascript:x"])
def test_nobody_is_sent_elsewhere_afterwards(
    target: str, issuer: str, browser: httpx.Client
) -> None:
    back = agree(leave(browser, target), sub="s-5")
    assert browser.get(back).headers["Location"] == "/"


def test_an_answer_is_good_for_the_browser_that_asked(assay: str, browser: httpx.Client) -> None:
    back = agree(leave(browser), sub="s-6")
    with httpx.Client(base_url=assay, follow_redirects=True, timeout=60) as another:
        assert FAILED in another.get(back).text
    assert not User.objects.exists()


def test_an_answer_is_good_once(browser: httpx.Client) -> None:
    back = agree(leave(browser), sub="s-7")
    browser.get(back)
    browser.cookies.delete("sessionid")
    assert FAILED in browser.get(back, follow_redirects=True).text


def test_whoever_says_no_at_the_provider_is_not_signed_in(browser: httpx.Client) -> None:
    back = agree(leave(browser), action="deny")
    assert FAILED in browser.get(back, follow_redirects=True).text


def test_a_code_that_was_made_up_is_worth_nothing(browser: httpx.Client) -> None:
    state = parse_qs(urlsplit(leave(browser)).query)["state"][0]
    answer = browser.get("/sso/callback/", params={"code": "made-up", "state": state})
    assert answer.headers["Location"] == "/login/"
    assert not User.objects.exists()


def test_a_closed_account_stays_closed(browser: httpx.Client) -> None:
    sign_in(browser, "s-8")
    User.objects.update(is_active=False)
    browser.cookies.clear()
    assert sign_in(browser, "s-8").status_code == 403
    assert browser.get("/").headers["Location"].startswith("/login/")


def test_an_id_token_that_has_expired_is_refused(django_db_setup: None) -> None:
    with (
        provider("--token-max-age", "-300") as issuer,
        server(issuer) as assay,
        httpx.Client(base_url=assay, timeout=20) as browser,
    ):
        assert FAILED in sign_in(browser, "s-9").text
    assert not User.objects.exists()


def test_a_provider_that_is_away_is_said(django_db_setup: None) -> None:
    with server("http://localhost:9") as assay:
        assert FAILED in httpx.get(f"{assay}/sso/", follow_redirects=True, timeout=60).text


def test_switched_off_there_is_no_trace_of_it() -> None:
    assert "/sso/" not in Client().get(reverse("web:login")).content.decode()
    assert Client().get("/sso/").status_code == 404
    with pytest.raises(NoReverseMatch):
        reverse("web:sso")
    script = (
        "import sys, django; django.setup(); import review.urls; print('authlib' in sys.modules)"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "review.settings"}
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert ran.stdout == "False\n"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"OIDC_CLIENT_SECRET": ""}, "OIDC_ISSUER needs OIDC_CLIENT_ID and OIDC_CLIENT_SECRET"),
        ({"HTTPS": "true"}, "OIDC_ISSUER must be an https:// address"),
    ],
)
def test_half_a_configuration_does_not_start(changes: dict[str, str], why: str) -> None:
    environment = {**os.environ, **settings_for("http://issuer.example"), **changes}
    started = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert started.returncode != 0
    assert why in started.stderr
