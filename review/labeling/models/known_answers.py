"""Rollouts whose answers are known: for practice, and to tell how good a reviewer is."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from review.accounts.models import Project
from review.labeling.models.labels import Answer
from review.labeling.models.queues import Queue
from review.rollouts.models import Rollout


class GoldItem(models.Model):
    """A rollout whose answer is known for certain."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="gold_items")
    rollout = models.OneToOneField(Rollout, on_delete=models.PROTECT, related_name="gold_item")
    answer = models.CharField(
        max_length=12, choices=[(Answer.CORRECT, "correct"), (Answer.INCORRECT, "incorrect")]
    )
    is_hack = models.BooleanField(default=False)
    # For practice, with feedback; such an item is never mixed in among real ones.
    is_practice = models.BooleanField(default=False)
    # Why, for the feedback.
    explanation = models.TextField(default="", blank=True)
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


class PracticeAnswer(models.Model):
    """What somebody answered to a practice item of a queue, in which attempt."""

    queue = models.ForeignKey(Queue, on_delete=models.PROTECT, related_name="practice_answers")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="practice_answers"
    )
    gold = models.ForeignKey(GoldItem, on_delete=models.PROTECT, related_name="practice_answers")
    attempt = models.PositiveSmallIntegerField()
    answer = models.CharField(max_length=12, choices=Answer.choices)
    is_hack = models.BooleanField(null=True)
    is_right = models.BooleanField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["queue", "reviewer", "attempt", "gold"], name="practice_answer_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.answer} by {self.reviewer}, in practice"


class Qualification(models.Model):
    """A reviewer passed a queue's practice, or a lead let them in without it."""

    queue = models.ForeignKey(Queue, on_delete=models.PROTECT, related_name="qualifications")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="qualifications"
    )
    granted_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["queue", "reviewer"], name="qualification_once"),
        ]

    def __str__(self) -> str:
        return f"{self.reviewer} for {self.queue}"


class Pause(models.Model):
    """A reviewer is served nothing of a queue until a lead lifts it."""

    queue = models.ForeignKey(Queue, on_delete=models.PROTECT, related_name="pauses")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="pauses"
    )
    reason = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
    lifted_at = models.DateTimeField(null=True)
    lifted_by = models.CharField(max_length=200, default="", blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["queue", "reviewer"],
                condition=Q(lifted_at=None),
                name="one_pause_per_reviewer_and_queue",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.reviewer} in {self.queue}"
