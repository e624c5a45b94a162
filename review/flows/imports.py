"""Files of rollouts that a lead brings: read, mapped, judged, and stored group by group.

An import goes on by chunks of whole groups. A chunk is one transaction that also notes how far the
file is read, so that whoever goes on after a killed worker stores nothing twice.
"""

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from django.db import DataError, InterfaceError, OperationalError, transaction

from review.accounts.models import Project
from review.core.errors import ReviewError
from review.flows import ingest, tasks
from review.rollouts import imports
from review.rollouts.errors import ImportStateError, UnreadableFileError
from review.rollouts.importers import READERS, format_of, guessed_mapping
from review.rollouts.importers.answers import Extraction, extraction_of, text_of_messages
from review.rollouts.importers.chunks import Chunk, Chunks, rows_of
from review.rollouts.importers.mapping import ColumnMapping, SourceRow
from review.rollouts.importers.records import Position, Refused
from review.rollouts.models import Import, ImportFormat, ImportState
from review.rollouts.queries import stored_uids
from review.runs.errors import RunEndedError
from review.runs.models import Run, RunStatus
from review.runs.services import NewPrompt, NewRun, lock_run, store_prompts
from review.verifiers.services import NewVerifier, register_verifiers

log = logging.getLogger(__name__)

# A task ends after this and starts the next: none is longer than the broker waits for it.
TASK_SECONDS = 120
VERSION = "imported"
# So many prompts are remembered, lest they be sent again for every group.
MOST_KNOWN = 100_000
PREVIEWED = 8


T = TypeVar("T")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an import does, as it is stored with it."""

    columns: dict[str, Any]
    # Of the file's content: what its rollouts are called by.
    digest: str
    # Whether the run is over when the file is.
    is_finishing: bool = True
    # Of the rows that are stored so far: what is complete when the import is done.
    last_step: int | None = None


def plan_of(import_: Import) -> Plan:
    return msgspec.convert(import_.mapping, Plan)


def accept_upload(
    *, project: Project, upload: Path, file_name: str, digest: str, actor: object
) -> Import:
    """Keep an uploaded file, with the format and the mapping that it seems to have."""
    format_ = format_of(upload)
    plan = Plan(columns=guessed_mapping(upload, format_), digest=digest)
    return imports.create_import(
        project=project,
        upload=upload,
        file_name=file_name,
        format_=format_,
        mapping=msgspec.to_builtins(plan),
        actor=actor,
    )


def read_as(*, import_: Import, format_: ImportFormat) -> Import:
    """Read the file as what its owner says that it is."""
    guessed = guessed_mapping(imports.stored_file(import_), format_)
    mapping = import_.mapping | {"columns": guessed}
    return imports.read_as(import_=import_, format_=format_, mapping=mapping)


@transaction.atomic
def start_import(
    *,
    import_: Import,
    columns: ColumnMapping,
    run: Run | None,
    run_name: str,
    is_finishing: bool,
    actor: object,
) -> Import:
    """Import into a running run, or into a new one; the same file and mapping find theirs again."""
    verifiers = [
        NewVerifier(
            name=verifier_name(columns, verdict.column, columns.first_variant),
            version=VERSION,
            channel=verdict.channel,
        )
        for verdict in columns.verdicts
    ]
    plan = msgspec.structs.replace(
        plan_of(import_), columns=columns.to_json(), is_finishing=is_finishing
    )
    if run is None:
        new = _new_run(plan, columns, run_name)
        run, _ = ingest.open_run(project=import_.project, new=new, verifiers=verifiers, actor=actor)
    else:
        register_verifiers(run=run, verifiers=verifiers)
    import_ = imports.begin(
        import_=import_, run=run, mapping=msgspec.to_builtins(plan), actor=actor
    )
    transaction.on_commit(lambda: tasks.import_task.delay(str(import_.pk)), robust=True)
    return import_


def _new_run(plan: Plan, columns: ColumnMapping, name: str) -> NewRun:
    mapping = msgspec.json.encode([plan.digest, columns.to_json()], order="sorted")
    return NewRun(
        uid=f"import-{hashlib.sha256(mapping).hexdigest()[:24]}",
        name=name,
        seed=None,
        config={"imported": columns.to_json()},
        group_size=columns.group_size or 1,
        normaliser=columns.normaliser,
        step_block=1,
    )


def verifier_name(columns: ColumnMapping, column: str, variant: str) -> str:
    """A column's verifier; one filter's verdicts are another verifier's than the next one's."""
    return (f"{column}/{variant}" if columns.variant and variant else column)[:80]


def run_import(*, import_: Import, seconds: float = TASK_SECONDS) -> bool:
    """Store chunk after chunk for so long. Whether the import is over, or somebody else's."""
    until = time.monotonic() + seconds
    try:
        naming = Naming(plan_of(import_), _run_of(import_))
        for chunk, groups in _ahead(_named(chunks_of(import_), naming)):
            if not store_chunk(import_=import_, chunk=chunk, groups=groups, naming=naming):
                return True
            if time.monotonic() > until:
                return False
        _finish(import_)
    except ImportStateError:
        # Cancelled meanwhile.
        return True
    except (UnreadableFileError, RunEndedError) as error:
        _fail(import_, error.message)
    except (OperationalError, InterfaceError):
        # The database is away: the sweep goes on with it.
        raise
    except Exception:
        # Tried again it would fail again, for ever.
        log.exception("an import ended unexpectedly", extra={"import_id": str(import_.pk)})
        _fail(import_, "Something in this file could not be read. What was stored stays.")
    return True


def _finish(import_: Import) -> None:
    """All rows are in: so are all steps that they are of."""
    _end(import_, ImportState.DONE, actor=import_.created_by)


def _fail(import_: Import, problem: str) -> None:
    _end(import_, ImportState.FAILED, problem=problem, actor=import_.created_by)


def cancel_import(*, import_: Import, actor: object) -> Import:
    """Stop: what is stored stays in the run, which goes on unless another import ended it."""
    return _end(import_, ImportState.CANCELLED, actor=actor)


@transaction.atomic
def _end(import_: Import, state: ImportState, *, problem: str = "", actor: object) -> Import:
    import_ = imports.end_import(import_=import_, state=state, problem=problem, actor=actor)
    if import_.run is not None:
        _complete(import_.run)
    return import_


def _complete(run: Run) -> None:
    """Close what the run's done imports have brought, unless one is still filling its steps.

    Of imports that end at once each waits for the run: exactly one finds no other going on.
    """
    run = lock_run(run)
    if run.imports.filter(state=ImportState.RUNNING).exists():
        return
    rows = run.imports.filter(state=ImportState.DONE).order_by("finished_at")
    done = [(plan_of(row), row) for row in rows]
    steps = [plan.last_step for plan, _ in done if plan.last_step is not None]
    if steps:
        ingest.finish_step(run=run, step=max(steps))
    # A file that was refused whole is to be brought again, into a run that goes on.
    asked = [
        row.created_by for plan, row in done if plan.is_finishing and plan.last_step is not None
    ]
    if asked and run.is_running:
        ingest.finish_run(run=run, status=RunStatus.FINISHED, actor=asked[-1])


def chunks_of(import_: Import) -> Iterator[Chunk]:
    """What is left of an import's file."""
    columns = ColumnMapping.parse(plan_of(import_).columns)
    position = Position(import_.rows_read, import_.bytes_read)
    path = imports.stored_file(import_)
    rows = rows_of(path, import_.format, columns, position)
    size = READERS[import_.format].size(path)
    return Chunks(columns, Chunk(position, position, size)).of(rows)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of a group, and what is stored of them."""

    rows: list[SourceRow]
    prompt: NewPrompt
    rollouts: "list[ingest.IncomingRollout]"


def _named(chunks: Iterable[Chunk], naming: "Naming") -> Iterator[tuple[Chunk, list[Group]]]:
    for chunk in chunks:
        yield chunk, [naming.group(rows) for rows in chunk.groups]


def _ahead(chunks: Iterator[T]) -> Iterator[T]:
    """Each chunk is made, by a thread of its own, while the one before it is being stored."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        following = reader.submit(next, chunks, None)
        while (chunk := following.result()) is not None:
            following = reader.submit(next, chunks, None)
            yield chunk


@transaction.atomic
def store_chunk(
    *, import_: Import, chunk: Chunk, groups: Sequence[Group], naming: "Naming"
) -> bool:
    """Store a chunk, unless it is stored: False if somebody else has gone on meanwhile."""
    import_ = imports.lock_import(import_, ImportState.RUNNING)
    if import_.rows_read != chunk.start.rows:
        return False
    stored, kept, refused = _store_groups(naming, groups)
    judged, unknown = _judge_again(naming, chunk.again)
    imports.advance(
        import_=import_,
        mapping=msgspec.to_builtins(_with_steps(plan_of(import_), kept)),
        to=chunk.to,
        stored=stored + judged,
        refused=[*chunk.refused, *refused, *unknown],
        bytes_read=import_.bytes * chunk.to.after // max(chunk.size, 1),
    )
    return True


def _with_steps(plan: Plan, kept: Sequence[Group]) -> Plan:
    steps = {group.rows[0].step for group in kept}
    if plan.last_step is not None:
        steps.add(plan.last_step)
    return msgspec.structs.replace(plan, last_step=max(steps, default=None))


def _run_of(import_: Import) -> Run:
    if import_.run is None:
        raise ImportStateError("The import has not been started.")
    return import_.run


class Naming:
    """What an import's rows are called in its run, and how they are judged there.

    known: prompts that this process has stored.
    """

    def __init__(self, plan: Plan, run: Run) -> None:
        self.run = run
        self.columns = ColumnMapping.parse(plan.columns)
        self.prefix = plan.digest[:16]
        self.known: set[str] = set()

    def group(self, rows: list[SourceRow]) -> Group:
        first = rows[0]
        prompt = self._prompt(first)
        uid = self._group_uid(first, prompt.uid)
        return Group(rows, prompt, [self._rollout(row, prompt.uid, uid) for row in rows])

    def _rollout(self, row: SourceRow, prompt: str, group: str) -> "ingest.IncomingRollout":
        return ingest.IncomingRollout(
            uid=self.uid(row),
            prompt=prompt,
            group=group,
            step=row.step,
            policy=self.columns.policy,
            messages=[ingest.IncomingMessage(**message) for message in row.messages],
            verdicts=self.verdicts(row, self.columns.first_variant),
            tokens=row.tokens,
            truncated=row.is_truncated,
            reward=row.reward,
        )

    def _prompt(self, row: SourceRow) -> NewPrompt:
        return NewPrompt(
            uid=prompt_uid(row),
            text=row.problem,
            references=list(row.references),
            domain=self.columns.domain,
            source=self.columns.source,
            licence="",
            released_on=None,
            split="train",
        )

    def uid(self, row: SourceRow) -> str:
        """The source's own, else the file's digest and the place in it: the same file again
        gives the same."""
        if row.uid is not None:
            return row.uid
        uid = f"{self.prefix}-{row.key}"
        return uid if len(uid) <= 80 else f"{self.prefix}-{_digest(row.key)}"

    def _group_uid(self, first: SourceRow, prompt: str) -> str:
        if first.group is None:
            return self.uid(first)
        return _digest(f"{first.step} {prompt} {first.group}")

    def verdicts(self, row: SourceRow, variant: str) -> list["ingest.IncomingVerdict"]:
        found = self.extraction(row)
        return [
            ingest.IncomingVerdict(
                verifier=verifier_name(self.columns, verdict.column, variant),
                version=VERSION,
                outcome=judged.outcome,
                path=found.path,
                form=found.form,
                candidates=found.candidates,
                score=judged.score,
                extracted=found.extracted,
            )
            for verdict, judged in zip(self.columns.verdicts, row.verdicts, strict=True)
        ]

    def extraction(self, row: SourceRow) -> Extraction:
        return extraction_of(
            text_of_messages(row.messages),
            references=row.references,
            given=row.extracted,
            normaliser=self.run.normaliser,
        )


def prompt_uid(row: SourceRow) -> str:
    """Equal problems with equal references are one prompt, whatever file they come from."""
    return _digest("\0".join((row.problem, *row.references)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _store_groups(
    naming: Naming, groups: Sequence[Group]
) -> tuple[int, list[Group], list[Refused]]:
    """Store the groups; if one of them is refused, each by itself.

    How many rollouts are new; the groups that are in the run now; the rows that are not.
    """
    if not groups:
        return 0, [], []
    try:
        return _store_whole(naming, groups), list(groups), []
    except RunEndedError:
        raise
    except (ReviewError, DataError):
        stored, kept, refused = 0, [], []
    for group in groups:
        try:
            stored += _store_whole(naming, [group])
        except (ReviewError, DataError) as error:
            reason = _reason(error)
            refused += [Refused(row.line, row.after, reason) for row in group.rows]
        else:
            kept.append(group)
    return stored, kept, refused


def _store_whole(naming: Naming, groups: Sequence[Group]) -> int:
    prompts = {group.prompt.uid: group.prompt for group in groups}
    new = [prompt for uid, prompt in prompts.items() if uid not in naming.known]
    with transaction.atomic():
        store_prompts(run=naming.run, prompts=new)
        batch = [rollout for group in groups for rollout in group.rollouts]
        stored = ingest.store_batch(run=naming.run, batch=batch)
    if len(naming.known) > MOST_KNOWN:
        naming.known.clear()
    naming.known.update(prompts)
    return stored


def _reason(error: ReviewError | DataError) -> str:
    if isinstance(error, DataError):
        return "The database cannot hold it."
    about = "; ".join(f"{name.rpartition('.')[2]} {rule}" for name, rule in error.fields.items())
    return f"{error.message} ({about})" if about else error.message


def _judge_again(naming: Naming, rows: Sequence[SourceRow]) -> tuple[int, list[Refused]]:
    """Store what rows of another variant say of completions that are stored already."""
    if not rows:
        return 0, []
    known = stored_uids(naming.run, (naming.uid(row) for row in rows))
    refused = [
        Refused(row.line, row.after, "the completion that it judges is not stored")
        for row in rows
        if naming.uid(row) not in known
    ]
    found = [row for row in rows if naming.uid(row) in known]
    for channel in {verdict.channel for verdict in naming.columns.verdicts}:
        verdicts = [
            (naming.uid(row), said)
            for row in found
            for verdict, said in zip(
                naming.columns.verdicts, naming.verdicts(row, row.variant), strict=True
            )
            if verdict.channel == channel
        ]
        ingest.store_verdicts(run=naming.run, channel=channel, verdicts=verdicts)
    return len(found), refused


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be stored of one row; or why it would not."""

    line: int
    problem: str = ""
    references: tuple[str, ...] = ()
    completion: str = ""
    answer: str | None = None
    step: int = 0
    verdicts: tuple[tuple[str, str], ...] = ()
    reason: str = ""


def preview(import_: Import, columns: ColumnMapping) -> list[Preview]:
    """The first rows as they would be stored."""
    rows = rows_of(imports.stored_file(import_), import_.format, columns)
    return [_previewed(row, columns) for row in islice(rows, PREVIEWED)]


def _previewed(row: SourceRow | Refused, columns: ColumnMapping) -> Preview:
    if isinstance(row, Refused):
        return Preview(row.line, reason=row.reason)
    text = text_of_messages(row.messages)
    found = extraction_of(
        text, references=row.references, given=row.extracted, normaliser=columns.normaliser
    )
    return Preview(
        line=row.line,
        problem=row.problem,
        references=row.references,
        completion=text,
        answer=found.extracted,
        step=row.step,
        verdicts=tuple(
            (verdict.column, judged.outcome.value)
            for verdict, judged in zip(columns.verdicts, row.verdicts, strict=True)
        ),
    )


def sweep_imports() -> list[UUID]:
    """Let go of what was never imported; the imports whose worker is gone."""
    imports.sweep_uploads()
    return imports.stalled_imports()
