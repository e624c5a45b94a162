"""Pictures of the main pages, in shots/: run with -m screenshots."""

from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from review.accounts.models import Project, Role, User
from review.accounts.services.members import add_member
from review.accounts.services.tokens import issue_token
from review.calibration.services.scorecard import refresh_run
from review.flows.probes import probe, start_probing
from review.flows.replays import add_verifier, go_on, start_replay
from review.labeling.adjudications import first_reviews
from review.labeling.disagreements import disagreements
from review.labeling.models import Label
from tests import ROOT, builders
from tests.calibration.criteria import judge_by_criteria, make_criteria_run
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
    others = [builders.make_user(project, Role.REVIEWER, name=name) for name in ("dan", "eve")]
    told = story.tell(project, ben, *others)
    (unsettled, *_) = disagreements(told.rule.queue)
    to_decide = first_reviews(told.rule.queue, [unsettled])[unsettled]
    picked = Label.objects.filter(assignment__queue=told.rule.queue).earliest("pk").assignment
    queue = story.algebra_queue(project)
    for role in (Role.REVIEWER, Role.ADMIN):
        add_member(project=project, user=ada, role=role, actor="test")
    issue_token(project=project, owner=ada, name="trainer", scopes=["ingest", "table"], actor=ada)
    story.label(queue, [ben], 13)
    return {
        "home": reverse("web:home"),
        "run": reverse("web:run", args=[told.run.pk]),
        "audit": reverse("web:audit", args=[told.rule.pk]),
        "adjudication": reverse("web:adjudication", args=[to_decide.pk]),
        "adjudications": reverse("web:adjudications", args=[project.slug]),
        "rollout": reverse("web:rollout", args=[told.run.pk, picked.rollout_id]),
        "scorecard": reverse("web:scorecard", args=[told.run.pk]) + "?sort=recall",
        "labelled": reverse("web:labelled", args=[told.run.pk]) + "?estimand=fpr",
        "slices": reverse("web:slices", args=[project.slug]),
        "audit-form": reverse("web:audit-new", args=[told.run.pk]),
        "reward-table": reverse("web:table", args=[told.published.pk]),
        "reward-table-draft": reverse("web:table", args=[told.draft.pk]),
        "tokens": reverse("web:tokens", args=[project.slug]),
        "members": reverse("web:members", args=[project.slug]),
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


@pytest.fixture
def verifier_pages(project: Project, ada: User, ben: User) -> dict[str, str]:
    """The pages about verifiers: one replayed and probed twice, one that waits, a rubric."""
    run = make_criteria_run(builders.make_run(project), ben)
    waiting = add_verifier(run=run, name="contains-reference", params={}, actor="ada")
    done = add_verifier(run=run, name="last-number", params={}, actor="ada")
    for replay in (waiting, done):
        assert go_on(replay=replay)
    assert go_on(replay=start_replay(replay=done, actor="ada"))
    for _ in range(2):
        probe(run=start_probing(verifier=done.verifier, actor="ada"))
    judge_by_criteria(run)
    refresh_run(run=run)
    first = f"?first={run.run_verifiers.get().verifier_id}&second={done.verifier_id}"
    return {
        "verifiers": reverse("web:verifiers", args=[project.slug]),
        "verifier": reverse("web:verifier", args=[done.verifier_id]),
        "replay-form": reverse("web:replay-new", args=[run.pk]) + "?verifier=rubric",
        "replay-waiting": reverse("web:replay", args=[waiting.pk]),
        "replay-done": reverse("web:replay", args=[done.pk]),
        "disagreements": reverse("web:disagreements", args=[run.pk]) + first,
        "scorecard-criteria": reverse("web:scorecard", args=[run.pk]),
    }


def test_pictures_of_the_verifiers_pages(
    verifier_pages: dict[str, str], ada: User, sign_in: SignIn
) -> None:
    SHOTS.mkdir(exist_ok=True)
    for look, options in LOOKS.items():
        page = sign_in(ada, **options)
        for name, path in verifier_pages.items():
            shoot(page, name, path, look)


def test_pictures_of_what_is_printed(pages: dict[str, str], ada: User, sign_in: SignIn) -> None:
    SHOTS.mkdir(exist_ok=True)
    page = sign_in(ada, color_scheme="dark")
    page.emulate_media(media="print")
    for name in ("run", "audit", "scorecard"):
        shoot(page, name, pages[name], "print")


def shoot(page: Page, name: str, path: str, look: str) -> None:
    page.goto(path)
    if name == "label":
        for key in "jjjjjxc":
            page.keyboard.press(key)
    if name == "audit-form":
        page.get_by_label("since the turn").check()
        expect(page.locator("#preview-slices")).to_be_visible()
        page.evaluate("scrollTo(0, 0)")
    # The labelling page is one screen; of the others the whole page.
    page.screenshot(path=SHOTS / f"{name}-{look}.png", full_page=name != "label")
