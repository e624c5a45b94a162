"""Imports of files: their states, and where the files lie until they are read."""

import hashlib
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from review.accounts.models import Project
from review.core.models import record_event
from review.core.texts import storable
from review.rollouts.errors import ImportStateError, UnreadableFileError
from review.rollouts.importers.records import Position, Refused
from review.rollouts.models import Import, ImportFormat, ImportState, RefusedRow
from review.runs.models import Run

# A file that nobody imports is deleted after this.
KEPT = timedelta(days=1)
# An import that stands still for so long has lost its worker.
STALLED = timedelta(minutes=2)
MOST_NAME = 200
MOST_REASON = 500
NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def uploads_dir() -> Path:
    folder = Path(settings.UPLOADS_DIR)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def file_of(import_: Import) -> Path:
    """Where its file lies: no name from outside is ever part of a path."""
    return uploads_dir() / import_.pk.hex


def stored_file(import_: Import) -> Path:
    file = file_of(import_)
    if not file.exists():
        raise UnreadableFileError("The uploaded file is gone: upload it again.")
    return file


def shown_name(name: str) -> str:
    """What the owner calls the file, without what would not be seen."""
    return NOT_SHOWN.sub("", name.replace("\\", "/").rpartition("/")[2])[:MOST_NAME] or "file"


def imports_of(project: Project) -> QuerySet[Import]:
    return Import.objects.filter(project=project).select_related("run").order_by("-created_at")


@transaction.atomic
def create_import(
    *,
    project: Project,
    upload: Path,
    file_name: str,
    format_: ImportFormat,
    mapping: dict[str, Any],
    actor: object,
) -> Import:
    """Take an uploaded file over: it is moved to its place, under a name of our own."""
    import_ = Import.objects.create(
        project=project,
        format=format_,
        file_name=shown_name(file_name),
        bytes=upload.stat().st_size,
        mapping=mapping,
        created_by=str(actor),
    )
    upload.replace(file_of(import_))
    return import_


@transaction.atomic
def read_as(*, import_: Import, format_: ImportFormat, mapping: dict[str, Any]) -> Import:
    """Read the file as another format, with what this one's columns mostly hold."""
    import_ = lock_import(import_, ImportState.UPLOADED)
    import_.format, import_.mapping = format_, mapping
    import_.save(update_fields=["format", "mapping"])
    return import_


@transaction.atomic
def begin(*, import_: Import, run: Run, mapping: dict[str, Any], actor: object) -> Import:
    """From now on rows go into the run."""
    import_ = lock_import(import_, ImportState.UPLOADED)
    import_.run, import_.mapping = run, mapping
    import_.state, import_.advanced_at = ImportState.RUNNING, timezone.now()
    import_.save(update_fields=["run", "mapping", "state", "advanced_at"])
    record_event(actor=actor, action="import started", subject=import_, run=str(run.pk))
    return import_


def lock_import(import_: Import, state: ImportState) -> Import:
    """The import's row, locked, if it is in this state."""
    import_ = Import.objects.select_for_update(of=("self",)).get(pk=import_.pk)
    if import_.state != state:
        raise ImportStateError(f"The import is {import_.state}.")
    return import_


def advance(
    *,
    import_: Import,
    mapping: dict[str, Any],
    to: Position,
    stored: int,
    refused: Sequence[Refused],
    bytes_read: int,
) -> None:
    """Note how far it is, with what was refused on the way, in the caller's transaction.

    The caller holds the import's lock. In a file of lines `bytes_read` is where the next starts.
    """
    RefusedRow.objects.bulk_create(
        [
            RefusedRow(of=import_, line=row.line, reason=storable(row.reason)[:MOST_REASON])
            for row in refused
        ],
        ignore_conflicts=True,
    )
    import_.mapping = mapping
    import_.rows_read, import_.bytes_read = to.rows, bytes_read
    import_.rows_stored += stored
    import_.rows_refused += len(refused)
    import_.advanced_at = timezone.now()
    import_.save(
        update_fields=[
            *("mapping", "rows_read", "bytes_read", "rows_stored", "rows_refused", "advanced_at")
        ]
    )


@transaction.atomic
def end_import(*, import_: Import, state: ImportState, problem: str = "", actor: object) -> Import:
    """It is over, one way or another: what is stored stays, the file goes."""
    import_ = Import.objects.select_for_update(of=("self",)).get(pk=import_.pk)
    if import_.state not in (ImportState.UPLOADED, ImportState.RUNNING):
        raise ImportStateError(f"The import is {import_.state}.")
    import_.state, import_.problem = state, storable(problem)[:MOST_REASON]
    import_.finished_at = timezone.now()
    import_.save(update_fields=["state", "problem", "finished_at"])
    record_event(actor=actor, action=f"import {state}", subject=import_)
    transaction.on_commit(lambda: file_of(import_).unlink(missing_ok=True), robust=True)
    return import_


def stalled_imports() -> list[UUID]:
    """Imports whose worker is gone."""
    before = timezone.now() - STALLED
    rows = Import.objects.filter(state=ImportState.RUNNING, advanced_at__lt=before)
    return list(rows.values_list("pk", flat=True))


def sweep_uploads() -> None:
    """Let go of files that nobody imported within a day, and of halves of such."""
    before = timezone.now() - KEPT
    for import_ in Import.objects.filter(state=ImportState.UPLOADED, created_at__lt=before):
        end_import(
            import_=import_,
            state=ImportState.CANCELLED,
            problem="Nobody imported it within a day.",
            actor="sweep",
        )
    kept = {pk.hex for pk in _unfinished()}
    for file in uploads_dir().iterdir():
        if file.name not in kept and file.stat().st_mtime < before.timestamp():
            file.unlink(missing_ok=True)


def _unfinished() -> QuerySet[Import, UUID]:
    states = (ImportState.UPLOADED, ImportState.RUNNING)
    return Import.objects.filter(state__in=states).values_list("pk", flat=True)


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
