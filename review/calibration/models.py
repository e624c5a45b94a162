"""Stored estimates and reward tables. Both are immutable: news is a new row."""

import uuid

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from review.rollouts.models import Slice
from review.runs.models import Policy, Run
from review.sampling.models import Window
from review.verifiers.models import VerifierVersion


class Estimand(models.TextChoices):
    RECALL = "recall"
    FPR = "fpr", "false-positive rate"
    PRECISION = "precision"
    REJECTED_CORRECT = "rejected_correct", "right among the rejected"
    ACCURACY = "accuracy", "true accuracy"
    HACK_RATE = "hack_rate", "hack rate"
    WRONG_PROCESS = "wrong_process", "right answer, wrong process"
    ERROR_FOUND = "error_found", "earliest error found"
    FAULTLESS_PASSED = "faultless_passed", "faultless passed"
    PROCESS_F1 = "process_f1", "earliest-error F1"
    CRITERION_RECALL = "criterion_recall", "recall on a criterion"
    CRITERION_FPR = "criterion_fpr", "false-positive rate on a criterion"
    CRITERION_UNDECIDED = "criterion_undecided", "undecided on a criterion"


class AnswersUsed(models.TextChoices):
    FINAL = "final", "final answers"
    # A sensitivity row: with the doubt about reviewers' own errors.
    DAWID_SKENE = "dawid_skene", "Dawid-Skene"


class Estimate(models.Model):
    """One estimate with its interval, from a stated set of labels."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="estimates")
    # Null: over all the run's windows.
    window = models.ForeignKey(
        Window, on_delete=models.CASCADE, null=True, related_name="estimates"
    )
    # Null: the run's primary verifier.
    verifier = models.ForeignKey(
        VerifierVersion, on_delete=models.PROTECT, null=True, related_name="estimates"
    )
    # Null, both: every rollout.
    slice = models.ForeignKey(Slice, on_delete=models.CASCADE, null=True, related_name="estimates")
    policy = models.ForeignKey(Policy, on_delete=models.CASCADE, null=True, related_name="+")
    # Of a rubric, by name; empty: of the whole answer.
    criterion = models.CharField(max_length=300, default="", blank=True)
    answers = models.CharField(
        max_length=12, choices=AnswersUsed.choices, default=AnswersUsed.FINAL
    )
    estimand = models.CharField(max_length=20, choices=Estimand.choices)
    # Null with a reason: too little data is not 0.
    point = models.FloatField(null=True)
    low = models.FloatField()
    high = models.FloatField()
    level = models.FloatField()
    # May be looked at while labels come in; null where no target was fixed beforehand.
    monitor_low = models.FloatField(null=True)
    monitor_high = models.FloatField(null=True)
    # If every unanswered item were correct, or wrong.
    worst_low = models.FloatField(null=True)
    worst_high = models.FloatField(null=True)
    unanswered_share = models.FloatField(default=0.0)
    # Rollouts that it says nothing of: purged before the verifier judged them.
    left_out = models.PositiveBigIntegerField(default=0)
    se = models.FloatField(null=True)
    method = models.CharField(max_length=60)
    labels = models.PositiveIntegerField()
    effective_labels = models.FloatField(null=True)
    reason = models.CharField(max_length=200, default="", blank=True)
    # SHA-256 over the ids of the labels that went in.
    label_set = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(low__gte=0, high__lte=1, low__lte=F("high")),
                name="estimate_interval_in_order",
            ),
            models.CheckConstraint(
                condition=Q(point__isnull=False) | ~Q(reason=""), name="estimate_or_reason"
            ),
            models.CheckConstraint(
                condition=Q(estimand__startswith="criterion_", criterion__gt="")
                | (~Q(estimand__startswith="criterion_") & Q(criterion="")),
                name="estimate_of_a_criterion",
            ),
        ]
        # the newest estimate of each estimand
        indexes = [
            models.Index(
                fields=["run", "window", "verifier", "slice", "policy", "estimand", "-id"],
                name="estimate_newest",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.estimand} of {self.run}"


class RefreshRequest(models.Model):
    """That a run's estimates are to be refreshed: many changes in a moment are one request."""

    run = models.OneToOneField(Run, on_delete=models.CASCADE, related_name="refresh_request")
    requested_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"refresh of {self.run}"


class SignalState(models.TextChoices):
    OK = "ok"
    WATCH = "watch"
    HOLD = "hold"


class Signal(models.Model):
    """Whether reward still means correctness, as the trainer reads it. Append-only: the newest
    counts."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="signals")
    state = models.CharField(max_length=10, choices=SignalState.choices)
    # [{"code", "state", "text"}], the gravest first.
    reasons = models.JSONField()
    label_set = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=SignalState.values), name="signal_state_known"
            ),
        ]
        # the newest of a run
        indexes = [models.Index(fields=["run", "-id"], name="signal_newest")]

    def __str__(self) -> str:
        return f"{self.state}: {self.run}"


class RewardRule(models.TextChoices):
    DEMOTE_OR_ABSTAIN = "demote_or_abstain", _("demote or abstain")
    POSTERIOR = "posterior", _("Posterior")
    UNBIASED = "unbiased", _("Unbiased")


class RewardTable(models.Model):
    """A versioned lookup from cell to calibrated reward."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="reward_tables")
    version = models.PositiveIntegerField()
    rule = models.CharField(max_length=20, choices=RewardRule.choices)
    valid_from_step = models.IntegerField()
    valid_to_step = models.IntegerField()
    labels = models.PositiveIntegerField()
    # What the trainer gets, byte for byte; its digest is the ETag.
    body = models.TextField()
    digest = models.CharField(max_length=64)
    # What it would change: shares of rollouts left out, of groups left flat, ...; under "changes",
    # `changes.TableChanges`.
    preview = models.JSONField()
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    published_by = models.CharField(max_length=200, default="", blank=True)
    published_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-version"]
        constraints = [
            models.UniqueConstraint(fields=["run", "version"], name="table_version_once"),
            models.CheckConstraint(
                condition=Q(valid_to_step__gte=F("valid_from_step")), name="table_steps_in_order"
            ),
            models.CheckConstraint(
                condition=Q(rule__in=RewardRule.values), name="table_rule_known"
            ),
        ]

    def __str__(self) -> str:
        return f"table v{self.version} of {self.run}"

    @property
    def is_published(self) -> bool:
        return self.published_at is not None
