"""Audit rules with their versions, windows with frame rows, waves, draws with their weights."""

import secrets
import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from review.rollouts.models import Cell, Rollout, Slice
from review.runs.models import Run
from review.verifiers.models import RunVerifier


def window_secret() -> bytes:
    return secrets.token_bytes(32)


class RuleState(models.TextChoices):
    DRAFT = "draft"
    ACTIVE = "active"
    # Every window that the rule can have is closed.
    FINISHED = "finished"


class AuditRule(models.Model):
    """What a lead configures: which steps of a run to audit, with the settings of its versions."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="audit_rules")
    name = models.CharField(max_length=200)
    state = models.CharField(max_length=10, choices=RuleState.choices, default=RuleState.DRAFT)
    first_step = models.IntegerField()
    window_steps = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(first_step__gte=0, window_steps__gte=1), name="rule_windows_sensible"
            ),
            models.CheckConstraint(
                condition=Q(state__in=RuleState.values), name="rule_state_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def current(self) -> "RuleVersion":
        """The newest version: the settings of the next wave. Free where versions are prefetched."""
        return max(self.versions.all(), key=lambda version: version.number)


class BudgetPer(models.TextChoices):
    WINDOW = "window", _("per window")
    DAY = "day", _("per day")


class RuleVersion(models.Model):
    """A rule's settings. Immutable: a change is a new version, which the next wave follows."""

    rule = models.ForeignKey(AuditRule, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    # Null: a window every window_steps, for as long as the run goes on.
    last_step = models.IntegerField(null=True)
    # Labels.
    budget = models.PositiveIntegerField()
    budget_per = models.CharField(
        max_length=10, choices=BudgetPer.choices, default=BudgetPer.WINDOW
    )
    # In so many waves the budget is drawn.
    waves = models.PositiveSmallIntegerField(default=4)
    # {"recall": weight, "fpr": ..., "accuracy": ..., "hack_rate": ...}
    focus = models.JSONField()
    # Aim at the differences between the audited verifiers, not at each.
    is_ranking = models.BooleanField(default=False)
    # The share of each wave that is spread in proportion over everything.
    floor = models.FloatField(default=0.15)
    # None: the run's primary verifier.
    verifiers = models.ManyToManyField(RunVerifier, related_name="+")
    # Slices of interest.
    slices = models.ManyToManyField(Slice, through="RuleSlice", related_name="rule_versions")
    # A label that contradicts the verdict gets a second blind review.
    reviews_contradictions = models.BooleanField(default=True)
    # The share of draws that get a second review whatever the first one says.
    second_review_share = models.FloatField(default=0.1)
    # The share of known answers mixed into the queue.
    gold_share = models.FloatField(default=0.0)
    shows_reference = models.BooleanField(default=True)
    # None: every reviewer of the project.
    reviewers = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+")
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["rule", "number"], name="rule_version_once"),
            models.CheckConstraint(
                condition=Q(budget__gte=1, waves__gte=1), name="rule_version_sizes_positive"
            ),
            models.CheckConstraint(
                condition=Q(budget_per__in=BudgetPer.values), name="rule_version_budget_known"
            ),
            models.CheckConstraint(
                condition=Q(
                    floor__gte=0,
                    floor__lte=1,
                    second_review_share__gte=0,
                    second_review_share__lte=1,
                    gold_share__gte=0,
                    gold_share__lte=0.5,
                ),
                name="rule_version_shares_in_range",
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.number} of {self.rule}"

    @property
    def has_second_reviews(self) -> bool:
        return self.reviews_contradictions or self.second_review_share > 0


class RuleSlice(models.Model):
    """A slice of interest of a version: a slice in use is not deleted."""

    version = models.ForeignKey(RuleVersion, on_delete=models.CASCADE, related_name="+")
    slice = models.ForeignKey(Slice, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["version", "slice"], name="rule_slice_once"),
        ]

    def __str__(self) -> str:
        return f"{self.slice} in {self.version}"


class WindowState(models.TextChoices):
    # The run has not finished the window's last step.
    COLLECTING = "collecting"
    OPEN = "open"
    CLOSED = "closed"


class Window(models.Model):
    """A bounded step range of a run: a closed frame once its last step is in."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    rule = models.ForeignKey(AuditRule, on_delete=models.PROTECT, related_name="windows")
    number = models.PositiveIntegerField()
    first_step = models.IntegerField()
    last_step = models.IntegerField()
    state = models.CharField(
        max_length=12, choices=WindowState.choices, default=WindowState.COLLECTING
    )
    # Keys the PRNs: whoever trains the policy must not be able to foresee the sample.
    secret = models.BinaryField(default=window_secret, editable=False)
    frame_size = models.BigIntegerField(null=True)
    # {estimand: half width}: what the budget was expected to give, fixed before the first wave.
    # Monitor intervals are tightest there.
    targets = models.JSONField(default=dict)
    # A lead ended it before its budget was used up.
    is_ended_early = models.BooleanField(default=False)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["first_step", "number"]
        constraints = [
            models.UniqueConstraint(fields=["rule", "number"], name="window_number_once"),
            models.CheckConstraint(
                condition=Q(last_step__gte=F("first_step")), name="window_steps_in_order"
            ),
            models.CheckConstraint(
                condition=Q(state__in=WindowState.values), name="window_state_known"
            ),
        ]

    def __str__(self) -> str:
        return f"steps {self.first_step}-{self.last_step}"


class FrameRow(models.Model):
    """One rollout in a window's frame, with its pseudo-random number.

    Written by one statement that reads its window, cells and rollouts: the database need not look
    each of them up again, which took three quarters of the time.
    """

    # Also the index that a draw walks: the next rollouts of a cell in PRN order.
    pk = models.CompositePrimaryKey("window_id", "cell_id", "prn", "rollout_id")
    window = models.ForeignKey(
        Window,
        on_delete=models.CASCADE,
        related_name="frame_rows",
        db_constraint=False,
        db_index=False,
    )
    cell = models.ForeignKey(
        Cell, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    # The first 63 bits of HMAC-SHA256(window secret, rollout uid).
    prn = models.BigIntegerField()
    # A purged rollout leaves its frame row behind: frame counts are never recomputed.
    rollout = models.ForeignKey(
        Rollout, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )

    def __str__(self) -> str:
        return f"rollout {self.rollout_id} in window {self.window_id}"


class FrameCell(models.Model):
    """How many rollouts of a cell the frame holds (N_m)."""

    window = models.ForeignKey(Window, on_delete=models.CASCADE, related_name="frame_cells")
    cell = models.ForeignKey(Cell, on_delete=models.PROTECT, related_name="+")
    rollouts = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["window", "cell"], name="frame_cell_once"),
        ]

    def __str__(self) -> str:
        return f"{self.cell}: {self.rollouts}"


class WaveState(models.TextChoices):
    OPEN = "open"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class Wave(models.Model):
    """One draw of a window, with everything the estimator needs of the moment it was made."""

    window = models.ForeignKey(Window, on_delete=models.CASCADE, related_name="waves")
    # The settings that it was drawn by, and that its items follow.
    version = models.ForeignKey(RuleVersion, on_delete=models.PROTECT, related_name="+")
    number = models.PositiveSmallIntegerField()
    # Labels planned at the draw (n_b): the wave's weight, also after nonresponse.
    planned = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=WaveState.choices, default=WaveState.OPEN)
    seed = models.BigIntegerField()
    drawn_at = models.DateTimeField(auto_now_add=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["window", "number"], name="wave_number_once"),
            # A wave is drawn from what the last one left: never two at a time.
            models.UniqueConstraint(
                fields=["window"], condition=Q(state="open"), name="one_open_wave_per_window"
            ),
            models.CheckConstraint(
                condition=Q(state__in=WaveState.values), name="wave_state_known"
            ),
        ]

    def __str__(self) -> str:
        return f"wave {self.number}"

    @property
    def is_open(self) -> bool:
        return self.state == WaveState.OPEN


class WaveCell(models.Model):
    """A cell as the wave saw it: what was left, its stratum, and the working model's belief."""

    wave = models.ForeignKey(Wave, on_delete=models.CASCADE, related_name="cells")
    cell = models.ForeignKey(Cell, on_delete=models.PROTECT, related_name="+")
    # R_bm: rollouts of the cell not drawn before this wave.
    remaining = models.BigIntegerField()
    # Null: nothing of the cell was left to draw.
    stratum = models.PositiveSmallIntegerField(null=True)
    # g = N_bh / n_bh of the cell's stratum.
    weight = models.FloatField(null=True)
    # f_{b-1,m} = P(correct) and q_{b-1,m} = P(hack and accepted) before this wave.
    p_correct = models.FloatField()
    p_hack = models.FloatField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["wave", "cell"], name="wave_cell_once"),
        ]

    def __str__(self) -> str:
        return f"{self.cell} in {self.wave}"


class Draw(models.Model):
    """One sampled rollout. Immutable: its weight is recorded, never recomputed."""

    window = models.ForeignKey(Window, on_delete=models.PROTECT, related_name="draws")
    wave = models.ForeignKey(Wave, on_delete=models.PROTECT, related_name="draws")
    rollout = models.ForeignKey(Rollout, on_delete=models.PROTECT, related_name="draws")
    cell = models.ForeignKey(Cell, on_delete=models.PROTECT, related_name="+")
    stratum = models.PositiveSmallIntegerField()
    prn = models.BigIntegerField()
    # Conditional weight g >= 1 of the wave's design; not 1/pi.
    weight = models.FloatField()

    class Meta:
        constraints = [
            # Not once per window: what a cancelled wave left unanswered can be drawn again.
            models.UniqueConstraint(fields=["wave", "rollout"], name="draw_once_per_wave"),
            models.CheckConstraint(condition=Q(weight__gte=1), name="draw_weight_at_least_one"),
        ]

    def __str__(self) -> str:
        return f"rollout {self.rollout_id} in {self.wave}"


class PickCause(models.TextChoices):
    LEAD = "lead", _("a lead's choice")
    APPEAL = "appeal", _("Appeal")
    REWARD = "reward", _("worth most to the reward")
    # A member of an answer class that a label of another member has settled.
    CLASS_CHECK = "class", _("second look at a settled answer")
    # Answered in a wave that was cancelled afterwards.
    CANCELLED = "cancelled", _("from a cancelled wave")


class Pick(models.Model):
    """A rollout labelled on purpose: known to later waves, never in their sampled part."""

    window = models.ForeignKey(Window, on_delete=models.PROTECT, related_name="picks")
    rollout = models.ForeignKey(Rollout, on_delete=models.PROTECT, related_name="picks")
    cell = models.ForeignKey(Cell, on_delete=models.PROTECT, related_name="+")
    cause = models.CharField(max_length=10, choices=PickCause.choices)
    # The number of the first wave that leaves it out of what can be drawn.
    known_from = models.PositiveSmallIntegerField()
    picked_by = models.CharField(max_length=200)
    note = models.TextField(default="", blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["window", "rollout"], name="pick_once_per_window"),
            models.CheckConstraint(
                condition=Q(cause__in=PickCause.values), name="pick_cause_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.cause} pick of rollout {self.rollout_id}"
