"""Answer classes: what a label says of one member counts for those that gave the same answer.

A class is settled while its labelled members agree. Its members then have derived labels: they
pay rollouts, and answer the open items of queues that ask for correctness alone. Members that are
labelled differently show that the normaliser merged what differs: the class is split for good.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from review.labeling.models import (
    Adjudication,
    Answer,
    Assignment,
    AssignmentState,
    Cause,
    Label,
    SettledClass,
)
from review.labeling.queries import (
    FINAL,
    SLOT_LABEL,
    SLOT_ORDER,
    UNDO_SECONDS,
    SlotLabel,
    resolve,
)
from review.rollouts.models import Rollout
from review.runs.models import Prompt, Run
from review.sampling.models import Wave, WaveState
from review.sampling.queries import is_chosen
from review.verifiers.services import split_class

# Of the derived labels, the share that a person looks at all the same.
CHECK_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class MemberAnswer:
    """What counts of a labelled member of a class, and the labels behind it, the oldest first."""

    rollout_id: int
    answer: str
    label_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """The class, if it was settled now; the waves of the items that got or lost their answer."""

    settled: SettledClass | None = None
    waves: frozenset[int] = frozenset()


@transaction.atomic
def settle_class(*, prompt: Prompt, answer_class: str) -> Change:
    """Bring a class into line with the labels of its members; what that changed.

    Safe to run at any time and twice. Holds the prompt's row: its classes change one by one.
    """
    prompt = Prompt.objects.select_for_update(no_key=True).select_related("run").get(pk=prompt.pk)
    rows = SettledClass.objects.filter(prompt=prompt, answer_class=answer_class)
    if rows.filter(mixed_at__isnull=False).exists():
        return Change()
    members = answers_of_members(prompt, answer_class)
    settled = rows.filter(withdrawn_at=None).first()
    if len({member.answer for member in members}) > 1:
        return Change(waves=_split(settled or _settle(prompt, answer_class, members[0]), members))
    if settled and any(_is_said_by(settled, member) for member in members):
        return Change(waves=_answer_open_items(settled))
    reopened = _withdraw(settled) if settled else frozenset()
    if not members:
        return Change(waves=reopened)
    settled = _settle(prompt, answer_class, members[0])
    return Change(settled, reopened | _answer_open_items(settled))


def settle_wave(*, wave: Wave) -> None:
    """Answer what of a wave just queued is settled already, where correctness alone is asked."""
    drawn = _standing(
        prompt__groups__rollouts__draws__wave=wave,
        prompt__groups__rollouts__answer_class=F("answer_class"),
    )
    pks = list(drawn.distinct().values_list("pk", flat=True))
    # Held until the wave stands, so that whoever withdraws one sees what it answers. One that is
    # being withdrawn settles nothing.
    held = _standing(pk__in=pks).select_for_update(no_key=True, skip_locked=True)
    for settled in held.order_by("pk"):
        _answer_open_items(settled)


def answers_of_members(prompt: Prompt, answer_class: str) -> list[MemberAnswer]:
    """The decided answers about the class's members, in all queues, the oldest label first."""
    rows = (
        Label.objects.filter(assignment__rollout__in=_members(prompt, answer_class), **FINAL)
        .exclude(assignment__cause=Cause.GOLD)
        .order_by(*SLOT_ORDER)
        .values_list("assignment__queue", "assignment__rollout", *SLOT_LABEL)
    )
    labels: dict[tuple[object, int], list[SlotLabel]] = defaultdict(list)
    for queue_id, rollout_id, *label in rows:
        labels[queue_id, rollout_id].append(SlotLabel(*label))
    said = {key: resolve(given).answer for key, given in labels.items()}
    # Of the same members: one that leaves the class meanwhile keeps its decision here.
    labelled = {rollout_id for _, rollout_id in labels}
    decisions = Adjudication.objects.filter(rollout__in=labelled).order_by("pk")
    said |= {(row.queue_id, row.rollout_id): row.answer for row in decisions}
    found = [
        MemberAnswer(key[1], said[key], tuple(sorted(label.id for label in given)))
        for key, given in labels.items()
        if said[key] != Answer.CANNOT_TELL
    ]
    return sorted(found, key=lambda member: member.label_ids)


def _members(prompt: Prompt, answer_class: str) -> QuerySet[Rollout]:
    """Who gave the answer; also whose label has settled it, when the text is gone since.

    A purge that comes between the two queries takes nobody out: the second one looks for it.
    """
    settled = _standing(answer_class=answer_class, prompt=prompt)
    settled_by = list(settled.values_list("label__assignment__rollout", flat=True))
    gave_it = Q(answer_class=answer_class) | Q(pk__in=settled_by, purged_at__isnull=False)
    return Rollout.objects.filter(gave_it, group__prompt=prompt)


def class_told_by(rollout: Rollout) -> str | None:
    """The class that what is said of the rollout counts for.

    Its own; of a purged one, which is in none, the class that a label of it has settled.
    """
    if rollout.purged_at is None:
        return rollout.answer_class
    settled = _standing(label__assignment__rollout=rollout)
    return settled.values_list("answer_class", flat=True).first()


def _standing(**asked: object) -> QuerySet[SettledClass]:
    return SettledClass.objects.filter(withdrawn_at=None, mixed_at=None, **asked)


MEMBER = ("rollout", "rollout__group__prompt", "rollout__answer_class")


def labelled_members(run: Run, *, after: int, most: int) -> list[tuple[int, int, str]]:
    """Of the run's labelled rollouts that are in a class the next ones: id, prompt and class."""
    labelled = Assignment.objects.filter(
        queue__rule__run=run,
        state=AssignmentState.DONE,
        rollout__gt=after,
        rollout__answer_class__isnull=False,
    ).exclude(cause=Cause.GOLD)
    rows = labelled.order_by("rollout").distinct().values_list(*MEMBER)
    return list(rows[:most])


def awaits_undo(*, prompt: Prompt, answer_class: str) -> bool:
    """Whether members are labelled differently, and one of these labels can still be taken back."""
    members = answers_of_members(prompt, answer_class)
    if len({member.answer for member in members}) < 2:
        return False
    since = timezone.now() - timedelta(seconds=UNDO_SECONDS)
    labels = [pk for member in members for pk in member.label_ids]
    return Label.objects.filter(pk__in=labels, created_at__gt=since).exists()


def _is_said_by(settled: SettledClass, member: MemberAnswer) -> bool:
    return settled.label_id in member.label_ids and settled.answer == member.answer


def _settle(prompt: Prompt, answer_class: str, member: MemberAnswer) -> SettledClass:
    return SettledClass.objects.create(
        run=prompt.run,
        prompt=prompt,
        answer_class=answer_class,
        answer=member.answer,
        label_id=member.label_ids[0],
    )


def _withdraw(settled: SettledClass) -> frozenset[int]:
    settled.withdrawn_at = timezone.now()
    settled.save(update_fields=["withdrawn_at"])
    return _reopen(settled)


def _split(settled: SettledClass, members: list[MemberAnswer]) -> frozenset[int]:
    """Its members are labelled differently: each of its parts is settled by its own labels."""
    waves = _mark_mixed(settled, members)
    for part in split_class(prompt=settled.prompt, answer_class=settled.answer_class):
        waves |= settle_class(prompt=settled.prompt, answer_class=part).waves
    return waves


def _mark_mixed(settled: SettledClass, members: list[MemberAnswer]) -> frozenset[int]:
    against = next(member for member in members if member.answer != settled.answer)
    settled.mixed_by_id, settled.mixed_at = against.label_ids[-1], timezone.now()
    settled.save(update_fields=["mixed_by", "mixed_at"])
    return _reopen(settled)


def _reopen(settled: SettledClass) -> frozenset[int]:
    """Nothing answers these items any more: a person must, where they are still wanted.

    The waves that they are of.
    """
    rows = settled.assignments.select_related("rollout", "wave")
    items = list(rows.select_for_update(of=("self",)).order_by("pk"))
    by_state: dict[AssignmentState, list[UUID]] = defaultdict(list)
    for item in items:
        by_state[_state_unsettled(item)].append(item.pk)
    for state, pks in by_state.items():
        Assignment.objects.filter(pk__in=pks).update(state=state, settled_by=None)
    return _waves_of(items)


def _waves_of(items: Iterable[Assignment]) -> frozenset[int]:
    return frozenset(item.wave_id for item in items if item.wave_id is not None)


def _state_unsettled(item: Assignment) -> AssignmentState:
    if item.wave is not None and item.wave.state == WaveState.CANCELLED:
        return AssignmentState.WITHDRAWN
    if item.rollout.purged_at is not None:
        return AssignmentState.SKIPPED
    return AssignmentState.OPEN


def _answer_open_items(settled: SettledClass) -> frozenset[int]:
    """Settle the first reviews of the class's members, where correctness alone is asked.

    What somebody holds or is being served is left to them. The waves of the items settled.
    """
    rows = _open_items(settled).select_for_update(of=("self",), skip_locked=True)
    items = [item for item in rows if item.draw and not is_chosen(item.draw, "class", CHECK_SHARE)]
    Assignment.objects.filter(pk__in=[item.pk for item in items]).update(
        state=AssignmentState.SETTLED, settled_by=settled
    )
    return _waves_of(items)


def _open_items(settled: SettledClass) -> QuerySet[Assignment]:
    return Assignment.objects.filter(
        queue__rule__run=settled.run_id,
        queue__questions=[],
        queue__rubric=[],
        state=AssignmentState.OPEN,
        slot=1,
        cause=Cause.DRAW,
        rollout__group__prompt=settled.prompt_id,
        rollout__answer_class=settled.answer_class,
    ).select_related("draw__wave__window")


@transaction.atomic
def withdraw_classes(*, run: Run) -> None:
    """The run's answers are classed anew: nothing is settled by the classes of before.

    Holds all prompts of the run: until they are classed nobody settles a class of before.
    """
    list(run.prompts.select_for_update(no_key=True).order_by("pk").values_list("pk"))
    for settled in _standing(run=run):
        _withdraw(settled)
