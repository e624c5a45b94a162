"""The import pages: upload, mapping with its preview, progress, and the refused rows as a file."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from review.accounts.models import Project, User
from review.flows.imports import run_import
from review.rollouts.imports import uploads_dir
from review.rollouts.models import Import, ImportState, RefusedRow, Rollout
from review.runs.models import Run
from tests import builders
from tests.rollouts import files
from tests.web.rules import signed_in

pytestmark = pytest.mark.django_db

FORM = {
    "run_name": "Mine",
    "is_finishing": "on",
    "prompt": "problem",
    "completion": "response",
    "references": "ground_truth",
    "group_size": "4",
    "policy": "mine-7b",
    "domain": "algebra",
    "normaliser": "number-1",
    "verdict-TOTAL_FORMS": "2",
    "verdict-INITIAL_FORMS": "0",
    "verdict-0-column": "score",
    "verdict-0-threshold": "0.5",
    "verdict-0-channel": "correctness",
    "verdict-1-column": "",
    "verdict-1-threshold": "0.5",
    "verdict-1-channel": "correctness",
}


@pytest.fixture(autouse=True)
def uploads(settings: Settings, tmp_path: Path) -> Path:
    settings.UPLOADS_DIR = str(tmp_path / "uploads")
    return uploads_dir()


@pytest.fixture
def lead(ada: User) -> Client:
    return signed_in(ada)


Send = Callable[..., HttpResponse]


@pytest.fixture
def send(lead: Client, project: Project) -> Send:
    def upload(rows: Any = None, *, name: str = "mine.jsonl", client: Client = lead) -> Any:
        lines = files.plain_rows() if rows is None else rows
        content = lines if isinstance(lines, bytes) else b"".join(map(as_line, lines))
        url = reverse("web:import-upload", args=[project.slug])
        return client.post(url, {"file": SimpleUploadedFile(name, content)})

    return upload


def as_line(row: Any) -> bytes:
    return (row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n"


def page_of(import_: Import, name: str = "import") -> str:
    return reverse(f"web:{name}", args=[import_.pk])


def text_of(response: HttpResponse) -> str:
    return response.content.decode()


def test_a_file_is_uploaded_mapped_and_imported(lead: Client, send: Send, uploads: Path) -> None:
    response = send()
    import_ = Import.objects.get()
    assert response.headers["Location"] == page_of(import_)
    assert [file.name for file in uploads.iterdir()] == [import_.pk.hex]
    page = text_of(lead.get(page_of(import_)))
    assert "asked for the 0th time" in page
    assert page.count(r"so \boxed{15}") >= 1
    assert '<option value="score" selected>' in page

    assert lead.post(page_of(import_), FORM).headers["Location"] == page_of(import_)
    assert 'hx-trigger="every 1s"' in text_of(lead.get(page_of(import_)))
    import_.refresh_from_db()
    run_import(import_=import_)
    page = text_of(lead.get(page_of(import_)))
    run = Run.objects.get()
    assert run.name == "Mine"
    assert reverse("web:run", args=[run.pk]) in page
    assert reverse("web:audit-new", args=[run.pk]) in page
    assert "every 1s" not in page
    assert Rollout.objects.count() == 8
    assert "mine.jsonl" in text_of(lead.get(reverse("web:imports", args=[import_.project.slug])))


def test_the_preview_shows_what_a_changed_mapping_would_store(lead: Client, send: Send) -> None:
    send([*files.plain_rows(groups=1), b"{broken"])
    import_ = Import.objects.get()
    url = page_of(import_, "import-preview")
    posted = FORM | {"verdict-0-threshold": "-1"}
    page = text_of(lead.post(url, posted, headers={"HX-Request": "true"}))
    assert page.strip().startswith('<div id="preview"')
    assert page.count(">pass<") == 4
    assert "Refused:" in page
    wrong = text_of(lead.post(url, FORM | {"prompt": "nowhere"}))
    assert "The form must be filled in first." in wrong
    assert Rollout.objects.count() == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompt": "nowhere"}, "nowhere is not one of the available choices"),
        ({"run_name": ""}, "A new run needs a name."),
        ({"verdict-0-column": ""}, "verifiers of the channel correctness"),
        ({"verdict-1-column": "score"}, "A column is named twice."),
        ({"domain": "<b>"}, "Enter a valid value."),
        ({"group_size": "9999999"}, "less than or equal to"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_with_words(
    lead: Client, send: Send, changes: dict[str, str], says: str
) -> None:
    send()
    import_ = Import.objects.get()
    response = lead.post(page_of(import_), FORM | changes)
    assert response.status_code == 422
    assert says in text_of(response)
    import_.refresh_from_db()
    assert import_.state == ImportState.UPLOADED


def test_a_run_of_other_verifiers_is_refused(lead: Client, send: Send, project: Project) -> None:
    run = builders.make_run(project)
    send()
    response = lead.post(page_of(Import.objects.get()), FORM | {"run": str(run.pk)})
    assert response.status_code == 422
    assert "boxed-any@1" in text_of(response)


def test_another_projects_run_is_no_choice(lead: Client, send: Send, project: Project) -> None:
    builders.make_run(project)
    theirs = builders.make_run()
    send()
    response = lead.post(page_of(Import.objects.get()), FORM | {"run": str(theirs.pk)})
    assert response.status_code == 422
    assert theirs.imports.count() == 0


def test_the_format_can_be_changed(lead: Client, send: Send) -> None:
    send(files.verl_rows())
    import_ = Import.objects.get()
    assert import_.format == "verl"
    lead.post(page_of(import_, "import-format"), {"format": "jsonl"})
    import_.refresh_from_db()
    assert import_.format == "jsonl"
    page = text_of(lead.post(page_of(import_, "import-format"), {"format": "inspect"}, follow=True))
    assert "not a valid zip archive" in page
    import_.refresh_from_db()
    assert import_.format == "jsonl"


@pytest.mark.parametrize("content", [b"", b"col,score\n1,2\n", b"\x80\x04\x95pickle"])
def test_a_file_of_no_format_leaves_nothing(send: Send, content: bytes, uploads: Path) -> None:
    response = send(content)
    assert response.status_code == 400
    assert not Import.objects.exists()
    assert list(uploads.iterdir()) == []


def test_a_refusal_of_an_upload_is_plain_text_for_the_script(
    lead: Client, project: Project
) -> None:
    response = lead.post(
        reverse("web:import-upload", args=[project.slug]),
        {"file": SimpleUploadedFile("x", b"nothing")},
        headers={"HX-Request": "true"},
    )
    assert response.headers["Content-Type"] == "text/plain"
    assert "no lines of JSON objects" in text_of(response)


def test_a_file_over_the_limit_is_refused(send: Send, settings: Settings) -> None:
    settings.MAX_UPLOAD_BYTES = 1000
    response = send(b"x" * 200_000)
    assert response.status_code == 400
    assert not Import.objects.exists()


@pytest.mark.parametrize("name", ["../../etc/passwd", "..\\boot.ini", "/etc/x\x00.jsonl", "<b>.x"])
def test_a_files_name_is_shown_and_never_a_path(
    lead: Client, send: Send, uploads: Path, name: str
) -> None:
    send(name=name)
    import_ = Import.objects.get()
    assert [file.name for file in uploads.iterdir()] == [import_.pk.hex]
    assert not set("/\\\0") & set(import_.file_name)
    assert "<b>" not in text_of(lead.get(page_of(import_)))


def test_the_refused_rows_are_a_file_without_formulas(lead: Client, send: Send) -> None:
    send()
    import_ = Import.objects.get()
    reasons = ["=cmd()", "+1", "-1", "@x", "plain, with a comma"]
    RefusedRow.objects.bulk_create(
        RefusedRow(of=import_, line=line, reason=reason) for line, reason in enumerate(reasons, 1)
    )
    response: Any = lead.get(page_of(import_, "import-refused"))
    assert response.headers["Content-Disposition"] == 'attachment; filename="refused-rows.csv"'
    content = b"".join(response.streaming_content).decode()
    assert list(csv.reader(io.StringIO(content))) == [
        ["line", "reason"],
        *([str(line), f"'{reason}"] for line, reason in enumerate(reasons[:4], 1)),
        ["5", "plain, with a comma"],
    ]


def test_markup_in_a_file_is_text_on_every_page(lead: Client, send: Send) -> None:
    script = "<script>alert(1)</script>"
    rows = [{script: script, "problem": script, "response": script, "score": script}]
    send(rows, name=f"{script}.jsonl")
    import_ = Import.objects.get()
    assert script not in text_of(lead.get(page_of(import_)))
    RefusedRow.objects.create(of=import_, line=1, reason=script)
    Import.objects.update(state=ImportState.FAILED, problem=script)
    assert script not in text_of(lead.get(page_of(import_)))


def test_an_upload_can_be_thrown_away(lead: Client, send: Send) -> None:
    send()
    import_ = Import.objects.get()
    lead.post(page_of(import_, "import-cancel"))
    import_.refresh_from_db()
    assert import_.state == ImportState.CANCELLED
    assert "cancelled" in text_of(lead.get(page_of(import_)))


ROUTES = ("import", "import-live", "import-refused")
WRITES = ("import", "import-format", "import-preview", "import-cancel")


def test_only_a_lead_of_the_project_comes_near(
    send: Send, project: Project, ben: User, cyd: User, uploads: Path
) -> None:
    send()
    import_ = Import.objects.get()
    for stranger in (ben, cyd):
        client = signed_in(stranger)
        assert client.get(reverse("web:imports", args=[project.slug])).status_code == 404
        assert send(client=client).status_code == 404
        for name in ROUTES:
            assert client.get(page_of(import_, name)).status_code == 404
        for name in WRITES:
            assert client.post(page_of(import_, name), FORM).status_code == 404
    assert Import.objects.count() == 1
    # What was refused left nothing on the disk.
    assert len(list(uploads.iterdir())) == 1


def test_nobody_uploads_without_the_pages_own_token(ada: User, project: Project) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    url = reverse("web:import-upload", args=[project.slug])
    file = SimpleUploadedFile("mine.jsonl", as_line(files.plain_rows()[0]))
    assert client.post(url, {"file": file}).status_code == 403
    assert not Import.objects.exists()


def test_an_unknown_import_does_not_exist(lead: Client) -> None:
    assert lead.get(reverse("web:import", args=[uuid4()])).status_code == 404
