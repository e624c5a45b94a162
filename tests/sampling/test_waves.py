"""Waves that are cancelled, windows that end early, picks beside the sample."""

import numpy as np
import pytest

from review.accounts.models import Project, User
from review.calibration.queries import audited_windows, newest_estimates
from review.flows import audit, ingest, labels
from review.labeling.models import Assignment, AssignmentState, Cause, SkipReason
from review.runs.models import Run, RunStatus
from review.sampling.errors import RuleStateError
from review.sampling.models import AuditRule, Draw, FrameRow, PickCause, WaveState, WindowState
from review.sampling.queries import cells_of, leftovers
from review.sampling.services.waves import close_wave, draw_wave
from tests import builders
from tests.labeling import items

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(project: Project) -> Run:
    return builders.make_stored_run(project)


@pytest.fixture
def rule(run: Run) -> AuditRule:
    return builders.open_audit(run, budget=120, waves=3)


def draw_next(rule: AuditRule) -> None:
    cells = len(cells_of(rule.run).ids)
    draw_wave(window=rule.windows.get(), f_M=np.full(cells, 0.5), q_M=np.zeros(cells))


def answer(rule: AuditRule, reviewer: User, n: int) -> list[int]:
    answered = []
    for _ in range(n):
        item = items.take(rule.queue, reviewer)
        items.commit(item, reviewer)
        answered.append(item.rollout_id)
    return answered


def test_a_cancelled_waves_answers_are_known_to_the_next(rule: AuditRule, ben: User) -> None:
    window = rule.windows.get()
    answered = answer(rule, ben, 10)
    audit.cancel_wave(wave=window.waves.get(), actor="ada")
    assert set(window.picks.values_list("rollout_id", flat=True)) == set(answered)
    assert {pick.cause for pick in window.picks.all()} == {PickCause.CANCELLED}
    audit.advance_window(window=window)
    again = Draw.objects.filter(wave=window.waves.get(number=2), rollout__in=answered)
    assert not again.exists()
    items.answer_all(rule.queue, ben)
    close_wave(wave=window.waves.get(number=2))
    (audited,) = audited_windows(rule.run, [window])
    wave = audited.window.waves[0]
    assert audited.window.known_before(wave).answered_M.sum() == 10
    assert wave.remaining_M.sum() == 160 - 10


def test_a_cancelled_wave_is_in_no_estimate(rule: AuditRule, ben: User) -> None:
    window = rule.windows.get()
    answer(rule, ben, 40)
    audit.cancel_wave(wave=window.waves.get(), actor="ada")
    audit.advance_window(window=window)
    assert not newest_estimates(rule.run, window)


def test_what_a_cancelled_wave_left_unanswered_can_be_drawn_again(rule: AuditRule) -> None:
    window = rule.windows.get()
    audit.cancel_wave(wave=window.waves.get(), actor="ada")
    assert sum(map(len, leftovers(window).values())) == 40
    for _ in range(6):
        draw_next(rule)
        close_wave(wave=window.waves.latest("number"))
    # 120 labels of 160 rollouts: without the leftovers there would be only 120 to draw from.
    drawn = Draw.objects.filter(window=window).exclude(wave__state=WaveState.CANCELLED)
    rollouts = list(drawn.values_list("rollout_id", flat=True))
    assert len(rollouts) == len(set(rollouts)) == 120
    again = set(Draw.objects.filter(wave__state=WaveState.CANCELLED).values_list("rollout_id"))
    assert 0 < len(again & set(drawn.values_list("rollout_id"))) < 40


def test_every_rollout_is_as_likely_after_a_cancelled_wave(run: Run) -> None:
    """Leftovers and untouched rollouts of a cell are drawn alike."""
    rule = builders.open_audit(run, budget=80, waves=1)
    window = rule.windows.get()
    audit.cancel_wave(wave=window.waves.get(), actor="ada")
    left = {draw.rollout_id for draws in leftovers(window).values() for draw in draws}
    hits = []
    for seed in range(60):
        cells = len(cells_of(run).ids)
        wave = draw_wave(window=window, f_M=np.full(cells, 0.5), q_M=np.zeros(cells), seed=seed)
        assert wave is not None
        drawn = set(wave.draws.values_list("rollout_id", flat=True))
        hits.append(len(drawn & left))
        wave.draws.all().delete()
        wave.cells.all().delete()
        wave.delete()
    # 80 of 160 are drawn, and 80 of 160 are leftovers: half of the draws, a standard error of .32.
    assert np.mean(hits) == pytest.approx(40, abs=1.3)


def test_a_reviewer_who_holds_an_item_of_a_cancelled_wave_comes_late(
    rule: AuditRule, ben: User
) -> None:
    held = items.take(rule.queue, ben)
    audit.cancel_wave(wave=rule.windows.get().waves.get(), actor="ada")
    assert items.commit(held, ben).is_late


def test_a_window_that_is_ended_early_keeps_its_closed_waves(rule: AuditRule, ben: User) -> None:
    window = rule.windows.get()
    builders.label_wave(rule, ben)
    assert window.waves.count() == 2
    audit.end_window(window=window, actor="ada")
    window.refresh_from_db()
    assert (window.state, window.is_ended_early) == (WindowState.CLOSED, True)
    states = list(window.waves.values_list("state", flat=True))
    assert states == [WaveState.CLOSED, WaveState.CANCELLED]
    assert newest_estimates(rule.run, window)["accuracy"].labels == 40
    rule.refresh_from_db()
    assert rule.state == "finished" or rule.run.is_running


def test_a_pick_is_labelled_and_never_sampled(rule: AuditRule, ben: User) -> None:
    window = rule.windows.get()
    drawn = set(window.draws.values_list("rollout_id", flat=True))
    undrawn = FrameRow.objects.filter(window=window).exclude(rollout__in=drawn)
    wanted = list(undrawn.values_list("rollout_id", flat=True)[:5])
    picks = audit.pick_rollouts(
        rule=rule,
        rollouts=[*wanted, *list(drawn)[:3]],
        cause=PickCause.LEAD,
        actor="ada",
    )
    assert {pick.rollout_id for pick in picks} == set(wanted)
    queued = Assignment.objects.filter(queue=rule.queue, cause=Cause.PICK)
    assert set(queued.values_list("rollout_id", flat=True)) == set(wanted)
    for _ in range(3):
        builders.label_wave(rule, ben)
    sampled = set(window.draws.values_list("rollout_id", flat=True))
    assert not sampled & set(wanted)
    (audited,) = audited_windows(rule.run, [window])
    assert [wave.remaining_M.sum() for wave in audited.window.waves] == [160, 115, 75]
    # Known to the waves drawn after it, and to those alone.
    known = [audited.window.known_before(wave).answered_M.sum() for wave in audited.window.waves]
    assert known == [0, 40 + 5, 80 + 5]
    assert newest_estimates(rule.run, window)["accuracy"].labels == 120


def test_picking_twice_queues_once(rule: AuditRule) -> None:
    window = rule.windows.get()
    drawn = window.draws.values("rollout_id")
    row = FrameRow.objects.filter(window=window).exclude(rollout__in=drawn)[0]
    for _ in range(2):
        audit.pick_rollouts(
            rule=rule, rollouts=[row.rollout_id], cause=PickCause.APPEAL, actor="ada"
        )
    assert Assignment.objects.filter(cause=Cause.PICK).count() == 1


def test_rollouts_are_picked_while_the_audit_goes_on(run: Run) -> None:
    rule = builders.make_audit(run)
    with pytest.raises(RuleStateError):
        audit.pick_rollouts(rule=rule, rollouts=[1], cause=PickCause.LEAD, actor="ada")


def test_the_next_wave_comes_by_itself_while_budget_remains(rule: AuditRule, ben: User) -> None:
    window = rule.windows.get()
    for number in (1, 2, 3):
        assert window.waves.count() == number
        builders.label_wave(rule, ben)
    window.refresh_from_db()
    assert (window.waves.count(), window.state) == (3, WindowState.CLOSED)


def test_targets_are_fixed_before_the_first_wave(rule: AuditRule, ben: User) -> None:
    window = rule.windows.get()
    targets = window.targets
    assert 0 < targets["accuracy"] < 0.5
    builders.label_wave(rule, ben)
    window.refresh_from_db()
    assert window.targets == targets
    estimate = newest_estimates(rule.run, window)["accuracy"]
    assert estimate.monitor_low is not None
    assert estimate.monitor_high is not None
    assert estimate.monitor_low <= estimate.low
    assert estimate.high <= estimate.monitor_high


def test_a_purged_rollout_counts_as_unanswered(rule: AuditRule, ben: User) -> None:
    window = rule.windows.get()
    draw = window.draws.select_related("rollout").order_by("prn")[0]
    audit.purge_rollouts(run=rule.run, uids=[draw.rollout.uid], actor="ada")
    assert Assignment.objects.get(draw=draw).state == AssignmentState.SKIPPED
    frame_size = FrameRow.objects.filter(window=window).count()
    builders.label_wave(rule, ben)
    assert FrameRow.objects.filter(window=window).count() == frame_size == 160
    estimate = newest_estimates(rule.run, window)["accuracy"]
    assert estimate.labels == 39
    assert estimate.unanswered_share == pytest.approx(1 / 40)
    assert estimate.worst_low is not None
    assert estimate.worst_high is not None
    assert estimate.worst_low < estimate.worst_high


def test_a_label_survives_the_purge_of_its_rollout(rule: AuditRule, ben: User) -> None:
    window = rule.windows.get()
    answered = answer(rule, ben, 1)
    uid = rule.run.rollouts.get(pk=answered[0]).uid
    audit.purge_rollouts(run=rule.run, uids=[uid], actor="ada")
    builders.label_wave(rule, ben)
    assert newest_estimates(rule.run, window)["accuracy"].labels == 40


def test_a_rollout_that_is_purged_before_its_draw_is_given_up(run: Run, ben: User) -> None:
    uids = list(run.rollouts.values_list("uid", flat=True))
    audit.purge_rollouts(run=run, uids=uids[:80], actor="ada")
    rule = builders.open_audit(run, budget=60, waves=1)
    states = Assignment.objects.filter(queue=rule.queue).values_list("state", flat=True)
    assert sorted(set(states)) == ["open", "skipped"]
    assert rule.windows.get().frame_size == 160


def test_what_was_given_up_in_a_cancelled_wave_can_be_drawn_again(run: Run, ben: User) -> None:
    rule = builders.open_audit(run, budget=160, waves=1)
    window = rule.windows.get()
    for _ in range(5):
        item = items.take(rule.queue, ben)
        assert item.lease_token
        labels.skip_item(
            assignment=item, reviewer=ben, token=item.lease_token, reason=SkipReason.OTHER
        )
    assert Assignment.objects.filter(state=AssignmentState.SKIPPED).count() == 5
    audit.cancel_wave(wave=window.waves.get(), actor="ada")
    audit.advance_window(window=window)
    wave = window.waves.get(number=2)
    assert wave.planned == 160
    assert Assignment.objects.filter(wave=wave, state=AssignmentState.OPEN).count() == 160


def test_a_run_that_ends_in_mid_step_ends_its_audit(run: Run) -> None:
    rule = builders.make_audit(run, last_step=None, window_steps=1)
    audit.start_audit(rule=rule, actor="test")
    ingest.store_batch(run=run, batch=[builders.make_rollout(step=3, group="cut off")])
    audit.open_windows(run=run)
    assert rule.windows.count() == 3
    ingest.finish_run(run=run, status=RunStatus.FAILED, actor="test")
    run.refresh_from_db()
    audit.open_windows(run=run)
    assert list(rule.windows.values_list("first_step", "state")) == [(1, "open"), (2, "open")]


def test_a_rule_is_not_over_while_a_window_is_still_to_be_made(run: Run, ben: User) -> None:
    rule = builders.open_audit(run, last_step=1, window_steps=1, budget=8, waves=1)
    version = rule.current
    type(version).objects.filter(pk=version.pk).update(last_step=2)
    items.answer_all(rule.queue, ben)
    audit.advance_window(window=rule.windows.get())
    rule.refresh_from_db()
    assert rule.state == "active"
    audit.open_windows(run=run)
    assert rule.windows.count() == 2


def test_a_wave_that_was_closed_meanwhile_is_not_cancelled(rule: AuditRule, ben: User) -> None:
    window = rule.windows.get()
    seen = window.waves.get()
    item = items.take(rule.queue, ben)
    assert item.lease_token
    labels.skip_item(assignment=item, reviewer=ben, token=item.lease_token, reason=SkipReason.OTHER)
    builders.label_wave(rule, ben)
    audit.cancel_wave(wave=seen, actor="ada")
    assert window.waves.get(number=1).state == WaveState.CLOSED
    assert not window.picks.exists()
    assert Assignment.objects.get(pk=item.pk).state == AssignmentState.SKIPPED
