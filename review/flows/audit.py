"""The audit's own way: frame -> wave -> queue -> labels -> estimates -> next wave.

Every step is safe to run twice: what has happened already is left alone.
"""

from dataclasses import dataclass

from django.db import transaction

from review.calibration.services import current_beliefs, refresh_estimates
from review.flows import tasks
from review.labeling.queries import has_pending
from review.labeling.services import create_queue, enqueue_wave
from review.runs.models import Run
from review.sampling.models import AuditRule, RuleState, Wave, WaveState, Window, WindowState
from review.sampling.services import (
    NewRule,
    close_wave,
    close_window,
    create_rule,
    draw_wave,
    extend_windows,
    settle_rule,
    start_rule,
    write_frame,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAudit:
    rule: NewRule
    shows_reference: bool


@transaction.atomic
def create_audit(*, run: Run, new: NewAudit, actor: object) -> AuditRule:
    """A draft rule with its queue."""
    rule = create_rule(run=run, new=new.rule, actor=actor)
    create_queue(
        project=run.project,
        rule=rule,
        name=new.rule.name,
        shows_reference=new.shows_reference,
        actor=actor,
    )
    return rule


def start_audit(*, rule: AuditRule, actor: object) -> AuditRule:
    with transaction.atomic():
        rule = start_rule(rule=rule, actor=actor)
        # Robust: with the broker away the audit is started, and the sweep finds its windows.
        transaction.on_commit(lambda: tasks.open_windows_task.delay(str(rule.run_id)), robust=True)
    return rule


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
    wave = Wave.objects.filter(window=window, state=WaveState.OPEN).first()
    if wave is not None:
        enqueue_wave(wave=wave)
        if has_pending(wave):
            return
        close_wave(wave=wave)
    if window.waves.filter(state=WaveState.CLOSED).exists():
        # Before the window closes: whoever sees it closed finds the estimates. Also when no wave
        # was open: an earlier run may have been stopped here, or a label taken back and renewed.
        refresh_estimates(run=window.rule.run, window=window)
        refresh_estimates(run=window.rule.run)
    next_wave = _draw_next_wave(window)
    if next_wave is None and not window.waves.filter(state=WaveState.OPEN).exists():
        close_window(window=window)


@transaction.atomic
def _draw_next_wave(window: Window) -> Wave | None:
    beliefs = current_beliefs(window.rule.run)
    wave = draw_wave(window=window, f_M=beliefs.f_M, q_M=beliefs.q_M)
    if wave is not None:
        enqueue_wave(wave=wave)
    return wave
