"""Pictures of the main pages, in shots/: run with -m screenshots."""

from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page

from review.accounts.models import Project, Role, User
from review.accounts.services import add_member, issue_token
from tests import ROOT
from tests.e2e import story
from tests.e2e.conftest import PHONE, SCREEN, SignIn

pytestmark = [pytest.mark.e2e, pytest.mark.screenshots]

SHOTS = ROOT / "shots"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": SCREEN},
    "dark": {"color_scheme": "dark", "viewport": SCREEN},
    "light-phone": {"color_scheme": "light", "viewport": PHONE, "device_scale_factor": 2},
    "dark-phone": {"color_scheme": "dark", "viewport": PHONE, "device_scale_factor": 2},
}


@pytest.fixture
def pages(project: Project, ada: User, ben: User) -> dict[str, str]:
    """The path of each page, with something to see on it."""
    told = story.tell(project, ben)
    queue = story.algebra_queue(project)
    add_member(project=project, user=ada, role=Role.REVIEWER, actor="test")
    issue_token(project=project, owner=ada, name="trainer", scopes=["ingest", "table"], actor=ada)
    story.label(queue, ben, 13)
    return {
        "home": reverse("web:home"),
        "run": reverse("web:run", args=[told.run.pk]),
        "audit-form": reverse("web:audit-new", args=[told.run.pk]),
        "reward-table": reverse("web:table", args=[told.published.pk]),
        "reward-table-draft": reverse("web:table", args=[told.draft.pk]),
        "tokens": reverse("web:tokens", args=[project.slug]),
        "queue": reverse("web:queue", args=[queue.pk]),
        "label": reverse("web:label-next", args=[queue.pk]),
    }


def test_pictures_of_the_main_pages(pages: dict[str, str], ada: User, sign_in: SignIn) -> None:
    SHOTS.mkdir(exist_ok=True)
    for look, options in LOOKS.items():
        shoot(sign_in(None, **options), "login", reverse("web:login"), look)
        page = sign_in(ada, **options)
        for name, path in pages.items():
            shoot(page, name, path, look)


def shoot(page: Page, name: str, path: str, look: str) -> None:
    page.goto(path)
    if name == "label":
        for key in "jjjjjxc":
            page.keyboard.press(key)
    # The labelling page is one screen; of the others the whole page.
    page.screenshot(path=SHOTS / f"{name}-{look}.png", full_page=name != "label")
