"""The audit's own way: frame -> wave -> queue -> labels -> estimates -> next wave.

Every step is safe to run twice: what has happened already is left alone.
"""

from collections.abc import Sequence

from django.db import transaction

from review.calibration.services.estimates import (
    current_beliefs,
    expected_half_widths,
    refresh_estimates,
)
from review.flows import tasks
from review.labeling.queries import answered_rollouts, has_pending
from review.labeling.services.classes import settle_wave
from review.labeling.services.queues import (
    create_queue,
    enqueue_picks,
    enqueue_wave,
    give_up_rollouts,
    withdraw_wave,
)
from review.runs.models import Run
from review.sampling.models import (
    AuditRule,
    Pick,
    PickCause,
    RuleState,
    RuleVersion,
    Wave,
    WaveState,
    Window,
    WindowState,
)
from review.sampling.queries import open_wave
from review.sampling.services.picks import pick_rollouts as store_picks
from review.sampling.services.rules import (
    NewRule,
    RuleSettings,
    change_rule,
    create_rule,
    finish_rule,
    lock_rule,
    settle_rule,
    start_rule,
)
from review.sampling.services.waves import cancel_wave as give_up_wave
from review.sampling.services.waves import close_wave, draw_wave, is_spent
from review.sampling.services.windows import (
    close_window,
    extend_windows,
    write_frame,
)
from review.sampling.services.windows import end_window as close_early
from review.verifiers.services import purge_rollouts as blank_rollouts


@transaction.atomic
def create_audit(*, run: Run, new: NewRule, actor: object) -> AuditRule:
    """A draft rule with its queue."""
    rule = create_rule(run=run, new=new, actor=actor)
    create_queue(project=run.project, rule=rule, name=new.name, actor=actor)
    return rule


def start_audit(*, rule: AuditRule, actor: object) -> AuditRule:
    with transaction.atomic():
        rule = start_rule(rule=rule, actor=actor)
        # Robust: with the broker away the audit is started, and the sweep finds its windows.
        transaction.on_commit(lambda: tasks.open_windows_task.delay(str(rule.run_id)), robust=True)
    return rule


@transaction.atomic
def change_audit(
    *, rule: AuditRule, settings: RuleSettings, actor: object, based_on: int | None = None
) -> RuleVersion:
    """A new version: the next wave follows it, and so do windows that have no frame yet."""
    version = change_rule(rule=rule, settings=settings, actor=actor, based_on=based_on)
    extend_windows(rule=rule)
    # The rule may end now where its run already is. Robust: else the sweep finds it.
    transaction.on_commit(lambda: tasks.open_windows_task.delay(str(rule.run_id)), robust=True)
    return version


def open_windows(*, run: Run) -> None:
    """Fix the frame of every window whose last step is in, and draw its first wave."""
    for rule in AuditRule.objects.filter(run=run, state=RuleState.ACTIVE):
        for window in extend_windows(rule=rule):
            write_frame(window=window)
    for window in Window.objects.filter(rule__run=run, state=WindowState.OPEN):
        advance_window(window=window)
    for rule in AuditRule.objects.filter(run=run, state=RuleState.ACTIVE):
        settle_rule(rule=rule)


def advance_window(*, window: Window) -> None:
    """Close the open wave if it is answered; then draw the next one, or close the window."""
    wave = open_wave(window)
    if wave is not None:
        enqueue_wave(wave=wave)
        if has_pending(wave):
            return
        close_wave(wave=wave)
    if window.waves.filter(state=WaveState.CLOSED).exists():
        # Before the window closes: whoever sees it closed finds the estimates. Also when no wave
        # was open: an earlier run may have been stopped here, or a label taken back and renewed.
        run_id = str(window.rule.run_id)
        if refresh_estimates(run=window.rule.run, window=window):
            transaction.on_commit(lambda: tasks.refresh_soon(run_id), robust=True)
        refresh_estimates(run=window.rule.run)
    if not is_spent(window):
        _draw_next_wave(window)
    if open_wave(window) is None and is_spent(window):
        close_window(window=window)


@transaction.atomic
def _draw_next_wave(window: Window) -> Wave | None:
    beliefs = current_beliefs(window.rule.run)
    wave = draw_wave(
        window=window,
        f_M=beliefs.f_M,
        q_M=beliefs.q_M,
        cells=beliefs.cells,
        targets=None if window.targets else expected_half_widths(window, beliefs),
    )
    if wave is not None:
        enqueue_wave(wave=wave)
        settle_wave(wave=wave)
    return wave


def cancel_wave(*, wave: Wave, actor: object) -> None:
    """Give an open wave up: what is answered stays known, the window goes on with a new wave."""
    with transaction.atomic():
        lock_rule(wave.window.rule_id)
        _give_up(wave, actor)
        _advance_after_commit(wave.window)


def end_window(*, window: Window, actor: object) -> None:
    """Close a window before its budget is used up; the wave that is open is in no estimate."""
    with transaction.atomic():
        lock_rule(window.rule_id)
        wave = open_wave(window)
        if wave is not None:
            _give_up(wave, actor)
        close_early(window=window, actor=actor)
        run_id = str(window.rule.run_id)
        transaction.on_commit(lambda: tasks.refresh_soon(run_id), robust=True)


def end_audit(*, rule: AuditRule, actor: object) -> None:
    """No further window or wave; what is estimated stays."""
    with transaction.atomic():
        lock_rule(rule.pk)
        for window in rule.windows.filter(state=WindowState.OPEN):
            end_window(window=window, actor=actor)
        finish_rule(rule=rule, actor=actor)


def _give_up(wave: Wave, actor: object) -> None:
    """The caller holds the rule. A wave that was closed or cancelled meanwhile stays as it is."""
    window = Window.objects.select_for_update().get(pk=wave.window_id)
    if open_wave(window) != wave:
        return
    withdraw_wave(wave=wave)
    give_up_wave(wave=wave, answered=answered_rollouts(wave), actor=actor)


def _advance_after_commit(window: Window) -> None:
    window_id = str(window.pk)
    transaction.on_commit(lambda: tasks.advance_window_task.delay(window_id), robust=True)


@transaction.atomic
def pick_rollouts(
    *, rule: AuditRule, rollouts: Sequence[int], cause: PickCause, note: str = "", actor: object
) -> list[Pick]:
    """Queue rollouts for a label beside the sample."""
    picks = store_picks(rule=rule, rollouts=rollouts, cause=cause, note=note, actor=actor)
    enqueue_picks(queue=rule.queue, picks=picks)
    return picks


def purge_rollouts(*, run: Run, uids: Sequence[str], actor: object) -> int:
    """Blank rollouts' texts; what was still to be labelled of them counts as unanswered."""
    with transaction.atomic():
        purged = blank_rollouts(run=run, uids=uids, actor=actor)
        waves = give_up_rollouts(rollouts=purged)
        for window in Window.objects.filter(waves__in=waves).distinct():
            _advance_after_commit(window)
    return len(purged)
