"""Verifier versions, their verdicts and their replays: what the machine said."""

import uuid

from django.db import models

from review.accounts.models import Project
from review.rollouts.models import CellCount, Rollout
from review.runs.models import Run

# Of a verdict's record, as JSON.
MOST_RECORD_BYTES, MOST_RECORD_LEVELS = 64 * 1024, 50


class Channel(models.TextChoices):
    CORRECTNESS = "correctness"
    FORMAT = "format"
    PROCESS = "process"
    PROBE = "probe"
    # A detector may sort a queue, never enter a reward.
    MONITOR = "monitor"


class VerifierVersion(models.Model):
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="verifiers")
    name = models.CharField(max_length=80)
    version = models.CharField(max_length=40)
    channel = models.CharField(max_length=20, choices=Channel.choices)
    # What the built-in verifier of this name is built with; null: the server cannot run it itself.
    params = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name", "version"], name="verifier_version_once"
            ),
            models.CheckConstraint(
                condition=models.Q(channel__in=Channel.values), name="verifier_channel_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class RunVerifier(models.Model):
    """A verifier of a run. The correctness verifiers, in order, make the signature."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="run_verifiers")
    verifier = models.ForeignKey(VerifierVersion, on_delete=models.PROTECT, related_name="in_runs")
    position = models.PositiveIntegerField()
    weight = models.FloatField(default=1.0)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["run", "verifier"], name="run_verifier_once"),
            models.UniqueConstraint(fields=["run", "position"], name="run_verifier_position_once"),
        ]

    def __str__(self) -> str:
        return f"{self.verifier} in {self.run}"


class Outcome(models.TextChoices):
    PASS = "pass"  # noqa: S105  (a verdict, not a password)
    FAIL = "fail"
    UNDECIDED = "undecided"


class Verdict(models.Model):
    """One verifier's judgement of one rollout. Append-only."""

    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="verdicts")
    verifier = models.ForeignKey(VerifierVersion, on_delete=models.PROTECT, related_name="verdicts")
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    score = models.FloatField(null=True)
    extracted = models.TextField(null=True)  # noqa: DJ001  (nothing extracted is not "")
    path = models.CharField(max_length=24)
    form = models.CharField(max_length=24)
    candidates = models.PositiveIntegerField()
    seconds = models.FloatField()
    detail = models.TextField(default="", blank=True)
    # What a judge was asked and what it said; blanked with the rollout's texts.
    record = models.JSONField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rollout", "verifier"], name="verdict_once"),
            models.CheckConstraint(
                condition=models.Q(outcome__in=Outcome.values), name="verdict_outcome_known"
            ),
            models.CheckConstraint(
                condition=models.Q(score=None) | models.Q(score__gte=0, score__lte=1),
                name="verdict_score_in_unit_interval",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verifier}: {self.outcome}"


class VerdictCount(models.Model):
    """What a correctness verifier that came after the ingest says of a row of counted rollouts.

    The run's own verdicts are in the cell's signature. The counts of a row add up to the rollouts
    in it that the verifier has judged so far.
    """

    cell_count = models.ForeignKey(
        CellCount, on_delete=models.CASCADE, related_name="verdict_counts"
    )
    verifier = models.ForeignKey(
        VerifierVersion, on_delete=models.CASCADE, related_name="verdict_counts"
    )
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    rollouts = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["cell_count", "verifier", "outcome"], name="verdict_count_once"
            ),
            models.CheckConstraint(
                condition=models.Q(outcome__in=Outcome.values), name="verdict_count_outcome_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verifier}: {self.outcome} {self.rollouts} times"


class ReplayState(models.TextChoices):
    # A worker times the verifier on a few rollouts.
    MEASURING = "measuring"
    # What it costs is known; a lead decides.
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (ReplayState.MEASURING, ReplayState.WAITING, ReplayState.RUNNING)


class Replay(models.Model):
    """A verifier judging a run's stored rollouts, by chunks in the order of their ids."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="replays")
    verifier = models.ForeignKey(VerifierVersion, on_delete=models.PROTECT, related_name="replays")
    state = models.CharField(
        max_length=10, choices=ReplayState.choices, default=ReplayState.MEASURING
    )
    # What it costs, said before it starts: rollouts that the verifier has not judged, seconds by
    # one worker; of a judge calls and tokens, at least. Null: not known.
    rollouts = models.BigIntegerField(null=True)
    seconds = models.FloatField(null=True)
    calls = models.BigIntegerField(null=True)
    tokens = models.BigIntegerField(null=True)
    # It covers the rollouts up to this one, the run's newest when it was started.
    until = models.BigIntegerField(null=True)
    # How far it is: a killed worker's successor goes on behind this rollout.
    after = models.BigIntegerField(default=0)
    judged = models.BigIntegerField(default=0)
    undecided = models.BigIntegerField(default=0)
    # Left out: their texts are gone.
    purged = models.BigIntegerField(default=0)
    # Workers that have begun since it last got on; a rollout that kills them stops it.
    attempts = models.PositiveSmallIntegerField(default=0)
    # When it last got on: one that stands still has lost its worker.
    advanced_at = models.DateTimeField(auto_now_add=True)
    # Why it failed, in words for the lead.
    problem = models.TextField(default="", blank=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=ReplayState.values), name="replay_state_known"
            ),
            models.UniqueConstraint(
                fields=["run", "verifier"],
                condition=models.Q(state__in=UNFINISHED),
                name="replay_once_at_a_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verifier} over {self.run}"


class ProbeState(models.TextChoices):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class ProbeRun(models.Model):
    """The probe suite run against a verifier. What it found is kept, one row for each time."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    verifier = models.ForeignKey(
        VerifierVersion, on_delete=models.PROTECT, related_name="probe_runs"
    )
    state = models.CharField(max_length=10, choices=ProbeState.choices, default=ProbeState.RUNNING)
    # As `trainer.verifiers.probes.to_json` gives it; null until it is done.
    result = models.JSONField(null=True)
    # Workers that have begun; what kills them stops it.
    attempts = models.PositiveSmallIntegerField(default=0)
    problem = models.TextField(default="", blank=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=ProbeState.values), name="probe_state_known"
            ),
            models.CheckConstraint(
                condition=models.Q(state=ProbeState.DONE) ^ models.Q(result__isnull=True),
                name="probe_result_when_done",
            ),
            models.UniqueConstraint(
                fields=["verifier"],
                condition=models.Q(state=ProbeState.RUNNING),
                name="probe_once_at_a_time",
            ),
        ]

    def __str__(self) -> str:
        return f"probes of {self.verifier}"


class PromotedAttack(models.Model):
    """A rollout that people call a reward hack, as an attack of its project's suite.

    Its texts are read from the rollout: with them it leaves the suite.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="attacks")
    rollout = models.OneToOneField(Rollout, on_delete=models.CASCADE, related_name="attack")
    # What it is tried on: a kind of the suite.
    kind = models.CharField(max_length=24)
    family = models.CharField(max_length=24)
    # Which property of a verifier it attacks.
    note = models.TextField()
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"promoted-{self.pk}"
