"""Files of rollouts: uploaded, mapped with a preview, imported, with what was refused."""

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from review.accounts.models import Project
from review.core.errors import InvalidError, ReviewError
from review.flows import imports as flow
from review.flows.imports import Preview
from review.rollouts.errors import UnreadableFileError
from review.rollouts.importers import first_records
from review.rollouts.importers.guesses import columns_of
from review.rollouts.importers.mapping import ColumnMapping
from review.rollouts.imports import imports_of, stored_file, uploads_dir
from review.rollouts.models import Import, ImportFormat, ImportState
from review.runs.models import Run, RunStatus
from review.runs.queries import runs_of
from review.web import access
from review.web.access import ReviewRequest
from review.web.forms.imports import FormatForm, MappingForm, VerdictRows, Verdicts
from review.web.navigation import project_frame

# More columns than this are not offered.
MOST_COLUMNS = 200
SHOWN_REFUSED = 50
SHOWN_CHARACTERS = 240
# Of the form, beside the file.
MOST_OVERHEAD = 64 * 1024


@require_GET
@login_required
def imports(request: ReviewRequest, project_slug: str) -> HttpResponse:
    project = access.project_led(request.user, project_slug)
    context = project_frame(request, project, _("Import")) | {
        "imports": [_listed(import_) for import_ in imports_of(project)[:100]],
        "upload_url": reverse("web:import-upload", args=[project.slug]),
        "most_bytes": settings.MAX_UPLOAD_BYTES,
    }
    return render(request, "web/imports.html", context)


def _listed(import_: Import) -> dict[str, object]:
    return {
        "url": reverse("web:import", args=[import_.pk]),
        "file_name": import_.file_name,
        "format": import_.get_format_display(),
        "state": import_.state,
        "stored": import_.rows_stored,
        "refused": import_.rows_refused,
        "by": import_.created_by,
        "at": import_.created_at,
        "run": None if import_.run is None else {"id": import_.run.pk, "name": import_.run.name},
    }


# Uploading


class Upload(TemporaryFileUploadHandler):
    """Writes the file beside where it will lie, and takes its digest on the way."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.digest = hashlib.sha256()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self.digest.update(raw_data)
        super().receive_data_chunk(raw_data, start)

    def file_complete(self, file_size: int) -> Any:
        file = super().file_complete(file_size)
        if file is not None:
            file.digest = self.digest.hexdigest()  # type: ignore[attr-defined]
        return file


# The check reads the body: not before it is known who sends it, and how much.
@csrf_exempt
@require_POST
@login_required
def import_upload(request: ReviewRequest, project_slug: str) -> HttpResponse:
    project = access.project_led(request.user, project_slug)
    if int(request.META.get("CONTENT_LENGTH") or 0) > settings.MAX_UPLOAD_BYTES + MOST_OVERHEAD:
        raise InvalidError(
            _("The file is larger than %(limit)d MiB.") % {"limit": settings.MAX_UPLOAD_BYTES >> 20}
        )
    uploads_dir()
    request.upload_handlers = [Upload(request)]
    return _accepted(request, project)


@csrf_protect
def _accepted(request: ReviewRequest, project: Project) -> HttpResponse:
    file = request.FILES.get("file")
    if not isinstance(file, TemporaryUploadedFile):
        raise InvalidError(_("Choose a file."))
    import_ = flow.accept_upload(
        project=project,
        upload=Path(file.temporary_file_path()),
        file_name=file.name or "",
        digest=file.digest,  # type: ignore[attr-defined]
        actor=request.user,
    )
    return redirect("web:import", import_.pk)


# Mapping


@require_http_methods(["GET", "POST"])
@login_required
def import_page(request: ReviewRequest, import_id: UUID) -> HttpResponse:
    import_ = access.import_led(request.user, import_id)
    if import_.state != ImportState.UPLOADED:
        return render(request, "web/import.html", _progress_context(request, import_))
    form, verdicts = _forms(import_, request.POST if request.method == "POST" else None)
    is_filled_in = request.method == "POST" and form.is_valid() and verdicts.is_valid()
    if is_filled_in and _started(request, import_, form, verdicts):
        return redirect("web:import", import_.pk)
    status = 422 if request.method == "POST" else 200
    context = _mapping_context(request, import_, form, verdicts)
    return render(request, "web/import_form.html", context, status=status)


@require_POST
@login_required
def import_preview(request: ReviewRequest, import_id: UUID) -> HttpResponse:
    import_ = access.import_led(request.user, import_id)
    form, verdicts = _forms(import_, request.POST)
    context = _mapping_context(request, import_, form, verdicts)
    template = "web/import_form.html" + ("#preview" if request.htmx else "")
    return render(request, template, context)


@require_POST
@login_required
def import_format(request: ReviewRequest, import_id: UUID) -> HttpResponse:
    import_ = access.import_led(request.user, import_id)
    form = FormatForm(request.POST)
    if not form.is_valid():
        raise InvalidError(_("There is no such format."))
    format_ = ImportFormat(form.cleaned_data["format"])
    try:
        flow.read_as(import_=import_, format_=format_)
    except UnreadableFileError as error:
        messages.error(request, error.message)
    return redirect("web:import", import_.pk)


def _forms(import_: Import, posted: Any) -> tuple[MappingForm, VerdictRows]:
    columns = columns_of(
        record.fields for record in first_records(stored_file(import_), import_.format)
    )[:MOST_COLUMNS]
    guessed = flow.plan_of(import_).columns
    options: dict[str, Any] = {"columns": columns, "runs": _running(import_.project)}
    if posted is not None:
        form = MappingForm(posted, **options)
        return form, Verdicts(posted, prefix="verdict", form_kwargs={"columns": columns})
    form = MappingForm(initial=_initial(import_, guessed), **options)
    rows = [*guessed.get("verdicts", []), {}, {}]
    return form, Verdicts(initial=rows[:5], prefix="verdict", form_kwargs={"columns": columns})


def _running(project: Project) -> list[Run]:
    return list(runs_of(project).filter(status=RunStatus.RUNNING))


def _initial(import_: Import, guessed: Mapping[str, Any]) -> dict[str, Any]:
    fixed = {"policy": "imported", "domain": "general", "is_finishing": True}
    return {"run_name": import_.file_name} | fixed | dict(guessed)


def _started(
    request: ReviewRequest, import_: Import, form: MappingForm, verdicts: VerdictRows
) -> bool:
    run_id = form.cleaned_data.get("run")
    try:
        flow.start_import(
            import_=import_,
            columns=_mapping(import_, form, verdicts),
            run=access.run_led(request.user, UUID(run_id)) if run_id else None,
            run_name=form.cleaned_data["run_name"],
            is_finishing=form.cleaned_data["is_finishing"],
            actor=request.user,
        )
    except ReviewError as error:
        reasons = "; ".join(f"{field}: {rule}" for field, rule in error.fields.items())
        form.add_error(None, f"{error.message} {reasons}".strip())
        return False
    return True


def _mapping(import_: Import, form: MappingForm, verdicts: VerdictRows) -> ColumnMapping:
    return form.mapping(verdicts.verdicts(), flow.plan_of(import_).columns)


def _mapping_context(
    request: ReviewRequest, import_: Import, form: MappingForm, verdicts: VerdictRows
) -> dict[str, object]:
    is_usable = not form.is_bound or (form.is_valid() and verdicts.is_valid())
    mapping = _shown_mapping(import_, form, verdicts) if is_usable else None
    return project_frame(request, import_.project, _("Import")) | {
        "import": _listed(import_) | {"bytes": import_.bytes},
        "format_form": FormatForm(initial={"format": import_.format}),
        "format_url": reverse("web:import-format", args=[import_.pk]),
        "form": form,
        "verdicts": verdicts,
        "sections": list(form.sections()),
        "preview_url": reverse("web:import-preview", args=[import_.pk]),
        "cancel_url": reverse("web:import-cancel", args=[import_.pk]),
        "rows": _previewed(import_, mapping),
        "columns": [verdict.column for verdict in mapping.verdicts] if mapping else [],
    }


def _shown_mapping(
    import_: Import, form: MappingForm, verdicts: VerdictRows
) -> ColumnMapping | None:
    if form.is_bound:
        return _mapping(import_, form, verdicts)
    try:
        return ColumnMapping.parse(flow.plan_of(import_).columns)
    except ReviewError:
        return None


def _previewed(import_: Import, mapping: ColumnMapping | None) -> list[dict[str, object]] | None:
    """None: the form must be filled in first."""
    if mapping is None:
        return None
    return [_preview(row) for row in flow.preview(import_, mapping)]


def _preview(row: Preview) -> dict[str, object]:
    return {
        "line": row.line,
        "reason": row.reason,
        "step": row.step,
        "problem": _short(row.problem),
        "references": _short(", ".join(row.references)),
        # Its end, where the answer mostly stands.
        "completion": ("… " if len(row.completion) > SHOWN_CHARACTERS else "")
        + row.completion[-SHOWN_CHARACTERS:],
        "answer": None if row.answer is None else _short(row.answer),
        "outcomes": [outcome for _column, outcome in row.verdicts],
    }


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} …"


# Progress


@require_GET
@login_required
def import_live(request: ReviewRequest, import_id: UUID) -> HttpResponse:
    import_ = access.import_led(request.user, import_id)
    return render(request, "web/import.html#live", _progress_context(request, import_))


def _progress_context(request: ReviewRequest, import_: Import) -> dict[str, object]:
    refused = import_.refused.order_by("line")[:SHOWN_REFUSED]
    run = import_.run
    is_open = import_.state in (ImportState.UPLOADED, ImportState.RUNNING)
    return project_frame(request, import_.project, _("Import")) | {
        "import": _listed(import_)
        | {
            "id": import_.pk,
            "read": import_.rows_read,
            "again": max(0, import_.rows_read - import_.rows_stored - import_.rows_refused),
            "percent": 100 * import_.bytes_read // max(import_.bytes, 1),
            "problem": import_.problem,
            "is_running": import_.state == ImportState.RUNNING,
        },
        "refused_rows": [{"line": row.line, "reason": row.reason} for row in refused],
        "refused_url": reverse("web:import-refused", args=[import_.pk]),
        "live_url": reverse("web:import-live", args=[import_.pk]),
        "cancel_url": reverse("web:import-cancel", args=[import_.pk]) if is_open else None,
        "audit_url": None if run is None else reverse("web:audit-new", args=[run.pk]),
    }


@require_POST
@login_required
def import_cancel(request: ReviewRequest, import_id: UUID) -> HttpResponse:
    import_ = access.import_led(request.user, import_id)
    flow.cancel_import(import_=import_, actor=request.user)
    messages.success(request, _("The import is cancelled."))
    return redirect("web:import", import_.pk)


class _Echo:
    """Where a CSV writer writes to, to have the line back."""

    def write(self, line: str) -> str:
        return line


@require_GET
@login_required
def import_refused(request: ReviewRequest, import_id: UUID) -> StreamingHttpResponse:
    import_ = access.import_led(request.user, import_id)
    response = StreamingHttpResponse(_refused_lines(import_), content_type="text/csv")
    response["Content-Disposition"] = 'attachment; filename="refused-rows.csv"'
    return response


def _refused_lines(import_: Import) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(("line", "reason"))
    rows: Sequence[Any] = import_.refused.order_by("line").values_list("line", "reason")  # type: ignore[assignment]
    for line, reason in rows.iterator():  # type: ignore[attr-defined]
        yield writer.writerow((line, _no_formula(reason)))


def _no_formula(text: str) -> str:
    """A spreadsheet takes what starts like this for a formula, and runs it."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
