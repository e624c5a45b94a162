"""A reviewer's answer, and what it sets off."""

from contextlib import nullcontext
from uuid import UUID

from django.db import transaction

from review.accounts.models import User
from review.flows import tasks
from review.labeling.errata import is_reported
from review.labeling.models import (
    Adjudication,
    Assignment,
    Cause,
    Judgement,
    Label,
    Queue,
    SkipReason,
)
from review.labeling.queries import has_pending
from review.labeling.services import adjudications
from review.labeling.services import labels as services
from review.labeling.services.classes import class_told_by
from review.labeling.services.judgements import NewLabel
from review.rollouts.models import Rollout
from review.runs.models import Fault
from review.runs.services import lock_open_erratum, open_erratum, withdraw_erratum
from review.sampling.models import Wave
from review.sampling.queries import wave_that_drew


def commit_label(
    *,
    assignment: Assignment,
    reviewer: User,
    token: UUID,
    client_key: UUID,
    new: NewLabel,
) -> tuple[Label, bool]:
    """Store the label; the wave's last one sends the audit on its way."""
    # What is said of the problem is reported with it, or neither is stored.
    with transaction.atomic() if new.problem_fault else nullcontext():
        label, is_new = services.commit_label(
            assignment=assignment,
            reviewer=reviewer,
            token=token,
            client_key=client_key,
            new=new,
        )
        if is_new:
            _report_fault(label, assignment.rollout, note=label.note, actor=reviewer)
    # Stored, and in no transaction of its own: what follows is started at once.
    _advance_when_answered(assignment)
    return label, is_new


def retract_label(*, queue: Queue, reviewer: User) -> Assignment:
    """Take the reviewer's newest label back; what was estimated from it is estimated anew."""
    with transaction.atomic():
        assignment = services.retract_label(queue=queue, reviewer=reviewer)
        _take_back_fault(assignment, reviewer)
        _advance_when_answered(assignment)
    return assignment


def skip_item(
    *, assignment: Assignment, reviewer: User, token: UUID, reason: SkipReason, note: str = ""
) -> None:
    with transaction.atomic():
        services.skip_item(
            assignment=assignment, reviewer=reviewer, token=token, reason=reason, note=note
        )
        _advance_when_answered(assignment)


def adjudicate(
    *,
    queue: Queue,
    rollout: Rollout,
    decided_by: User,
    new: NewLabel,
    reason: str,
    basis: str | None = None,
) -> Adjudication:
    """Settle labels that disagree; it may be the last thing that a wave waits for."""
    with transaction.atomic():
        decision = adjudications.adjudicate(
            queue=queue,
            rollout=rollout,
            decided_by=decided_by,
            new=new,
            reason=reason,
            basis=basis,
        )
        _report_fault(decision, rollout, note=reason, actor=decided_by)
        wave = wave_that_drew(queue.rule, rollout)
        _advance_after_commit(wave, queue)
        _settle_class_after_commit(rollout)
    return decision


def _report_fault(said: Judgement, rollout: Rollout, *, note: str, actor: User) -> None:
    """A problem that is said to be broken is a lead's to look at. Said twice is once."""
    if said.problem_fault:
        fault = Fault(said.problem_fault)
        open_erratum(prompt=rollout.group.prompt, fault=fault, note=note, actor=actor)


def _take_back_fault(assignment: Assignment, reviewer: User) -> None:
    """What only the label that was taken back said of the problem waits for nobody any more."""
    retracted = Label.objects.filter(
        assignment=assignment, reviewer=reviewer, retraction__isnull=False
    ).latest("pk")
    prompt, fault = assignment.rollout.group.prompt, retracted.problem_fault
    if not fault:
        return
    erratum = lock_open_erratum(prompt=prompt, fault=fault)
    # Only now: a label that reports the same has let the erratum go, and is seen.
    if erratum and not is_reported(prompt, fault):
        withdraw_erratum(erratum=erratum, actor=reviewer)


def _advance_when_answered(assignment: Assignment) -> None:
    if assignment.cause != Cause.GOLD:
        _advance_after_commit(assignment.wave, assignment.queue)
        _settle_class_after_commit(assignment.rollout)


def _settle_class_after_commit(rollout: Rollout) -> None:
    """What was said of it counts, or does so no more, for all who gave the same answer."""
    prompt_id, name = rollout.group.prompt_id, class_told_by(rollout)
    if name is not None:
        transaction.on_commit(lambda: tasks.settle_class_task.delay(prompt_id, name), robust=True)


def _advance_after_commit(wave: Wave | None, queue: Queue) -> None:
    """After the commit: of two last answers at once, the later one sees the other's.

    A pick, or an item of a wave that is closed already, changes estimates but draws nothing.
    """

    def advance() -> None:
        if wave is None or not wave.is_open:
            tasks.refresh_soon(str(queue.rule.run_id))
        elif not has_pending(wave):
            tasks.advance_window_task.delay(str(wave.window_id))

    # Robust: with the broker away the label is stored, and the sweep finds the wave.
    transaction.on_commit(advance, robust=True)
