"""GRPO runs, the policies that made their rollouts, and the prompts (problems)."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models

from review.accounts.models import Project


class RunStatus(models.TextChoices):
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class Segmenter(models.TextChoices):
    """How a completion is cut into steps."""

    AUTO = "auto", "paragraphs, else lines, else sentences"
    BLANK_LINE = "blank_line", "blank lines"
    NUMBERED = "numbered", "its own numbering"
    SENTENCE = "sentence", "sentences"
    SOURCE = "source", "as the source sent them"


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
    segmenter = models.CharField(max_length=20, choices=Segmenter.choices, default=Segmenter.AUTO)
    # The rollouts with larger ids may still be cut by an earlier segmenter. Null: none is.
    recut_after = models.BigIntegerField(null=True)
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
            models.CheckConstraint(
                condition=models.Q(segmenter__in=Segmenter.values), name="run_segmenter_known"
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


class Fault(models.TextChoices):
    """What is wrong with a problem."""

    WRONG_REFERENCE = "wrong_reference", "wrong reference"
    AMBIGUOUS = "ambiguous"
    NO_ANSWER = "no_answer", "no answer"
    SEVERAL_ANSWERS = "several_answers", "several answers"
    OTHER = "other"


class ErratumState(models.TextChoices):
    OPEN = "open"
    UPHELD = "upheld"
    DISMISSED = "dismissed"
    # The label that reported it was taken back.
    WITHDRAWN = "withdrawn"


class Erratum(models.Model):
    """A problem is said to be broken; a lead decides."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="errata")
    fault = models.CharField(max_length=20, choices=Fault.choices)
    state = models.CharField(max_length=10, choices=ErratumState.choices, default=ErratumState.OPEN)
    note = models.TextField(default="", blank=True)
    opened_by = models.CharField(max_length=200)
    opened_at = models.DateTimeField(auto_now_add=True)
    decided_by = models.CharField(max_length=200, default="", blank=True)
    decided_at = models.DateTimeField(null=True)
    decision = models.TextField(default="", blank=True)

    class Meta:
        constraints = [
            # Reported again while it waits: the same erratum.
            models.UniqueConstraint(
                fields=["prompt", "fault"],
                condition=models.Q(state="open"),
                name="one_open_erratum_per_fault",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=ErratumState.values), name="erratum_state_known"
            ),
            models.CheckConstraint(
                condition=models.Q(fault__in=Fault.values), name="erratum_fault_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.fault}: {self.prompt}"
