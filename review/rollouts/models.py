"""Groups of rollouts, each rollout with its steps, cell and answer class; slices of them.

Append-only; a purge blanks a rollout's texts and leaves its row.
"""

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _

from review.accounts.models import Project
from review.runs.models import Policy, Prompt, Run


class Cell(models.Model):
    """One cell of a run: a row of the dimension that everything statistical runs on."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="cells")
    key = models.CharField(max_length=400)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "key"], name="cell_once_per_run"),
        ]

    def __str__(self) -> str:
        return self.key


class Group(models.Model):
    """The completions of one prompt at one step."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="groups")
    uid = models.CharField(max_length=200)
    prompt = models.ForeignKey(Prompt, on_delete=models.PROTECT, related_name="groups")
    step = models.IntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "uid"], name="group_uid_once_per_run"),
            models.CheckConstraint(condition=models.Q(step__gte=0), name="group_step_not_negative"),
        ]

    def __str__(self) -> str:
        return self.uid


class Rollout(models.Model):
    """One completion."""

    # run and step repeat the group's: a window's frame is one range scan of this table.
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="rollouts")
    step = models.IntegerField()
    uid = models.CharField(max_length=200)
    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="rollouts")
    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="rollouts")
    cell = models.ForeignKey(Cell, on_delete=models.PROTECT, related_name="rollouts")
    # Null: a hedge, truncated or undecided; it is in no class.
    answer_class = models.TextField(null=True)  # noqa: DJ001
    # [{"role", "content"}, ...], as the client sent it; further keys: name, tool_calls, call_id.
    messages = models.JSONField()
    # [[message, start, end], ...]: the numbered steps, as character offsets into the messages.
    steps = models.JSONField()
    tokens = models.PositiveIntegerField(null=True)
    # 0 to 5, cut at slices.LENGTH_EDGES.
    length_bin = models.PositiveSmallIntegerField()
    is_truncated = models.BooleanField(default=False)
    is_probe_hit = models.BooleanField(default=False)
    # What the trainer rewarded it with, and by which table (null: the raw verdict). A null reward
    # beside a table: the rollout was left out of its group.
    reward = models.FloatField(null=True)
    table_version = models.PositiveIntegerField(null=True)
    received_at = models.DateTimeField(auto_now_add=True)
    # When its texts were blanked; all else about it stays, so that no count or weight changes.
    purged_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "uid"], name="rollout_uid_once_per_run"),
        ]
        # Writing a window's frame: every rollout of a run in a range of steps.
        indexes = [models.Index(fields=["run", "step"], name="rollout_by_run_and_step")]

    def __str__(self) -> str:
        return self.uid


class CellCount(models.Model):
    """Rollouts per step block, cell and slice fields, kept by the ingest.

    Estimates by slice and by step read these rows and never scan rollouts.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="cell_counts")
    block = models.IntegerField()
    cell = models.ForeignKey(Cell, on_delete=models.CASCADE, related_name="counts")
    policy = models.ForeignKey(Policy, on_delete=models.CASCADE, related_name="counts")
    source = models.CharField(max_length=120)
    length_bin = models.PositiveSmallIntegerField()
    difficulty = models.PositiveSmallIntegerField(null=True)
    rollouts = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["run", "block", "cell", "policy", "source", "length_bin", "difficulty"],
                name="cell_count_once",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.cell} in block {self.block}: {self.rollouts}"


class StepSummary(models.Model):
    """What the machine side says of one step: the cheap half of the gap chart."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="step_summaries")
    step = models.IntegerField()
    rollouts = models.BigIntegerField()
    accepted = models.BigIntegerField()
    abstained = models.BigIntegerField()
    # The newest table that a rollout of this step was rewarded by.
    table_version = models.PositiveIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "step"], name="step_summary_once"),
        ]

    def __str__(self) -> str:
        return f"step {self.step} of {self.run}"


class Slice(models.Model):
    """A named condition over fields fixed at ingest. Immutable: what uses it keeps its meaning."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="slices")
    name = models.CharField(max_length=100)
    # [{"field", "op", "value"}], all of which must hold.
    conditions = models.JSONField()
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="slice_name_once_per_project"),
        ]

    def __str__(self) -> str:
        return self.name


class ImportFormat(models.TextChoices):
    TRL = "trl", _("TRL completions (Parquet)")
    VERL = "verl", _("verl rollouts (JSONL)")
    INSPECT = "inspect", _("Inspect log (.eval)")
    LM_EVAL = "lm_eval", _("lm-eval samples (JSONL)")
    JSONL = "jsonl", _("JSON lines, by a mapping")
    PARQUET = "parquet", _("Parquet, by a mapping")


class ImportState(models.TextChoices):
    # The file is being sent, or waits for its mapping to be confirmed.
    UPLOADED = "uploaded"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Import(models.Model):
    """A file of rollouts that a lead brings. Its rows go in by chunks; refused ones are listed."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="imports")
    # Made when it starts.
    run = models.ForeignKey(Run, on_delete=models.CASCADE, null=True, related_name="imports")
    format = models.CharField(max_length=20, choices=ImportFormat.choices)
    # What its owner calls the file. Where it lies on the server follows from the id alone.
    file_name = models.CharField(max_length=200)
    bytes = models.BigIntegerField()
    # Which column gives which field, and what holds for all rows.
    mapping = models.JSONField(default=dict)
    state = models.CharField(
        max_length=10, choices=ImportState.choices, default=ImportState.UPLOADED
    )
    # How far it is: a killed worker's successor goes on from here.
    rows_read = models.BigIntegerField(default=0)
    rows_stored = models.BigIntegerField(default=0)
    rows_refused = models.BigIntegerField(default=0)
    bytes_read = models.BigIntegerField(default=0)
    # When it last got on: one that stands still has lost its worker.
    advanced_at = models.DateTimeField(null=True)
    # Why it failed, in words for the lead.
    problem = models.TextField(default="", blank=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=ImportState.values), name="import_state_known"
            ),
            models.CheckConstraint(
                condition=models.Q(format__in=ImportFormat.values), name="import_format_known"
            ),
        ]

    def __str__(self) -> str:
        return self.file_name


class RefusedRow(models.Model):
    """A row of an imported file that could not be stored, and why."""

    of = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="refused")
    # 1-based; a line of the file, or a row of the table in it.
    line = models.BigIntegerField()
    reason = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["of", "line"], name="refused_row_once"),
        ]

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"
