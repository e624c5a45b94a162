"""A run's rollouts cut into steps by another rule: what was said of a step stays said of it."""

from collections.abc import Iterable, Mapping, Sequence

from django.db import transaction
from django.utils import timezone

from review.core.models import record_event
from review.labeling.models import Adjudication, Assignment, AssignmentState, Draft, Label
from review.labeling.services.leases import released
from review.rollouts.models import Rollout
from review.rollouts.queries import number_in, steps_of
from review.rollouts.segmentation import places
from review.rollouts.services import set_steps
from review.runs.errors import StepsClaimedError, UnknownSegmenterError
from review.runs.models import Run, Segmenter
from review.runs.services import lock_run
from review.verifiers.queries import has_claimed_steps

CHUNK = 500
# What a draft says of steps goes with their numbers.
OF_STEPS = ("earliest_wrong_step", "error_category")
NUMBERED = ("step_id", "earliest_wrong_step")


@transaction.atomic
def change_segmenter(*, run: Run, segmenter: str, actor: object) -> Run:
    """New rollouts are cut by this rule from now on; the stored ones when `recut` comes to them."""
    if segmenter not in Segmenter.values:
        raise UnknownSegmenterError(fields={"segmenter": f"one of {', '.join(Segmenter.values)}"})
    run = lock_run(run)
    if segmenter == run.segmenter:
        return run
    if has_claimed_steps(run):
        raise StepsClaimedError(fields={"segmenter": f"stays {run.segmenter}"})
    record_event(
        actor=actor, action="segmenter changed", subject=run, before=run.segmenter, after=segmenter
    )
    run.segmenter, run.recut_after = segmenter, 0
    run.save(update_fields=["segmenter", "recut_after"])
    return run


def recut(*, run: Run) -> bool:
    """Cut the stored rollouts anew, a chunk a transaction; goes on where an earlier call stopped.

    False: not all could be. What a reviewer has on the screen is left until they are done with it.
    """
    run.refresh_from_db()
    after, is_whole = run.recut_after, True
    while after is not None:
        with transaction.atomic():
            # The run first, as whoever purges or classes anew has it: nobody waits in a circle.
            if lock_run(run).segmenter != run.segmenter:
                return False
            rows = list(run.rollouts.filter(pk__gt=after, purged_at=None).order_by("pk")[:CHUNK])
            held = _in_hand(rows)
            _recut([row for row in rows if row.pk not in held], run.segmenter)
            is_whole = is_whole and not held
            after = rows[-1].pk if rows else None
            if is_whole and not _keep_place(run, after):
                return False
    return is_whole


def _keep_place(run: Run, after: int | None) -> bool:
    """Whether the place could be kept: if not, another rule has begun from the start."""
    before = Run.objects.filter(pk=run.pk, segmenter=run.segmenter, recut_after=run.recut_after)
    run.recut_after = after
    return before.update(recut_after=after) == 1


def _in_hand(rows: Sequence[Rollout]) -> set[int]:
    """Which of the rollouts are leased. Locks their assignments: none can be taken meanwhile.

    A lease that has expired ends, so that a commit that it still makes counts as late.
    """
    items = Assignment.objects.filter(rollout__in=rows)
    list(items.select_for_update(no_key=True).order_by("pk").values_list("pk"))
    leased = items.filter(state=AssignmentState.LEASED)
    leased.filter(lease_expires_at__lte=timezone.now()).update(**released())
    return set(leased.values_list("rollout", flat=True))


def _recut(rows: Iterable[Rollout], segmenter: str) -> None:
    before: dict[int, Rollout] = {}
    after: dict[int, Rollout] = {}
    for row in rows:
        steps = [list(place) for place in places(row.messages, segmenter)]
        if steps != row.steps:
            before[row.pk] = row
            after[row.pk] = Rollout(pk=row.pk, messages=row.messages, steps=steps)
    set_steps(steps={pk: row.steps for pk, row in after.items()})
    _renumber(before, after)
    _forget_drafted_steps(after)


def _renumber(before: Mapping[int, Rollout], after: Mapping[int, Rollout]) -> None:
    """The numbers follow the steps that were meant; an old label names its step first."""
    labels = Label.objects.filter(assignment__rollout__in=before, earliest_wrong_step__gte=1)
    labels = labels.select_related("assignment")
    decisions = Adjudication.objects.filter(rollout__in=before, earliest_wrong_step__gte=1)
    said: list[tuple[Label | Adjudication, int]] = [
        *((label, label.assignment.rollout_id) for label in labels),
        *((decision, decision.rollout_id) for decision in decisions),
    ]
    for judgement, pk in said:
        number = judgement.earliest_wrong_step or 1
        judgement.step_id = judgement.step_id or steps_of(before[pk])[number - 1].id
        judgement.earliest_wrong_step = number_in(after[pk], judgement.step_id)
    Label.objects.bulk_update(labels, NUMBERED)
    Adjudication.objects.bulk_update(decisions, NUMBERED)


def _forget_drafted_steps(rollouts: Iterable[int]) -> None:
    drafts = list(Draft.objects.filter(assignment__rollout__in=rollouts))
    for draft in drafts:
        draft.body = {key: said for key, said in draft.body.items() if key not in OF_STEPS}
    Draft.objects.bulk_update(drafts, ["body"])
