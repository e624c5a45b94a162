"""With the broker away nothing that was sent is lost or refused: the sweep takes it up later."""

from typing import NoReturn

import pytest
from kombu.exceptions import OperationalError

from review.accounts.models import Project, User
from review.flows import audit, ingest, tasks
from review.labeling.models import Label
from review.runs.models import RunStatus
from review.sampling.models import RuleState, WaveState, WindowState
from tests import builders
from tests.labeling import items


@pytest.fixture
def _no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OperationalError("connection refused")

    for task in (tasks.open_windows_task, tasks.advance_window_task):
        monkeypatch.setattr(task, "delay", refuse)


@pytest.mark.usefixtures("_no_broker")
@pytest.mark.django_db(transaction=True)
def test_a_trainers_news_are_stored(project: Project) -> None:
    run = builders.make_run(project)
    assert ingest.finish_step(run=run, step=3).completed_step == 3
    ingest.finish_run(run=run, status=RunStatus.FINISHED, actor="test")
    run.refresh_from_db()
    assert (run.completed_step, run.status) == (3, RunStatus.FINISHED)


@pytest.mark.usefixtures("_no_broker")
@pytest.mark.django_db(transaction=True)
def test_a_waves_last_label_is_stored_and_an_audit_started(project: Project, ben: User) -> None:
    queue = items.open_queue(project, budget=8, groups=2)
    assert queue.rule.windows.get().state == WindowState.OPEN
    assert items.answer_all(queue, ben) == 8
    assert Label.objects.count() == 8
    window = queue.rule.windows.get()
    assert window.waves.get().state == WaveState.OPEN

    # What the sweep sends.
    tasks.advance_window_task(str(window.pk))

    assert window.waves.get().state == WaveState.CLOSED
    queue.rule.refresh_from_db()
    audit.open_windows(run=queue.rule.run)
    assert queue.rule.state in {RuleState.ACTIVE, RuleState.FINISHED}
