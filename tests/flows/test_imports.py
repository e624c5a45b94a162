"""An import goes in by chunks: once, whole, and on from where a killed worker left it."""

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from review.accounts.models import Project
from review.flows import imports as flow
from review.flows import ingest, tasks
from review.flows.imports import accept_upload, cancel_import, run_import, start_import
from review.rollouts import imports
from review.rollouts.errors import ImportStateError
from review.rollouts.importers import chunks
from review.rollouts.importers.mapping import ColumnMapping
from review.rollouts.models import Group, Import, ImportState, Rollout
from review.runs.models import Prompt, Run, RunStatus
from review.runs.services import lock_run
from review.verifiers.models import Verdict, VerdictCount
from tests import builders
from tests.rollouts import files

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def uploads(settings: Settings, tmp_path: Path) -> Path:
    settings.UPLOADS_DIR = str(tmp_path / "uploads")
    return imports.uploads_dir()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 4)


Bring = Callable[..., Import]


@pytest.fixture
def bring(project: Project, uploads: Path) -> Bring:
    """A file brought and its import started, in a new run unless one is named."""

    def start(content: Any, *, run: Run | None = None, **changes: Any) -> Import:
        upload = uploads / "new"
        if isinstance(content, Path):
            shutil.copy(content, upload)
        else:
            files.write_lines(upload, content)
        import_ = accept_upload(
            project=project,
            upload=upload,
            file_name="mine.jsonl",
            digest=imports.digest_of(upload),
            actor="ada",
        )
        is_finishing = changes.pop("is_finishing", True)
        columns = ColumnMapping.parse(flow.plan_of(import_).columns | changes)
        return start_import(
            import_=import_,
            columns=columns,
            run=run,
            run_name="mine",
            is_finishing=is_finishing,
            actor="ada",
        )

    return start


def finished(import_: Import) -> Import:
    import_.refresh_from_db()
    assert run_import(import_=import_)
    import_.refresh_from_db()
    return import_


def two_at_once(bring: Bring, *, is_first_finishing: bool = False) -> tuple[Import, Import, Run]:
    """The files of steps 1 and 2, both on their way into one run."""
    first = bring(files.plain_rows(step=1), is_finishing=is_first_finishing)
    assert first.run is not None
    return first, bring(files.plain_rows(step=2), run=first.run, is_finishing=False), first.run


def test_rows_become_prompts_groups_rollouts_and_verdicts(bring: Bring) -> None:
    done = finished(bring(files.plain_rows(groups=3), domain="algebra", policy="mine-7b"))
    assert (done.state, done.rows_read, done.rows_stored, done.rows_refused) == ("done", 12, 12, 0)
    assert done.bytes_read == done.bytes
    assert done.run is not None
    assert (done.run.status, done.run.completed_step) == (RunStatus.FINISHED, 0)
    assert Prompt.objects.count() == Group.objects.count() == 3
    rollout = Rollout.objects.get(uid__endswith="-1")
    assert rollout.messages == [{"role": "assistant", "content": r"so \boxed{15}"}]
    assert (rollout.answer_class, rollout.policy.uid) == ("15", "mine-7b")
    assert rollout.cell.key == "pass/boxed/integer/1|s9|a2|p0|algebra"
    assert rollout.group.prompt.references == ["15"]
    nothing = Rollout.objects.get(uid__endswith="-4")
    assert nothing.cell.key == "fail/none/none/0|s0|a-|p0|algebra"
    verdict = Verdict.objects.get(rollout=rollout)
    assert (str(verdict.verifier), verdict.score, verdict.extracted) == ("score@imported", 1, "15")


def test_what_the_source_extracted_is_kept_and_its_way_called_imported(bring: Bring) -> None:
    rows = [row | {"extracted": "15"} for row in files.plain_rows(groups=1)]
    finished(bring(rows))
    paths = Rollout.objects.order_by("uid").values_list("cell__key", flat=True)
    assert [key.split("|")[0] for key in paths] == [
        "pass/boxed/integer/1",
        "pass/boxed/integer/1",
        "fail/imported/integer/1",
        "fail/imported/integer/1",
    ]


def test_the_same_file_again_stores_nothing(bring: Bring) -> None:
    first = finished(bring(files.plain_rows()))
    again = finished(bring(files.plain_rows()))
    assert again.run == first.run
    assert (again.state, again.rows_stored, again.rows_refused) == ("done", 0, 0)
    assert Rollout.objects.count() == Verdict.objects.count() == 8
    assert Run.objects.count() == 1


def test_another_mapping_is_another_run(bring: Bring) -> None:
    finished(bring(files.plain_rows()))
    finished(bring(files.plain_rows(), policy="other"))
    assert Run.objects.count() == 2


def test_files_of_later_steps_go_into_the_same_running_run(bring: Bring) -> None:
    first = finished(bring(files.plain_rows(step=1), is_finishing=False))
    assert first.run is not None
    run = first.run
    assert (run.status, run.completed_step) == (RunStatus.RUNNING, 1)
    finished(bring(files.plain_rows(step=2), run=run))
    run.refresh_from_db()
    assert (run.status, run.completed_step, run.rollouts.count()) == (RunStatus.FINISHED, 2, 16)
    # Equal problems are one prompt, whatever file they come from.
    assert run.prompts.count() == 2


def test_rows_of_a_closed_step_are_refused_one_by_one(bring: Bring) -> None:
    first = finished(bring(files.plain_rows(step=2), is_finishing=False))
    rows = [*files.plain_rows(groups=1, step=1), *files.plain_rows(groups=1, step=3)]
    done = finished(bring(rows, run=first.run))
    assert (done.state, done.rows_stored, done.rows_refused) == ("done", 4, 4)
    assert [row.line for row in done.refused.order_by("line")] == [1, 2, 3, 4]
    assert "complete up to 2" in done.refused.first().reason  # type: ignore[union-attr]


def test_an_import_closes_only_steps_that_it_brought(bring: Bring) -> None:
    first = bring(files.plain_rows(step=1), is_finishing=False)
    assert first.run is not None
    builders.make_prompt(first.run)
    verifier = first.run.run_verifiers.get().verifier
    verdict = msgspec.structs.replace(
        builders.make_verdict(r"so \boxed{15}"), verifier=verifier.name, version=verifier.version
    )
    sent = builders.make_rollout(step=2, verdicts=[verdict])
    ingest.store_batch(run=first.run, batch=[sent])
    finished(first)
    first.run.refresh_from_db()
    assert first.run.completed_step == 1


@pytest.mark.usefixtures("small_chunks")
def test_an_import_that_ends_closes_no_step_that_another_is_filling(bring: Bring) -> None:
    first, second, run = two_at_once(bring)
    assert not run_import(import_=second, seconds=0)
    assert finished(first).state == ImportState.DONE
    run.refresh_from_db()
    assert run.completed_step == -1
    done = finished(second)
    assert (done.state, done.rows_stored, done.rows_refused) == ("done", 8, 0)
    run.refresh_from_db()
    assert (run.status, run.completed_step) == (RunStatus.RUNNING, 2)


@pytest.mark.usefixtures("small_chunks")
def test_the_last_of_several_imports_closes_what_all_have_brought(bring: Bring) -> None:
    first, second, run = two_at_once(bring)
    finished(second)
    finished(first)
    run.refresh_from_db()
    assert run.completed_step == 2


def test_a_run_is_over_when_no_import_is_going_on_any_more(bring: Bring) -> None:
    first, second, run = two_at_once(bring, is_first_finishing=True)
    finished(first)
    run.refresh_from_db()
    assert run.status == RunStatus.RUNNING
    assert finished(second).state == ImportState.DONE
    run.refresh_from_db()
    assert (run.status, run.completed_step) == (RunStatus.FINISHED, 2)


@pytest.mark.usefixtures("small_chunks")
def test_what_is_done_is_closed_when_the_other_import_is_cancelled(bring: Bring) -> None:
    first, second, run = two_at_once(bring)
    assert not run_import(import_=second, seconds=0)
    finished(first)
    cancel_import(import_=second, actor="ada")
    run.refresh_from_db()
    # Half of step 2 is stored: the file of it may be brought again.
    assert (run.status, run.completed_step) == (RunStatus.RUNNING, 1)
    assert finished(bring(files.plain_rows(step=2), run=run, is_finishing=False)).rows_stored == 4


def test_what_is_done_is_closed_when_the_other_import_fails(bring: Bring) -> None:
    first, second, run = two_at_once(bring)
    finished(first)
    imports.file_of(second).unlink()
    assert finished(second).state == ImportState.FAILED
    run.refresh_from_db()
    assert run.completed_step == 1


def test_an_import_whose_rows_are_all_refused_closes_and_ends_nothing(bring: Bring) -> None:
    first, second, run = two_at_once(bring)
    ingest.finish_step(run=run, step=1)
    done = finished(first)
    assert (done.rows_stored, done.rows_refused) == (0, 8)
    finished(second)
    third = bring(files.plain_rows(step=9, response=None), run=run)
    assert finished(third).rows_refused == 8
    run.refresh_from_db()
    assert (run.status, run.completed_step) == (RunStatus.RUNNING, 2)


@pytest.mark.usefixtures("small_chunks")
def test_whoever_follows_a_killed_worker_closes_what_that_one_stored(bring: Bring) -> None:
    rows = [*files.plain_rows(groups=1, step=3), *files.plain_rows(groups=1, step=1)]
    import_ = bring(rows, is_finishing=False)
    assert not run_import(import_=import_, seconds=0)
    done = finished(import_)
    assert done.run is not None
    assert done.run.completed_step == 3


@pytest.mark.django_db(transaction=True)
def test_of_two_imports_that_end_at_once_exactly_one_is_the_last(bring: Bring) -> None:
    first, second, run = two_at_once(bring, is_first_finishing=True)
    for import_ in (first, second):
        assert not run_import(import_=import_, seconds=0)
    with ThreadPoolExecutor() as pool:
        with transaction.atomic():
            lock_run(run)
            ends = [pool.submit(_finished_beside, import_.pk) for import_ in (first, second)]
            _wait_until_locked_out(len(ends))
        assert [end.result() for end in ends] == ["done", "done"]
    run.refresh_from_db()
    assert (run.status, run.completed_step) == (RunStatus.FINISHED, 2)


def _finished_beside(import_id: UUID) -> str:
    try:
        return finished(Import.objects.get(pk=import_id)).state
    finally:
        connection.close()


def _wait_until_locked_out(n: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with connection.cursor() as cursor:
            # A transaction would else see the same activity for ever.
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone() == (n,):
                return
        time.sleep(0.02)
    raise AssertionError("nobody waits")


@pytest.mark.usefixtures("small_chunks")
def test_refused_rows_are_listed_and_the_others_kept(bring: Bring) -> None:
    rows = files.plain_rows(groups=3)
    content = [*rows[:5], b"{not json", *rows[5:], {"problem": "p", "score": 1}]
    done = finished(bring(content))
    assert (done.rows_read, done.rows_stored, done.rows_refused) == (14, 12, 2)
    assert [(row.line, row.reason[:14]) for row in done.refused.order_by("line")] == [
        (6, "not valid JSON"),
        (14, "response: is m"),
    ]
    assert Group.objects.count() == 3


@pytest.mark.usefixtures("small_chunks")
def test_whoever_follows_a_killed_worker_stores_nothing_twice(
    bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_ = bring(files.plain_rows(groups=5))
    stored = iter(range(3))
    advance = imports.advance

    def die_in_the_third_chunk(**kwargs: Any) -> None:
        advance(**kwargs)
        if next(stored) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(imports, "advance", die_in_the_third_chunk)
        with pytest.raises(KeyboardInterrupt):
            run_import(import_=import_)
    import_.refresh_from_db()
    # The third chunk's transaction is gone with it.
    assert (import_.state, import_.rows_read, import_.rows_stored) == ("running", 8, 8)
    assert Rollout.objects.count() == 8

    done = finished(import_)
    assert (done.state, done.rows_stored) == ("done", 20)
    assert Rollout.objects.count() == Verdict.objects.count() == 20
    assert Group.objects.count() == 5


@pytest.mark.usefixtures("small_chunks")
def test_of_two_workers_the_one_that_is_behind_stops(bring: Bring) -> None:
    import_ = bring(files.plain_rows(groups=4))
    behind = Import.objects.get(pk=import_.pk)
    assert not run_import(import_=import_, seconds=0)
    assert run_import(import_=behind)
    assert Rollout.objects.count() == 4
    assert finished(import_).rows_stored == 16


@pytest.mark.usefixtures("small_chunks")
def test_a_cancelled_import_stops_and_keeps_what_is_stored(bring: Bring) -> None:
    import_ = bring(files.plain_rows(groups=4))
    assert not run_import(import_=import_, seconds=0)
    cancel_import(import_=import_, actor="ada")
    import_.refresh_from_db()
    assert run_import(import_=import_)
    import_.refresh_from_db()
    assert (import_.state, import_.rows_stored) == (ImportState.CANCELLED, 4)
    assert Rollout.objects.count() == 4
    with pytest.raises(ImportStateError):
        cancel_import(import_=import_, actor="ada")


@pytest.mark.django_db(transaction=True)
def test_the_file_goes_when_the_import_is_over(bring: Bring, uploads: Path) -> None:
    import_ = bring(files.plain_rows())
    assert [file.name for file in uploads.iterdir()] == [import_.pk.hex]
    finished(import_)
    assert list(uploads.iterdir()) == []


def test_a_file_that_is_gone_fails_the_import_with_words(bring: Bring) -> None:
    import_ = bring(files.plain_rows())
    imports.file_of(import_).unlink()
    done = finished(import_)
    assert (done.state, done.problem) == ("failed", "The uploaded file is gone: upload it again.")


def test_what_nobody_foresaw_fails_the_import_instead_of_starting_it_again_for_ever(
    bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_ = bring(files.plain_rows())

    def breaks(**_: object) -> bool:
        raise ValueError("odd")

    monkeypatch.setattr(flow, "store_chunk", breaks)
    assert run_import(import_=import_)
    import_.refresh_from_db()
    assert (import_.state, import_.rows_stored) == (ImportState.FAILED, 0)
    assert "could not be read" in import_.problem


def test_lm_evals_second_filter_is_another_verifier_of_the_same_completions(bring: Bring) -> None:
    done = finished(bring(files.lm_eval_rows("strict", "flexible")))
    assert (done.state, done.rows_refused) == ("done", 0)
    assert Rollout.objects.count() == 2
    said = Verdict.objects.order_by("rollout__uid", "verifier__name")
    assert (
        list(said.values_list("verifier__name", "outcome"))
        == [
            ("exact_match/flexible", "pass"),
            ("exact_match/strict", "fail"),
        ]
        * 2
    )
    assert sum(VerdictCount.objects.values_list("rollouts", flat=True)) == 2


@pytest.mark.django_db(transaction=True)
def test_the_sweep_goes_on_with_what_stands_still_and_throws_away_what_nobody_imports(
    bring: Bring, project: Project, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(tasks.import_task, "delay", sent.append)
    stalled = bring(files.plain_rows())
    sent.clear()
    Import.objects.update(advanced_at=timezone.now() - timedelta(minutes=5))
    upload = files.write_lines(uploads / "new", files.plain_rows())
    forgotten = accept_upload(
        project=project, upload=upload, file_name="x", digest="d", actor="ada"
    )
    Import.objects.filter(pk=forgotten.pk).update(created_at=timezone.now() - timedelta(days=2))
    half = files.write_lines(uploads / "half.upload", [])
    os.utime(half, (0, 0))

    tasks.sweep_task()

    assert sent == [str(stalled.pk)]
    forgotten.refresh_from_db()
    assert forgotten.state == ImportState.CANCELLED
    assert [file.name for file in uploads.iterdir()] == [stalled.pk.hex]


def test_a_large_import_is_left_to_another_task(
    bring: Bring, monkeypatch: pytest.MonkeyPatch, small_chunks: None
) -> None:
    import_ = bring(files.plain_rows(groups=3))
    sent: list[str] = []
    monkeypatch.setattr(tasks.import_task, "delay", sent.append)
    monkeypatch.setattr(flow.run_import, "__kwdefaults__", {"seconds": 0})
    tasks.import_task(str(import_.pk))
    assert sent == [str(import_.pk)]


def test_the_command_imports_a_file_of_this_machine(
    project: Project, tmp_path: Path, uploads: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files.write_lines(tmp_path / "mine.jsonl", [*files.plain_rows(), b"{broken"])
    call_command("import_rollouts", path, project=project.slug, mapping='{"domain": "algebra"}')
    assert "8 rows stored, 1 refused" in capsys.readouterr().out
    assert Prompt.objects.first().domain == "algebra"  # type: ignore[union-attr]
    with pytest.raises(CommandError, match="names columns"):
        call_command("import_rollouts", path, project=project.slug, mapping='{"prompt": 7}')
