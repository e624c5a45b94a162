"""Answer classes that a label has settled."""

from django.db import models
from django.db.models import Q

from review.labeling.models.labels import Answer, Label
from review.runs.models import Prompt, Run


class SettledClass(models.Model):
    """An answer class whose members all count as its label says: derived labels.

    Mixed: two members were labelled differently; the class is split and its derived labels are
    withdrawn.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="settled_classes")
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="settled_classes")
    answer_class = models.TextField()
    answer = models.CharField(
        max_length=12, choices=[(Answer.CORRECT, "correct"), (Answer.INCORRECT, "incorrect")]
    )
    label = models.ForeignKey(Label, on_delete=models.PROTECT, related_name="settled_classes")
    created_at = models.DateTimeField(auto_now_add=True)
    # The label that contradicts it.
    mixed_by = models.ForeignKey(
        Label, on_delete=models.PROTECT, null=True, related_name="classes_found_mixed"
    )
    mixed_at = models.DateTimeField(null=True)
    # The label that settled it was taken back.
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["prompt", "answer_class"],
                condition=Q(mixed_at=None, withdrawn_at=None),
                name="settled_class_once",
            ),
            models.CheckConstraint(
                condition=Q(answer__in=[Answer.CORRECT, Answer.INCORRECT]),
                name="settled_class_decided",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.answer_class}: {self.answer}"
