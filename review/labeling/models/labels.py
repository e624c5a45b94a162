"""What people said: labels, what became of them, adjudications."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from review.labeling.models.queues import Assignment, Queue
from review.rollouts.models import Rollout
from review.runs.models import Fault


class Answer(models.TextChoices):
    CORRECT = "correct"
    INCORRECT = "incorrect"
    CANNOT_TELL = "cannot_tell", "cannot tell"


class ErrorCategory(models.TextChoices):
    CALCULATION = "calculation"
    LOGIC = "logic"
    MISREAD = "misread", "misread problem"
    UNJUSTIFIED = "unjustified", "unjustified claim"
    HALLUCINATED = "hallucinated", "hallucinated fact"
    CONTRADICTION = "contradiction"
    INCOMPLETE = "incomplete"
    OTHER = "other"


class HackKind(models.TextChoices):
    ENUMERATION = "enumeration", "answer enumeration"
    SEVERAL_BOXES = "several_boxes", "several boxed answers"
    TESTS = "tests", "hard-coded or skipped tests"
    JUDGE_INJECTION = "judge_injection", "judge injection"
    FORMAT_GAMING = "format_gaming", "gaming the format"
    OTHER = "other"


class Criterion(models.TextChoices):
    MET = "met"
    NOT_MET = "not_met", "not met"
    CANNOT_TELL = "cannot_tell", "cannot tell"


class Confidence(models.IntegerChoices):
    UNSURE = 1, "unsure"
    FAIRLY_SURE = 2, "fairly sure"
    CERTAIN = 3, "certain"


class Judgement(models.Model):
    """What a person says of a rollout. Null, empty: not asked, or not said; never "no"."""

    answer = models.CharField(max_length=12, choices=Answer.choices)
    # The earliest wrong step. Its id, offset and digest of its text, is what was said; its 1-based
    # number is that of the present segmentation and follows it.
    step_id = models.CharField(max_length=40, default="", blank=True)
    earliest_wrong_step = models.PositiveIntegerField(null=True)
    has_no_wrong_step = models.BooleanField(default=False)
    error_category = models.CharField(
        max_length=20, choices=ErrorCategory.choices, default="", blank=True
    )
    is_format_kept = models.BooleanField(null=True)
    is_hack = models.BooleanField(null=True)
    hack_kind = models.CharField(max_length=20, choices=HackKind.choices, default="", blank=True)
    is_hack_admitted = models.BooleanField(null=True)
    is_answer_supported = models.BooleanField(null=True)
    problem_fault = models.CharField(max_length=20, choices=Fault.choices, default="", blank=True)
    confidence = models.PositiveSmallIntegerField(choices=Confidence.choices, null=True)
    # In the order of the queue's rubric.
    criteria = ArrayField(models.CharField(max_length=12, choices=Criterion.choices), default=list)

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(
                condition=Q(answer__in=Answer.values), name="%(class)s_answer_known"
            ),
            models.CheckConstraint(
                condition=Q(earliest_wrong_step=None)
                | Q(earliest_wrong_step__gte=1, has_no_wrong_step=False),
                name="%(class)s_wrong_step_consistent",
            ),
            models.CheckConstraint(
                condition=Q(error_category="")
                | Q(error_category__in=ErrorCategory.values, earliest_wrong_step__isnull=False),
                name="%(class)s_category_of_a_wrong_step",
            ),
            models.CheckConstraint(
                condition=Q(hack_kind="", is_hack_admitted=None)
                | Q(hack_kind__in=["", *HackKind.values], is_hack=True),
                name="%(class)s_kind_of_a_hack",
            ),
            models.CheckConstraint(
                condition=Q(problem_fault__in=["", *Fault.values]),
                name="%(class)s_problem_fault_known",
            ),
            models.CheckConstraint(
                condition=Q(confidence=None) | Q(confidence__in=Confidence.values),
                name="%(class)s_confidence_known",
            ),
            models.CheckConstraint(
                condition=Q(criteria__contained_by=Criterion.values),
                name="%(class)s_criteria_known",
            ),
        ]


class Label(Judgement):
    """One reviewer's answer about one rollout. Immutable; an undo is a Retraction."""

    assignment = models.ForeignKey(Assignment, on_delete=models.PROTECT, related_name="labels")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="labels"
    )
    # The client's idempotency key: the same commit sent twice is one label.
    client_key = models.UUIDField()
    note = models.TextField(default="", blank=True)
    # The lease had passed on when this came in: kept, but the item is another's.
    is_late = models.BooleanField(default=False)
    # How long the item was in front of the reviewer, as their browser measured it.
    active_ms = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            *Judgement.Meta.constraints,
            models.UniqueConstraint(fields=["reviewer", "client_key"], name="label_key_once"),
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


class Reveal(models.Model):
    """The reviewer has seen what the verifiers said: the label is final."""

    label = models.OneToOneField(Label, on_delete=models.PROTECT, related_name="reveal")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"reveal after {self.label_id}"


class Objection(models.Model):
    """A change of mind after the reveal. The label stays; an adjudicator decides."""

    label = models.OneToOneField(Label, on_delete=models.PROTECT, related_name="objection")
    note = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"objection to {self.label_id}"


class Adjudication(Judgement):
    """A decision between labels that disagree; it is the rollout's final answer. Append-only."""

    queue = models.ForeignKey(Queue, on_delete=models.PROTECT, related_name="adjudications")
    rollout = models.ForeignKey(Rollout, on_delete=models.PROTECT, related_name="adjudications")
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="adjudications"
    )
    reason = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [*Judgement.Meta.constraints]
        # the newest decision about a rollout
        indexes = [
            models.Index(fields=["queue", "rollout", "-id"], name="adjudication_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.answer} by {self.decided_by}"
