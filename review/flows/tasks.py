"""Tasks that call several domains. Each takes ids and is safe to run twice."""

from django.db import OperationalError

from review.accounts.services.sign_ins import forget_failures
from review.calibration.queries import overdue_refreshes
from review.calibration.services.estimates import request_refresh
from review.calibration.services.scorecard import refresh_run
from review.celery import app
from review.flows import audit, classes, imports, probes, replays
from review.labeling.services.resegmentation import recut
from review.rollouts.models import Import
from review.runs.models import Prompt, Run
from review.sampling.models import RuleState, Window
from review.verifiers.built_in import queue_of
from review.verifiers.models import ProbeRun, Replay
from review.verifiers.probes import stalled_probe_runs
from review.verifiers.replays import stalled_replays


@app.task(autoretry_for=(OperationalError,), retry_backoff=True, max_retries=5)
def open_windows_task(run_id: str) -> None:
    audit.open_windows(run=Run.objects.get(pk=run_id))


@app.task(autoretry_for=(OperationalError,), retry_backoff=True, max_retries=5)
def advance_window_task(window_id: str) -> None:
    audit.advance_window(window=Window.objects.select_related("rule__run").get(pk=window_id))


@app.task(autoretry_for=(OperationalError,), retry_backoff=True, max_retries=5)
def settle_class_task(prompt_id: int, answer_class: str) -> None:
    classes.settle_class(prompt=Prompt.objects.get(pk=prompt_id), answer_class=answer_class)


def settle_run_soon(run_id: str) -> None:
    """Settle all of the run's classes anew; its estimates wait for that.

    Should the message be lost, the sweep finds the refresh overdue.
    """
    request_refresh(run_id=run_id)
    settle_run_task.delay(run_id)


@app.task(autoretry_for=(OperationalError,), retry_backoff=True, max_retries=5)
def settle_run_task(run_id: str, after: int = 0) -> None:
    """Settle a chunk of the run's classes, and leave the rest of them to another task."""
    last = classes.settle_run(run=Run.objects.get(pk=run_id), after=after)
    if last is None:
        refresh_run_task.delay(run_id)
    else:
        settle_run_task.delay(run_id, last)


# Changes within so many seconds share one refresh.
REFRESH_AFTER_S = 2


def refresh_soon(run_id: str) -> None:
    """Refresh the run's estimates, once for all changes of the next moments."""
    if request_refresh(run_id=run_id):
        refresh_run_task.apply_async((run_id,), countdown=REFRESH_AFTER_S)


@app.task(autoretry_for=(OperationalError,), retry_backoff=True, max_retries=5)
def refresh_run_task(run_id: str) -> None:
    refresh_run(run=Run.objects.get(pk=run_id))


@app.task(autoretry_for=(OperationalError,), retry_backoff=True, max_retries=5)
def recut_task(run_id: str) -> None:
    recut(run=Run.objects.get(pk=run_id))
    refresh_soon(run_id)


@app.task(autoretry_for=(OperationalError,), retry_backoff=True, max_retries=5)
def import_task(import_id: str) -> None:
    """Go on with an import for a while, and leave the rest of it to another task."""
    if not imports.run_import(import_=Import.objects.get(pk=import_id)):
        import_task.delay(import_id)


# The sweep asks again: messages that no worker takes do not pile up.
EXPIRES_S = 60


def replay_soon(replay: Replay) -> None:
    """Go on with a replay, in a worker that has what its verifier needs."""
    replay_task.apply_async((str(replay.pk),), queue=queue_of(replay.verifier), expires=EXPIRES_S)


@app.task(autoretry_for=(OperationalError,), retry_backoff=True, max_retries=5)
def replay_task(replay_id: str) -> None:
    """Go on with a replay for a while, and leave the rest of it to another task."""
    replay = Replay.objects.select_related("run", "verifier").get(pk=replay_id)
    if not replays.go_on(replay=replay):
        replay_soon(replay)


def probe_soon(run: ProbeRun) -> None:
    """Run the probe suite, in a worker that has what the verifier needs."""
    probe_task.apply_async((str(run.pk),), queue=queue_of(run.verifier), expires=EXPIRES_S)


@app.task(autoretry_for=(OperationalError,), retry_backoff=True, max_retries=5)
def probe_task(probe_run_id: str) -> None:
    rows = ProbeRun.objects.select_related("verifier__project")
    probes.probe(run=rows.get(pk=probe_run_id))


@app.task
def sweep_task() -> None:
    """What a lost message left standing: every window that could be further on is looked at."""
    for run_id in (
        Run.objects.filter(audit_rules__state=RuleState.ACTIVE)
        .distinct()
        .values_list("pk", flat=True)
    ):
        open_windows_task.delay(str(run_id))
    # What reviewers have on their screens is cut anew when they are done with it.
    for run_id in Run.objects.exclude(recut_after=None).values_list("pk", flat=True):
        recut_task.delay(str(run_id))
    for run_id in overdue_refreshes():
        refresh_run_task.delay(str(run_id))
    forget_failures()
    for import_id in imports.sweep_imports():
        import_task.delay(str(import_id))
    for replay in stalled_replays():
        replay_soon(replay)
    for probe_run in stalled_probe_runs():
        probe_soon(probe_run)
