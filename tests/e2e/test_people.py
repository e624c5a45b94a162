"""An admin invites somebody and says what they may do; somebody signs in elsewhere."""

from collections.abc import Iterator

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from review.accounts.models import Membership, Project, Role, User
from review.accounts.queries import roles_in
from tests import builders
from tests.contract.sign_on import provider, server
from tests.e2e.conftest import PHONE, Complaints, SignIn

pytestmark = pytest.mark.e2e


@pytest.fixture
def ida(project: Project) -> User:
    """Administers the project."""
    return builders.make_user(project, Role.ADMIN, name="ida")


@pytest.mark.parametrize("has_scripts", [True, False])
def test_an_admin_invites_a_person_and_changes_what_they_may_do(
    has_scripts: bool, project: Project, ida: User, sign_in: SignIn
) -> None:
    builders.make_prompt(builders.make_run(project))
    page = sign_in(ida, java_script_enabled=has_scripts)
    page.goto(reverse("web:home"))
    page.get_by_role("link", name="Members").click()
    expect(page.get_by_text("Nobody is invited")).to_be_visible()
    page.get_by_label("Whom it is for").fill("Eve")
    page.get_by_role("button", name="Make a link").click()
    link = page.locator(".secret").inner_text()

    guest = sign_in(None, java_script_enabled=has_scripts)
    guest.goto(link)
    guest.get_by_label("Username").fill("eve")
    guest.get_by_label("Password", exact=True).fill("correct horse 7")
    guest.get_by_label("Password confirmation").fill("correct horse 7")
    guest.get_by_role("button", name="Make the account and join").click()
    expect(guest.get_by_text(f"You are in the project {project.name} now")).to_be_visible()

    page.goto(reverse("web:members", args=[project.slug]))
    page.get_by_text("Change… eve").click()
    eve = page.locator(".member", has=page.get_by_text("eve", exact=True))
    eve.get_by_label("Adjudicator").check()
    eve.get_by_label("arithmetic").check()
    eve.get_by_role("button", name="Save eve").click()
    expect(page.get_by_text("eve is changed")).to_be_visible()
    expect(eve).to_contain_text("reviews arithmetic")
    assert roles_in(User.objects.get(username="eve"), project) == {
        Role.REVIEWER,
        Role.ADJUDICATOR,
    }

    page.get_by_text("Remove… eve").click()
    page.get_by_role("button", name="Remove eve").click()
    expect(page.get_by_text("eve is removed")).to_be_visible()
    assert not Membership.objects.filter(user__username="eve").exists()


def test_the_last_admin_is_told_why_they_stay(
    project: Project, ida: User, sign_in: SignIn, complaints: Complaints
) -> None:
    complaints.expect("409")
    page = sign_in(ida, viewport=PHONE)
    page.goto(reverse("web:members", args=[project.slug]))
    page.get_by_text("Remove… ida").click()
    page.get_by_role("button", name="Remove ida").click()
    expect(page.get_by_text("A project keeps at least one admin")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.fixture
def issuer() -> Iterator[str]:
    with provider() as url:
        yield url


@pytest.mark.slow
def test_single_sign_on_in_a_browser(issuer: str, sign_in: SignIn, complaints: Complaints) -> None:
    """The content policy lets the way there and back through."""
    complaints.expect("Failed to load resource")  # what the provider's own page asks for
    with server(issuer) as assay:
        page = sign_in(None, base_url=assay)
        page.goto(reverse("web:login"))
        page.get_by_role("link", name="Sign in with the Example account").click()
        page.wait_for_url(f"{issuer}/**")
        page.locator("input[name=sub]").fill("alice@example.org")
        page.get_by_role("button", name="Authorize").click()
        expect(page.get_by_text("You are in no project yet")).to_be_visible()
        expect(page.locator(".user-menu")).to_contain_text("alice")
