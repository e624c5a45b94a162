"""GRPO runs, the policies that made their rollouts, and the prompts (problems)."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models

from review.accounts.models import Project


class RunStatus(models.TextChoices):
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class Run(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="runs")
    uid = models.CharField(max_length=200)
    name = models.CharField(max_length=200)
    status = models.CharField(max_length=20, choices=RunStatus.choices, default=RunStatus.RUNNING)
    seed = models.BigIntegerField(null=True)
    config = models.JSONField(default=dict)
    group_size = models.PositiveIntegerField()
    # The named answer normaliser that gives rollouts their answer class.
    normaliser = models.CharField(max_length=40)
    # Counts per cell are kept by blocks of this many steps.
    step_block = models.PositiveIntegerField(default=1)
    # Every rollout of steps up to this one has been sent; a later one is refused.
    completed_step = models.IntegerField(default=-1)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "uid"], name="run_uid_once_per_project"),
            models.CheckConstraint(
                condition=models.Q(step_block__gte=1, group_size__gte=1),
                name="run_sizes_positive",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=RunStatus.values), name="run_status_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_running(self) -> bool:
        return self.status == RunStatus.RUNNING


class Policy(models.Model):
    """The model version that made a rollout."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="policies")
    uid = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "uid"], name="policy_uid_once_per_run"),
        ]

    def __str__(self) -> str:
        return self.uid


class Split(models.TextChoices):
    TRAIN = "train"
    EVAL = "eval"
    HOLDOUT = "holdout"


class Prompt(models.Model):
    """A problem with its references. Its uid is the client's, often just a number: a run's own."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="prompts")
    uid = models.CharField(max_length=200)
    text = models.TextField()
    references = ArrayField(models.TextField(), default=list)
    domain = models.CharField(max_length=60, default="general")
    source = models.CharField(max_length=120, default="", blank=True)
    licence = models.CharField(max_length=60, default="", blank=True)
    released_on = models.DateField(null=True)
    # The source's own level, 0 to 100. Null: the source gives none.
    difficulty = models.PositiveSmallIntegerField(null=True)
    split = models.CharField(max_length=10, choices=Split.choices, default=Split.TRAIN)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "uid"], name="prompt_uid_once_per_run"),
            models.CheckConstraint(
                condition=models.Q(split__in=Split.values), name="prompt_split_known"
            ),
            models.CheckConstraint(
                condition=models.Q(difficulty=None) | models.Q(difficulty__lte=100),
                name="prompt_difficulty_in_range",
            ),
        ]

    def __str__(self) -> str:
        return self.uid
