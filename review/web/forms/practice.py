from collections.abc import Mapping
from typing import Any

from django import forms

from review.labeling.models import Answer
from review.web.forms.labels import JudgementForm

ASKED = ("answer", "is_hack")


class PracticeForm(JudgementForm):
    """Of what a queue asks only what is known of its practice items."""

    # Which item was read, in which attempt.
    item = forms.IntegerField(widget=forms.HiddenInput)
    attempt = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, data: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        for name in set(self.fields) - {*ASKED, "item", "attempt"}:
            del self.fields[name]

    @property
    def criteria(self) -> list[forms.BoundField]:
        return []

    @property
    def said(self) -> dict[str, Any]:
        return {
            "answer": Answer(self.cleaned_data["answer"]),
            "is_hack": self.cleaned_data.get("is_hack"),
        }
