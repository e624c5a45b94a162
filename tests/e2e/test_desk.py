"""The labelling desk beside its labels: it loses nothing, and tells nothing early."""

from contextlib import suppress

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, Request, Route, expect

from review.accounts.models import Project, User
from review.labeling.models import Draft, Label, Objection, Pause, Question, Queue, Reveal
from tests.e2e.conftest import PHONE, Complaints, SignIn
from tests.e2e.scenes import expect_other_item, label_with, plain_queue, press, token_of

pytestmark = pytest.mark.e2e


@pytest.fixture
def queue(project: Project) -> Queue:
    return plain_queue(project, 24, budget=16)


@pytest.fixture
def url(queue: Queue) -> str:
    return reverse("web:label-next", args=[queue.pk])


@pytest.fixture
def page(url: str, ben: User, sign_in: SignIn) -> Page:
    page = sign_in(ben)
    page.goto(url)
    return page


def overflow(page: Page) -> int:
    width: int = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return width


def is_ahead(request: Request) -> bool:
    return request.url.endswith("/ahead/")


def test_the_next_item_is_there_before_the_commit(page: Page) -> None:
    with page.expect_event("requestfinished", is_ahead):
        page.reload()
    for _ in range(2):
        token = token_of(page)
        # It has come; the page reads it in the next moment.
        page.wait_for_timeout(300)
        press(page, "jjkc")
        with (
            page.expect_event("requestfinished", is_ahead),
            page.expect_response("**/label/") as answered,
        ):
            press(page, ["Enter"])
        assert 'id="item"' not in answered.value.text()
        expect_other_item(page, token)
    assert Label.objects.count() == 2
    assert all(label.active_ms is not None for label in Label.objects.all())


def test_a_commit_without_network_is_sent_again_and_stored_once(
    page: Page, complaints: Complaints
) -> None:
    complaints.expect("ERR_INTERNET_DISCONNECTED|ERR_FAILED")
    token = token_of(page)
    page.context.set_offline(True)
    press(page, ["c", "Enter"])
    unsent = page.get_by_text("Not saved yet: offline, will be sent again.")
    expect(unsent).to_be_visible()
    # Nothing is judged or sent meanwhile.
    press(page, ["i", "Enter"])
    expect(page.locator("#answer_0")).to_be_checked()
    assert not Label.objects.exists()
    page.context.set_offline(False)
    expect_other_item(page, token)
    expect(unsent).to_be_hidden()
    assert [label.answer for label in Label.objects.all()] == ["correct"]
    # What does not belong to the item works as before.
    page.keyboard.press("?")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#keys")).to_be_hidden()


def test_a_tab_whose_item_was_answered_in_another_goes_where_there_is_something_to_do(
    page: Page, url: str, queue: Queue, ben: User
) -> None:
    tab = page.context.new_page()
    tab.goto(url)
    Queue.objects.update(gold_mark=0.5)
    Pause.objects.create(queue=queue, reviewer=ben)
    press(page, ["c", "Enter"])
    page.wait_for_url("**/practice/")
    tab.wait_for_url("**/practice/")


def test_a_commit_whose_answer_is_lost_survives_a_reload_and_is_stored_once(
    page: Page, complaints: Complaints
) -> None:
    complaints.expect("ERR_FAILED")

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/label/", lose)
    press(page, ["i", "m", *"why", "Control+Enter"])
    expect(page.get_by_text("Not saved yet")).to_be_visible()
    page.unroute("**/label/")
    with page.expect_response("**/label/"):
        page.reload()
    expect(page.locator(".undo-what")).to_have_text("Last: Incorrect")
    assert [(label.answer, label.note) for label in Label.objects.all()] == [("incorrect", "why")]
    assert page.evaluate("sessionStorage.getItem('assay.commit')") is None


def test_a_draft_that_is_on_its_way_is_let_go_of_once_its_label_is_sent(page: Page) -> None:
    """After the label the server would refuse it."""
    on_its_way: list[Route] = []
    page.route("**/draft/", lambda route: on_its_way.append(route))
    with page.expect_request("**/draft/"):
        press(page, ["c"])
    label_with(page, ["Enter"])
    with suppress(PlaywrightError):  # nobody waits for its answer
        on_its_way[0].continue_()
    page.unroute("**/draft/")
    label_with(page, ["c", "Enter"])


def test_a_draft_survives_a_reload_and_is_in_a_second_tab(page: Page, url: str) -> None:
    with page.expect_response("**/draft/"):
        press(page, [*"ijjx2hm", *"half a thought"])
    page.reload()
    expect(page.locator("#answer_1")).to_be_checked()
    expect(page.locator("#wrong-2")).to_be_checked()
    expect(page.get_by_label("Logic")).to_be_checked()
    expect(page.get_by_label("Note")).to_have_value("half a thought")

    tab = page.context.new_page()
    tab.goto(url)
    expect(tab.locator("#is_hack")).to_be_checked()
    token = token_of(tab)
    assert token == token_of(page)
    tab.bring_to_front()
    press(tab, ["Escape", "Enter"])
    expect_other_item(tab, token)
    # What was answered here is no work there any more.
    expect(page.locator("#item")).to_have_attribute("data-lease-token", token_of(tab))
    label = Label.objects.get()
    assert (label.earliest_wrong_step, label.error_category) == (2, "logic")
    assert not Draft.objects.filter(assignment=label.assignment).exists()


def test_what_is_taken_back_is_filled_in_as_it_was(page: Page) -> None:
    label_with(page, [*"ijx4h1am", *"so", "Control+Enter"])
    label_with(page, ["u"])
    expect(page.get_by_label("Unjustified claim")).to_be_checked()
    expect(page.get_by_label("Enumeration")).to_be_checked()
    expect(page.get_by_label("Admitted", exact=False).first).to_be_checked()
    expect(page.get_by_label("Note")).to_have_value("so")
    label_with(page, ["Enter"])
    first, second = Label.objects.order_by("pk")
    assert first.assignment == second.assignment
    assert (second.error_category, second.hack_kind) == ("unjustified", "enumeration")


def test_what_the_verifiers_said_comes_after_the_label_and_not_before(page: Page) -> None:
    assert "/reveal/" not in page.content()
    assert "boxed-any" not in page.content()
    press(page, "r")
    label_with(page, [*"ci", "Enter"])
    assert "boxed-any" not in page.content()
    press(page, "r")
    page.wait_for_url("**/verdicts/")
    expect(page.get_by_text("boxed-any")).to_be_visible()
    expect(page.get_by_text("The verifier accepted an answer that you call")).to_be_visible()
    page.get_by_label("What you would answer now").fill("It is right after all.")
    page.get_by_role("button", name="I would answer otherwise now").click()
    expect(page.get_by_text("an adjudicator decides", exact=False).first).to_be_visible()
    page.get_by_role("link", name="Back to labelling").click()
    expect(page.locator("[data-label-form]")).to_be_visible()
    expect(page.locator("[data-undo]")).to_have_count(0)
    assert Reveal.objects.get().label == Objection.objects.get().label == Label.objects.get()


def test_ones_own_keys_replace_the_first_ones(page: Page, url: str) -> None:
    press(page, "?")
    page.get_by_role("link", name="Change the keys").click()
    page.get_by_label("Answer correct").fill("q")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url(f"**{url}")
    press(page, "c")
    expect(page.locator("[name=answer]:checked")).to_have_count(0)
    expect(page.get_by_text("Correct q", exact=True)).to_be_visible()
    label_with(page, ["q", "Enter"])
    assert Label.objects.get().answer == "correct"


def test_hostile_keys_run_nothing(page: Page, url: str, ben: User) -> None:
    hostile = "\"></script><script>window.__pwned=1</script><img src=x onerror='__pwned=1'>"
    ben.shortcuts = {"correct": hostile, hostile: hostile, "skip": {"a": hostile}, "undo": "z'"}
    ben.save()
    page.goto(url)
    assert "__pwned" not in page.content()
    assert page.evaluate("window.__pwned") is None
    label_with(page, ["c", "Enter"])
    page.goto(reverse("web:keys"))
    assert "__pwned" not in page.content()


def test_everything_asked_fits_a_phone_and_breaks_no_rule(
    queue: Queue, url: str, ben: User, sign_in: SignIn
) -> None:
    rubric = ["States what it integrates over.", "W" * 300]
    Queue.objects.update(questions=Question.values, rubric=rubric, reveals=True)
    found = {}
    for scheme, size in (("light", PHONE), ("dark", None)):
        options = {"viewport": size} if size else {}
        page = sign_in(ben, color_scheme=scheme, bypass_csp=True, **options)
        page.goto(url)
        press(page, "ijx3h2afvpzo1")
        results = Axe().run(page)
        if results.violations_count:
            found[scheme] = results.generate_report()
        assert overflow(page) == 0
        label_with(page, ["2", "Enter"])
        for path in (reverse("web:keys"), reverse("web:queue", args=[queue.pk])):
            page.goto(path)
            assert overflow(page) == 0
        page.goto(url)
        page.locator("[data-action=reveal]").evaluate("element => element.click()")
        page.wait_for_url("**/verdicts/")
        results = Axe().run(page)
        if results.violations_count:
            found[f"revealed, {scheme}"] = results.generate_report()
        assert overflow(page) == 0
    assert found == {}
    for label in Label.objects.all():
        assert (label.criteria, label.confidence) == (["met", "not_met"], 1)
        assert (label.error_category, label.hack_kind) == ("misread", "several_boxes")


def test_the_questions_of_a_new_queue_fit_the_screen(page: Page) -> None:
    press(page, "ijx1h1a")
    button = page.locator("[data-commit]").bounding_box()
    assert button
    assert button["y"] + button["height"] <= 900
    column = page.locator(".decision")
    assert column.evaluate("element => element.scrollHeight - element.clientHeight") == 0
