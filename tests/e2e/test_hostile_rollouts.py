"""Whatever a policy writes is shown as text: nothing of it runs, and nothing bursts the page."""

import re
from collections.abc import Sequence

import msgspec
import pytest
from django.urls import reverse
from playwright.sync_api import Dialog, Page, Request, expect

from review.accounts.models import Project, User
from review.flows import ingest
from review.flows.ingest import IncomingMessage, IncomingRollout, IncomingToolCall
from review.labeling.models import Label, Queue
from review.runs.models import Run
from tests import builders
from tests.e2e.conftest import PHONE, SCREEN, SignIn
from tests.e2e.scenes import draft_table, label_everything, label_with, open_audit
from tests.hostile import HTML, PAYLOADS, PWN

pytestmark = pytest.mark.e2e

# So many rollouts share the payloads: a wave has no fewer.
ROLLOUTS = 8
# What a tool was asked and gave back, and who is said to have spoken.
MEANT_FOR_TOOLS = list(HTML.values())
# Longer than this is no name.
MOST_NAME = 40


def hostile_rollout(number: int, payloads: Sequence[str]) -> IncomingRollout:
    """A conversation whose every part is hostile; each payload is a step by itself."""
    asked, named, answered = (MEANT_FOR_TOOLS[number * 3 + k] for k in range(3))
    call = IncomingToolCall(name=named[:MOST_NAME], id=named[:MOST_NAME], arguments=asked)
    arguments = msgspec.json.encode({named: answered, "n": 1}).decode()
    other = IncomingToolCall(name="python", arguments=arguments)
    return builders.make_rollout(
        uid=f"r{number}",
        prompt=f"p{number}",
        group=f"g{number}",
        messages=[
            IncomingMessage(role="system", content=answered),
            IncomingMessage(role=named[:MOST_NAME], name=asked[:MOST_NAME], content=asked),
            IncomingMessage(
                role="assistant", content="\n\n".join(payloads), tool_calls=(call, other)
            ),
            IncomingMessage(role="tool", call_id=named[:MOST_NAME], content="\n".join(payloads)),
            IncomingMessage(role="assistant", content=rf"So \boxed{{{payloads[0][:60]}}}"),
        ],
        steps=[*payloads, rf"So \boxed{{{payloads[0][:60]}}}"],
        verdicts=[builders.make_verdict(r"\boxed{15}")],
    )


def hostile_queue(project: Project) -> Queue:
    run = builders.make_run(project, segmenter="source")
    payloads = [text for text in PAYLOADS.values() if text.strip()]
    batch = []
    for number in range(ROLLOUTS):
        own = payloads[number::ROLLOUTS]
        builders.make_prompt(run, f"p{number}", "\n\n".join(own[:6]))
        batch.append(hostile_rollout(number, own))
    ingest.store_batch(run=run, batch=batch)
    ingest.finish_step(run=run, step=1)
    return open_audit(run, last_step=1, window_steps=1, budget=ROLLOUTS, waves=1).queue


def watched(page: Page) -> list[str]:
    """What the page does that only a script that should not run, or a stranger's link, can do."""
    seen: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        seen.append(dialog.message)
        dialog.dismiss()

    def note(request: Request) -> None:
        if "evil" in request.url:
            seen.append(request.url)

    page.on("dialog", dismiss)
    page.on("request", note)
    return seen


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    width: int = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return width


def unfold(page: Page) -> None:
    """Everything that is folded, as a reader would open it."""
    for button in page.locator("[data-unfolds][aria-expanded=false]").all():
        button.click()
    for summary in page.locator("details.turn-text:not([open]) > summary").all():
        summary.click()


def wide_parts(page: Page) -> list[tuple[int, str]]:
    wide = []
    for size in (PHONE, SCREEN):
        page.set_viewport_size(size)
        if overflow(page) > 0:
            wide.append((size["width"], page.locator("main").inner_text()[:80]))
    return wide


def test_nothing_of_a_hostile_rollout_runs_or_bursts_the_page(
    project: Project, ada: User, ben: User, sign_in: SignIn
) -> None:
    queue = hostile_queue(project)
    page = sign_in(ben)
    seen = watched(page)
    page.goto(reverse("web:label-next", args=[queue.pk]))
    wide = []
    for _ in range(ROLLOUTS):
        unfold(page)
        wide += wide_parts(page)
        page.keyboard.press("/")
        page.keyboard.type("<script")
        page.keyboard.press("Enter")
        expect(page.locator("[data-find-count]")).to_have_text(re.compile(r"^1 / \d+$"))
        page.keyboard.press("Escape")
        assert page.evaluate("window.__pwned") is None
        label_with(page, ["c", "Enter"])
    assert wide == []
    assert seen == []
    assert Label.objects.count() == ROLLOUTS
    # Whatever one of them did would still be there.
    assert page.locator("#item").is_visible()
    lead = sign_in(ada)
    seen = watched(lead)
    rollout = Label.objects.earliest("pk").assignment.rollout
    lead.goto(reverse("web:rollout", args=[rollout.run_id, rollout.pk]))
    unfold(lead)
    assert wide_parts(lead) == []
    assert lead.evaluate("window.__pwned") is None
    assert seen == []


def test_hostile_names_are_text_on_the_pages_of_a_lead(
    project: Project, ada: User, ben: User, sign_in: SignIn
) -> None:
    name = f"<script>{PWN}</script>" + "n" * 150
    run = hostile_run(project, name)
    rule = open_audit(run, name=name, budget=32, waves=2)
    label_everything(rule, ben)
    builders.make_audit(run, name=name)
    page = sign_in(ada)
    seen = watched(page)
    paths = [
        reverse("web:home"),
        reverse("web:run", args=[run.pk]),
        reverse("web:audit-new", args=[run.pk]),
        reverse("web:table", args=[draft_table(run).pk]),
        reverse("web:tokens", args=[project.slug]),
    ]
    wide = []
    for path in paths:
        page.goto(path)
        for size in (PHONE, SCREEN):
            page.set_viewport_size(size)
            if overflow(page) > 0:
                wide.append((size["width"], path))
        assert page.evaluate("window.__pwned") is None
    assert wide == []
    assert seen == []


def hostile_run(project: Project, name: str) -> Run:
    project.name = name
    project.save()
    run = builders.make_run(project, name=name, uid=name)
    builders.store_steps(run, [1, 2], groups=12)
    return run
