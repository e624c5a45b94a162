"""Answer classes after a label: settled, looked at twice, split."""

import secrets
from collections.abc import Collection

from django.db import transaction

from review.flows import audit, tasks
from review.labeling.models import SettledClass
from review.labeling.queries import UNDO_SECONDS, has_pending
from review.labeling.services import classes
from review.runs.models import Prompt, Run
from review.sampling.models import PickCause, RuleState, Wave, WaveState, Window, WindowState
from review.sampling.queries import pickable

# A task looks at so many labelled rollouts, and once at the labels of each one's class.
CHUNK = 500


def settle_class(*, prompt: Prompt, answer_class: str) -> None:
    """A label of one of its members came or went. What can be taken back splits no class.

    The second look comes after the settlement's commit: a pick waits for the rule and the queue,
    which nobody does who holds a prompt or has opened items.
    """
    if classes.awaits_undo(prompt=prompt, answer_class=answer_class):
        tasks.settle_class_task.apply_async((prompt.pk, answer_class), countdown=UNDO_SECONDS)
        return
    change = classes.settle_class(prompt=prompt, answer_class=answer_class)
    _refresh_after_commit(str(prompt.run_id), change.waves)
    if change.settled is not None:
        _look_twice(change.settled)
    _advance_after_commit(change.waves)


def settle_run(*, run: Run, after: int = 0) -> int | None:
    """The run's classes are new: what labels say of their members counts for them.

    A chunk of the labelled rollouts, by id behind the given one: the last one's id, or None when
    none is left. All chunks together grow with the run's labels, not with its rollouts.
    """
    members = classes.labelled_members(run, after=after, most=CHUNK)
    prompts = run.prompts.in_bulk({prompt_id for _, prompt_id, _ in members})
    named = dict.fromkeys((prompt_id, name) for _, prompt_id, name in members)
    for prompt_id, name in named:
        settle_class(prompt=prompts[prompt_id], answer_class=name)
    return members[-1][0] if len(members) == CHUNK else None


def _refresh_after_commit(run_id: str, waves: Collection[int]) -> None:
    """What a closed wave is estimated from came or went: no later label need tell of it.

    Asked after the commit: a wave that closes later finds the items as they are now.
    """

    def refresh() -> None:
        if Wave.objects.filter(pk__in=waves).exclude(state=WaveState.OPEN).exists():
            tasks.refresh_soon(run_id)

    transaction.on_commit(refresh, robust=True)


def _advance_after_commit(waves: Collection[int]) -> None:
    """An open wave may have got its last answer."""

    def advance() -> None:
        for wave in Wave.objects.filter(pk__in=waves, state=WaveState.OPEN):
            if not has_pending(wave):
                tasks.advance_window_task.delay(str(wave.window_id))

    transaction.on_commit(advance, robust=True)


def _look_twice(settled: SettledClass) -> None:
    """One member more for a reviewer, by chance: so many of the derived labels are checked.

    In audits that review twice at all; the others get the labels of their budget and no more.
    """
    rule = settled.label.assignment.queue.rule
    if rule.state != RuleState.ACTIVE or not rule.current.has_second_reviews:
        return
    for window in rule.windows.filter(state=WindowState.OPEN):
        members = _unlabelled(settled, window)
        if secrets.randbelow(10_000) < 10_000 * classes.CHECK_SHARE * len(members):
            audit.pick_rollouts(
                rule=rule,
                rollouts=[secrets.choice(members)],
                cause=PickCause.CLASS_CHECK,
                actor="assay",
            )
            return


def _unlabelled(settled: SettledClass, window: Window) -> list[int]:
    members = pickable(window).filter(
        group__prompt=settled.prompt_id, answer_class=settled.answer_class
    )
    return list(members.values_list("pk", flat=True))
