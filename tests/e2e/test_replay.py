"""A lead adds a verifier in the browser: its parameters, its cost, its progress, its attacks."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse
from playwright.sync_api import Page, expect

from review.accounts.models import Project, User
from review.verifiers.models import Verdict
from tests import builders
from tests.e2e.conftest import PHONE, SignIn
from tests.e2e.scenes import follow

pytestmark = pytest.mark.e2e


def refuse_faults(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.usefixtures("worker")
def test_a_verifier_is_added_replayed_and_compared(
    project: Project, ada: User, sign_in: SignIn
) -> None:
    run = builders.make_stored_run(project, groups=3)
    # The pages' own policy would not let axe in.
    page = sign_in(ada, bypass_csp=True, viewport=PHONE)
    page.goto(reverse("web:run", args=[run.pk]))
    follow(page, "Add a verifier")
    # Its parameters come without a click.
    page.get_by_label("Verifier").select_option("alias-contained")
    expect(page.get_by_role("heading", name="alias-contained")).to_be_visible()
    refuse_faults(page)
    page.get_by_role("button", name="See what it costs").click()
    page.get_by_role("button", name="Start").click(timeout=60_000)
    expect(page.get_by_role("link", name="Where it disagrees")).to_be_visible(timeout=60_000)
    refuse_faults(page)
    assert Verdict.objects.filter(verifier__name="alias-contained").count() == 24
    page.get_by_role("link", name="Where it disagrees").click()
    expect(page.get_by_role("region", name="Outcomes of both verifiers")).to_be_visible()
    refuse_faults(page)
    page.get_by_role("link", name="Verifiers").first.click()
    follow(page, "alias-contained@2")
    page.get_by_role("button", name="Run the probe suite").click()
    expect(page.get_by_role("region", name="Success of attacks by family")).to_be_visible(
        timeout=60_000
    )
    refuse_faults(page)
