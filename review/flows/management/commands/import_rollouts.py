"""Import a file of rollouts that lies on this machine, as the import page does."""

import json
import shutil
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from review.accounts.models import Project
from review.core.errors import ReviewError
from review.flows import imports as flow
from review.rollouts import imports
from review.rollouts.importers.mapping import ColumnMapping
from review.rollouts.models import Import, ImportFormat, ImportState


class Command(BaseCommand):
    help = "Import a file of rollouts: TRL, verl, Inspect, lm-eval, JSON lines or Parquet."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--project", required=True, help="its slug")
        parser.add_argument("--format", choices=ImportFormat.values, help="default: guessed")
        parser.add_argument(
            "--mapping", default="{}", help="JSON, over what is guessed: field to column"
        )
        parser.add_argument("--leave-open", action="store_true", help="later steps will follow")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            import_ = self._started(options)
            # A worker that was told of it does a part, if there is one.
            while import_.state == ImportState.RUNNING:
                flow.run_import(import_=import_)
                import_.refresh_from_db()
                self.stdout.write(f"{import_.rows_read:,} rows read")
        except (ReviewError, Project.DoesNotExist, json.JSONDecodeError) as error:
            raise CommandError(str(error)) from None
        if import_.state != ImportState.DONE:
            raise CommandError(f"The import {import_.state}. {import_.problem}".strip())
        counts = f"{import_.rows_stored:,} rows stored, {import_.rows_refused:,} refused"
        self.stdout.write(f"{counts}, in the run {import_.run}")
        for row in import_.refused.order_by("line")[:50]:
            self.stdout.write(str(row))

    def _started(self, options: dict[str, Any]) -> Import:
        file: Path = options["file"]
        upload = imports.uploads_dir() / f"command-{imports.digest_of(file)[:16]}"
        shutil.copyfile(file, upload)
        import_ = flow.accept_upload(
            project=Project.objects.get(slug=options["project"]),
            upload=upload,
            file_name=file.name,
            digest=imports.digest_of(upload),
            actor="import_rollouts",
        )
        if options["format"]:
            import_ = flow.read_as(import_=import_, format_=ImportFormat(options["format"]))
        guessed = flow.plan_of(import_).columns
        return flow.start_import(
            import_=import_,
            columns=ColumnMapping.parse(guessed | json.loads(options["mapping"])),
            run=None,
            run_name=file.name,
            is_finishing=not options["leave_open"],
            actor="import_rollouts",
        )
