"""Queues, assignments with their leases, labels and adjudications: what humans said."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from review.accounts.models import Project
from review.rollouts.models import Rollout
from review.sampling.models import AuditRule, Draw, Wave


class Queue(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="queues")
    rule = models.OneToOneField(AuditRule, on_delete=models.PROTECT, related_name="queue")
    name = models.CharField(max_length=200)
    lease_seconds = models.PositiveIntegerField(default=900)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class AssignmentState(models.TextChoices):
    OPEN = "open"
    LEASED = "leased"
    DONE = "done"
    # Enough reviewers have passed on it, or its text is gone: nonresponse.
    SKIPPED = "skipped"
    # Not wanted any more: its wave was cancelled, or the label that called for it taken back.
    WITHDRAWN = "withdrawn"


class Cause(models.TextChoices):
    """Why a rollout is in a queue. A reviewer never learns it."""

    DRAW = "draw", "drawn"
    PICK = "pick", "picked on purpose"
    # Second reviews: by chance, or since the first label contradicts the verdict.
    RANDOM = "random", "random second review"
    CONTRADICTION = "contradiction", "second review of a contradiction"
    TIE_BREAK = "tie_break", "third review of a disagreement"
    # The answer is known: it tells how good the reviewer is.
    GOLD = "gold", "known answer"


SECOND_REVIEWS = (Cause.RANDOM, Cause.CONTRADICTION)
PENDING = (AssignmentState.OPEN, AssignmentState.LEASED)


class Assignment(models.Model):
    """A queue item: one review slot of one rollout, leased to one reviewer at a time."""

    # Opaque on purpose: a client's own uid may hold a model's name.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    queue = models.ForeignKey(Queue, on_delete=models.PROTECT, related_name="assignments")
    rollout = models.ForeignKey(Rollout, on_delete=models.PROTECT, related_name="assignments")
    cause = models.CharField(max_length=15, choices=Cause.choices, default=Cause.DRAW)
    # Null: a purposive pick, which belongs to no wave.
    wave = models.ForeignKey(Wave, on_delete=models.PROTECT, null=True, related_name="assignments")
    # Null: picked, or mixed in as gold.
    draw = models.ForeignKey(Draw, on_delete=models.PROTECT, null=True, related_name="assignments")
    slot = models.PositiveSmallIntegerField(default=1)
    # Fixed at the draw; PRN order inside a stratum, so nobody picks the easy ones first.
    rank = models.BigIntegerField()
    state = models.CharField(
        max_length=10, choices=AssignmentState.choices, default=AssignmentState.OPEN
    )
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="assignments"
    )
    lease_token = models.UUIDField(null=True)
    lease_expires_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            # Also the index for "has this reviewer answered this rollout in another slot?".
            models.UniqueConstraint(
                fields=["queue", "rollout", "slot"],
                condition=~Q(cause="gold") & ~Q(state="withdrawn"),
                name="assignment_slot_once",
            ),
            models.UniqueConstraint(
                fields=["wave", "rollout"], condition=Q(cause="gold"), name="gold_once_per_wave"
            ),
            models.UniqueConstraint(fields=["queue", "rank"], name="assignment_rank_once"),
            # Two tabs of one reviewer show the same item.
            models.UniqueConstraint(
                fields=["queue", "reviewer"],
                condition=Q(state="leased"),
                name="one_lease_per_reviewer_and_queue",
            ),
            models.CheckConstraint(
                condition=Q(state__in=AssignmentState.values), name="assignment_state_known"
            ),
            models.CheckConstraint(
                condition=Q(cause__in=Cause.values), name="assignment_cause_known"
            ),
            models.CheckConstraint(
                condition=~Q(state="leased")
                | Q(
                    reviewer__isnull=False,
                    lease_token__isnull=False,
                    lease_expires_at__isnull=False,
                ),
                name="lease_is_complete",
            ),
        ]
        indexes = [
            # take: the lowest rank that is open or whose lease has expired
            models.Index(
                fields=["queue", "rank"],
                condition=Q(state__in=["open", "leased"]),
                name="assignment_pending_by_rank",
            ),
            # is anything of this wave still to be answered?
            models.Index(
                fields=["wave"],
                condition=Q(state__in=["open", "leased"]),
                name="assignment_pending_by_wave",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id}"


class Lease(models.Model):
    """That an item was served to a reviewer. Append-only: proves a late commit to be genuine."""

    assignment = models.ForeignKey(Assignment, on_delete=models.PROTECT, related_name="leases")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="leases"
    )
    token = models.UUIDField(unique=True)
    taken_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.assignment_id} to {self.reviewer}"


class Answer(models.TextChoices):
    CORRECT = "correct"
    INCORRECT = "incorrect"
    CANNOT_TELL = "cannot_tell", "cannot tell"


class Label(models.Model):
    """One reviewer's answer about one rollout. Immutable; an undo is a Retraction."""

    assignment = models.ForeignKey(Assignment, on_delete=models.PROTECT, related_name="labels")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="labels"
    )
    # The client's idempotency key: the same commit sent twice is one label.
    client_key = models.UUIDField()
    answer = models.CharField(max_length=12, choices=Answer.choices)
    # 1-based number of the earliest wrong step; has_no_wrong_step says that there is none; neither:
    # the reviewer did not say.
    earliest_wrong_step = models.PositiveIntegerField(null=True)
    has_no_wrong_step = models.BooleanField(default=False)
    is_hack = models.BooleanField(default=False)
    note = models.TextField(default="", blank=True)
    # The lease had passed on when this came in: kept, but the item is another's.
    is_late = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["reviewer", "client_key"], name="label_key_once"),
            models.CheckConstraint(
                condition=Q(answer__in=Answer.values), name="label_answer_known"
            ),
            models.CheckConstraint(
                condition=Q(earliest_wrong_step=None)
                | Q(earliest_wrong_step__gte=1, has_no_wrong_step=False),
                name="label_wrong_step_consistent",
            ),
        ]
        # undo: a reviewer's newest label
        indexes = [models.Index(fields=["reviewer", "-id"], name="label_newest_of_reviewer")]

    def __str__(self) -> str:
        return f"{self.answer} by {self.reviewer}"


class Retraction(models.Model):
    """The reviewer took a label back."""

    label = models.OneToOneField(Label, on_delete=models.PROTECT, related_name="retraction")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"retraction of {self.label_id}"


class SkipReason(models.TextChoices):
    UNCLEAR = "unclear", "I cannot make sense of it"
    NOT_MY_FIELD = "not_my_field", "Not my field"
    BROKEN = "broken", "The page does not show it properly"
    OTHER = "other", "Something else"


class Skip(models.Model):
    """A reviewer passed on an item; it is not served to them again."""

    assignment = models.ForeignKey(Assignment, on_delete=models.PROTECT, related_name="skips")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="skips"
    )
    reason = models.CharField(max_length=20, choices=SkipReason.choices)
    note = models.TextField(default="", blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["assignment", "reviewer"], name="skip_once"),
            models.CheckConstraint(
                condition=Q(reason__in=SkipReason.values), name="skip_reason_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.reason} by {self.reviewer}"


class Adjudication(models.Model):
    """A decision between labels that disagree; it is the rollout's final answer. Append-only."""

    queue = models.ForeignKey(Queue, on_delete=models.PROTECT, related_name="adjudications")
    rollout = models.ForeignKey(Rollout, on_delete=models.PROTECT, related_name="adjudications")
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="adjudications"
    )
    answer = models.CharField(max_length=12, choices=Answer.choices)
    earliest_wrong_step = models.PositiveIntegerField(null=True)
    has_no_wrong_step = models.BooleanField(default=False)
    is_hack = models.BooleanField(default=False)
    reason = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(answer__in=Answer.values), name="adjudication_answer_known"
            ),
        ]
        # the newest decision about a rollout
        indexes = [
            models.Index(fields=["queue", "rollout", "-id"], name="adjudication_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.answer} by {self.decided_by}"


class GoldItem(models.Model):
    """A rollout whose answer is known for certain."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="gold_items")
    rollout = models.OneToOneField(Rollout, on_delete=models.PROTECT, related_name="gold_item")
    answer = models.CharField(
        max_length=12, choices=[(Answer.CORRECT, "correct"), (Answer.INCORRECT, "incorrect")]
    )
    is_hack = models.BooleanField(default=False)
    set_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(answer__in=[Answer.CORRECT, Answer.INCORRECT]),
                name="gold_answer_decided",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.answer}: rollout {self.rollout_id}"
