"""Queues, assignments with their leases: who is served what."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from review.accounts.models import Project
from review.rollouts.models import Rollout
from review.sampling.models import AuditRule, Draw, Wave


class Question(models.TextChoices):
    """What a queue can ask beside whether the answer is correct, which all of them do."""

    STEP = "step", "earliest wrong step"
    CATEGORY = "category", "kind of that error"
    FORMAT = "format", "format kept or broken"
    HACK = "hack", "reward hack"
    REASONING = "reasoning", "reasoning supports the answer"
    PROBLEM = "problem", "problem broken"
    CONFIDENCE = "confidence", "confidence"


def default_questions() -> list[str]:
    return [Question.STEP, Question.CATEGORY, Question.HACK, Question.PROBLEM]


class Queue(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="queues")
    rule = models.OneToOneField(AuditRule, on_delete=models.PROTECT, related_name="queue")
    name = models.CharField(max_length=200)
    lease_seconds = models.PositiveIntegerField(default=900)
    # What its labels say: fixed from the first label on, so that all of them say the same.
    questions = ArrayField(
        models.CharField(max_length=20, choices=Question.choices), default=default_questions
    )
    # Each criterion is met, not met, or cannot be told.
    rubric = ArrayField(models.CharField(max_length=300), default=list)
    instructions = models.TextField(default="", blank=True)
    # Whether a reviewer is shown, after the commit, what the verifiers said.
    reveals = models.BooleanField(default=True)
    # Whose expertise it asks for; none named: anybody's.
    domains = ArrayField(models.CharField(max_length=60), default=list)
    # Practice items to answer, and the share of them to answer right, before the first real item.
    practice_size = models.PositiveSmallIntegerField(default=0)
    pass_mark = models.FloatField(default=0.8)
    # Whoever is surely less often right than this on known answers is paused; null: nobody is.
    gold_mark = models.FloatField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(questions__contained_by=Question.values), name="queue_questions_known"
            ),
            models.CheckConstraint(
                condition=Q(pass_mark__gt=0, pass_mark__lte=1), name="queue_pass_mark_is_a_share"
            ),
            models.CheckConstraint(
                condition=Q(gold_mark=None) | Q(gold_mark__gt=0, gold_mark__lt=1),
                name="queue_gold_mark_is_a_share",
            ),
        ]

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
    # The queue asks for correctness alone, and the rollout's answer class is labelled already.
    SETTLED = "settled"


class Cause(models.TextChoices):
    """Why a rollout is in a queue. A reviewer never learns it."""

    DRAW = "draw", _("drawn")
    PICK = "pick", _("picked on purpose")
    # Second reviews: by chance, or since the first label contradicts the verdict.
    RANDOM = "random", _("random second review")
    CONTRADICTION = "contradiction", _("second review of a contradiction")
    TIE_BREAK = "tie_break", _("third review of a disagreement")
    REQUEUE = "requeue", _("asked again by a lead")
    # The answer is known: it tells how good the reviewer is.
    GOLD = "gold", _("known answer")


SECOND_REVIEWS = (Cause.RANDOM, Cause.CONTRADICTION)
PENDING = (AssignmentState.OPEN, AssignmentState.LEASED)
ANSWERED = (AssignmentState.DONE, AssignmentState.SETTLED)


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
    # What settles it, if it is settled by its answer class.
    settled_by = models.ForeignKey(
        "SettledClass", on_delete=models.PROTECT, null=True, related_name="assignments"
    )

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
            models.CheckConstraint(
                condition=Q(state="settled", settled_by__isnull=False)
                | (~Q(state="settled") & Q(settled_by=None)),
                name="settled_by_something",
            ),
        ]
        indexes = [
            # take: the lowest rank that is open or whose lease has expired
            models.Index(
                fields=["queue", "rank"],
                condition=Q(state__in=["open", "leased"]),
                name="assignment_pending_by_rank",
            ),
            # which rollouts have more than one label?
            models.Index(
                fields=["queue", "rollout"],
                condition=Q(slot__gt=1, state="done"),
                name="assignment_second_done",
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


class Watermark(models.Model):
    """Up to which rank of a queue nothing is left for a reviewer: where their next take starts."""

    queue = models.ForeignKey(Queue, on_delete=models.CASCADE, related_name="watermarks")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="watermarks"
    )
    rank = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["queue", "reviewer"], name="watermark_once"),
        ]

    def __str__(self) -> str:
        return f"{self.reviewer} in {self.queue}: {self.rank}"


class Draft(models.Model):
    """What a reviewer has filled in so far; gone with the commit."""

    assignment = models.ForeignKey(Assignment, on_delete=models.CASCADE, related_name="drafts")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="drafts"
    )
    # The label form's fields, as they were sent.
    body = models.JSONField()
    saved_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["assignment", "reviewer"], name="draft_once"),
        ]

    def __str__(self) -> str:
        return f"draft of {self.reviewer} for {self.assignment_id}"


class SkipReason(models.TextChoices):
    UNCLEAR = "unclear", _("I cannot make sense of it")
    NOT_MY_FIELD = "not_my_field", _("Not my field")
    BROKEN = "broken", _("The page does not show it properly")
    OTHER = "other", _("Something else")


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
