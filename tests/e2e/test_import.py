"""A lead brings a file: dropped, mapped, imported by a worker, its run opened."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django.fixtures import Settings

from review.accounts.models import Project, User
from review.flows.imports import run_import
from review.rollouts.models import Import, Rollout
from tests.e2e.conftest import PHONE, Complaints, SignIn
from tests.e2e.scenes import follow
from tests.rollouts import files

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def _uploads(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tmp_path / "uploads")
    settings.UPLOADS_DIR = folder
    # The worker is a process of its own.
    monkeypatch.setenv("UPLOADS_DIR", folder)


@pytest.fixture
def page(project: Project, ada: User, sign_in: SignIn, _uploads: None) -> Page:
    page = sign_in(ada)
    page.goto(reverse("web:home"))
    follow(page, "Import rollouts")
    return page


DROP = """(form, text) => {
    const data = new DataTransfer();
    data.items.add(new File([text], "mine.jsonl"));
    const event = new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
    form.dispatchEvent(event);
}"""


@pytest.mark.usefixtures("worker")
def test_a_dropped_file_is_mapped_imported_and_its_run_opened(page: Page, tmp_path: Path) -> None:
    rows = [*files.plain_rows(groups=3), b"{broken"]
    content = files.write_lines(tmp_path / "f", rows).read_text()
    page.locator("form[data-upload]").evaluate(DROP, content)

    expect(page.get_by_role("heading", name="mine.jsonl")).to_be_visible()
    preview = page.get_by_role("region", name="Preview of the rows")
    expect(preview.get_by_role("row").nth(1)).to_contain_text("pass")
    # Everything passes from a threshold of -1 on.
    page.get_by_label("Passes from").first.fill("-1")
    expect(preview.get_by_role("row").nth(3)).to_contain_text("pass")
    page.get_by_label("Name of a new run").fill("Brought along")
    page.get_by_role("button", name="Import", exact=True).click()

    expect(page.get_by_role("link", name="Set an audit")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("region", name="The first refused rows")).to_contain_text(
        "not valid JSON"
    )
    assert Rollout.objects.count() == 12
    page.get_by_role("link", name="Open the run").click()
    expect(page.get_by_role("heading", name="Brought along")).to_be_visible()


def test_a_chosen_file_of_no_format_is_refused_in_place(
    page: Page, tmp_path: Path, complaints: Complaints
) -> None:
    complaints.expect("400")
    path = files.write_lines(tmp_path / "notes.txt", [b"just words"])
    page.get_by_label("File").set_input_files(path)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("alert")).to_contain_text("no lines of JSON objects")
    expect(page.get_by_role("button", name="Upload")).to_be_enabled()


def test_it_works_without_javascript_and_on_a_phone(
    project: Project, ada: User, sign_in: SignIn, tmp_path: Path
) -> None:
    page = sign_in(ada, java_script_enabled=False, viewport=PHONE)
    page.goto(reverse("web:imports", args=[project.slug]))
    page.get_by_label("File").set_input_files(
        files.write_lines(tmp_path / "mine.jsonl", files.plain_rows())
    )
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", name="mine.jsonl")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_no_page_is_wider_than_a_phone(
    project: Project, ada: User, sign_in: SignIn, tmp_path: Path, scheme: str
) -> None:
    lines = [*files.plain_rows(), b"{broken"]
    path = files.write_lines(tmp_path / ("long-" * 30 + ".jsonl"), lines)
    # The pages' own policy would not let axe in.
    page = sign_in(ada, color_scheme=scheme, bypass_csp=True, viewport=PHONE)
    page.goto(reverse("web:imports", args=[project.slug]))
    refuse_faults(page)
    page.get_by_label("File").set_input_files(path)
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("button", name="Import", exact=True).wait_for()
    refuse_faults(page)
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_role("button", name="Cancel").focus()
    refuse_faults(page)
    with page.expect_response("**/live/"):
        pass
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    while not run_import(import_=Import.objects.get()):
        pass
    expect(page.get_by_role("region", name="The first refused rows")).to_be_visible()
    refuse_faults(page)


def refuse_faults(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
