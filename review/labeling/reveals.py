"""What a reviewer is shown of a rollout once their label stands."""

from collections.abc import Collection
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from review.accounts.models import User
from review.core.errors import MissingError
from review.labeling.models import PENDING, Assignment, Label
from review.labeling.queries import FINAL
from review.rollouts.models import Rollout
from review.sampling.models import WindowState


def own_label(user: User, label_id: int) -> Label:
    """The label, if the user gave it and its queue shows what the verifiers said."""
    label = (
        Label.objects.filter(pk=label_id, reviewer=user, assignment__queue__reveals=True, **FINAL)
        .select_related(
            "reveal",
            "objection",
            "assignment__queue__project",
            "assignment__queue__rule",
            "assignment__wave__version",
            "assignment__wave__window",
            "assignment__rollout__run",
            "assignment__rollout__policy",
            "assignment__rollout__group__prompt",
        )
        .first()
    )
    if label is None:
        raise MissingError("There is no such label among yours.")
    return label


def other_labels(label: Label) -> QuerySet[Label]:
    """What other reviewers of the same queue said of the rollout, as far as it counts."""
    rows = Label.objects.filter(
        assignment__queue=label.assignment.queue_id,
        assignment__rollout=label.assignment.rollout_id,
        **FINAL,
    )
    return rows.exclude(reviewer=label.reviewer_id).order_by("pk")


def group_of(label: Label) -> list[Rollout]:
    """The other completions of the same problem at the same step."""
    rollout = label.assignment.rollout
    mates = Rollout.objects.filter(group=rollout.group_id, purged_at=None).exclude(pk=rollout.pk)
    return list(mates.order_by("pk"))


def kept_back(label: Label, rollouts: Collection[int]) -> set[int]:
    """Those of the rollouts that this reviewer may still be asked about: in a queue, or to draw."""
    wave = label.assignment.wave
    if wave is not None and wave.window.state == WindowState.OPEN:
        is_last = wave.number >= wave.version.waves
    else:
        is_last = True
    if not is_last:
        queue = label.assignment.queue_id
        return set(rollouts) - _labelled_by(label.reviewer_id, queue, rollouts)
    project = label.assignment.queue.project_id
    return still_to_judge(label.reviewer, project, rollouts)


def still_to_judge(reviewer: User, project_id: int, rollouts: Collection[int]) -> set[int]:
    """Those that stand in a queue of the project in which the reviewer has not labelled them."""
    own = Label.objects.filter(
        reviewer=reviewer,
        retraction=None,
        assignment__queue=OuterRef("queue"),
        assignment__rollout=OuterRef("rollout"),
    )
    pending = Assignment.objects.filter(
        queue__project=project_id, rollout__in=rollouts, state__in=PENDING
    )
    return set(pending.exclude(Exists(own)).values_list("rollout", flat=True))


def _labelled_by(reviewer_id: int, queue_id: UUID, rollouts: Collection[int]) -> set[int]:
    rows = Label.objects.filter(
        reviewer=reviewer_id,
        retraction=None,
        assignment__queue=queue_id,
        assignment__rollout__in=rollouts,
    )
    return set(rows.values_list("assignment__rollout", flat=True))
