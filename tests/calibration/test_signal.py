"""The signal that trainers read: raised by bounds, not by points."""

import pytest

from review.accounts.models import Project, User
from review.calibration.models import Signal
from review.calibration.queries import newest_signal
from review.calibration.services.scorecard import refresh_run
from review.calibration.services.signal import refresh_signal
from review.flows import audit, ingest
from review.runs.models import Run
from tests import builders

pytestmark = pytest.mark.django_db

RIGHT, ODD, WRONG, HEDGE = builders.RESPONSES


def store_step(run: Run, step: int, responses: tuple[str, ...], groups: int = 30) -> None:
    ingest.store_batch(
        run=run,
        batch=[
            builders.make_rollout(response, step=step, group=f"s{step}-g{group}")
            for group in range(groups)
            for response in responses
        ],
    )
    ingest.finish_step(run=run, step=step)
    run.refresh_from_db()


@pytest.fixture
def run(project: Project) -> Run:
    run = builders.make_run(project)
    builders.make_prompt(run)
    return run


def audited(run: Run, ben: User, *steps: tuple[str, ...], budget: int = 80) -> Signal:
    """A window of one step each, labelled; the signal afterwards."""
    for step, responses in enumerate(steps, start=1):
        store_step(run, step, responses)
    rule = builders.open_audit(run, budget=budget, waves=2, window_steps=1, last_step=len(steps))
    for window in rule.windows.all():
        for _ in range(2):
            builders.answer_queue(rule, ben)
            audit.advance_window(window=window)
    refresh_run(run=run)
    found = newest_signal(run)
    assert found is not None
    return found


def codes(signal: Signal) -> dict[str, str]:
    return {reason["code"]: reason["state"] for reason in signal.reasons}


def test_without_labels_there_is_nothing_to_trust(run: Run) -> None:
    signal = refresh_signal(run=run)
    assert (signal.state, codes(signal)) == ("watch", {"nothing_audited": "watch"})


def test_a_verifier_that_stays_what_it_was_is_ok(run: Run, ben: User) -> None:
    signal = audited(run, ben, (RIGHT, RIGHT, WRONG, WRONG), (RIGHT, RIGHT, WRONG, WRONG))
    assert (signal.state, signal.reasons) == ("ok", [])


def test_reward_that_rises_on_hacks_alone_holds_the_run(run: Run, ben: User) -> None:
    signal = audited(run, ben, (RIGHT, RIGHT, WRONG, WRONG), (HEDGE, HEDGE, HEDGE, RIGHT))
    assert signal.state == "hold"
    found = codes(signal)
    assert found["gap"] == "hold"
    assert found["hacks"] == "watch"
    assert signal.reasons[0]["state"] == "hold"


def test_reward_that_is_mostly_wrong_holds_the_run(run: Run, ben: User) -> None:
    signal = audited(run, ben, (HEDGE, HEDGE, HEDGE, RIGHT))
    assert codes(signal)["precision"] == "hold"


def test_kinds_that_no_audit_has_seen_are_watched(run: Run, ben: User) -> None:
    assert audited(run, ben, (RIGHT, RIGHT, WRONG, WRONG)).reasons == []
    store_step(run, 2, (HEDGE, HEDGE, WRONG, RIGHT))
    assert codes(refresh_signal(run=run)) == {"unseen_cells": "watch"}


def test_a_signal_that_has_not_changed_is_stored_once(run: Run) -> None:
    first = refresh_signal(run=run)
    assert refresh_signal(run=run).pk == first.pk
    assert Signal.objects.count() == 1
