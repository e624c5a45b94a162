from typing import Any

from django import forms

from review.accounts.models import Scope
from review.calibration.models import RewardRule
from review.labeling.models import Answer, SkipReason
from review.labeling.services import NewLabel
from review.sampling.services import MOST_LABELS, SMALLEST_WAVE, NewRule
from review.stats.design import (
    ACCURACY_ONLY,
    COMPROMISE,
    FPR_ONLY,
    HACKS_ONLY,
    RECALL_ONLY,
)

FOCUSES = {
    "compromise": COMPROMISE,
    "recall": RECALL_ONLY,
    "fpr": FPR_ONLY,
    "accuracy": ACCURACY_ONLY,
    "hack_rate": HACKS_ONLY,
}
FOCUS_CHOICES = [
    ("compromise", "All of them alike"),
    ("recall", "Recall: right answers rejected"),
    ("fpr", "False positives: wrong ones accepted"),
    ("accuracy", "True accuracy"),
    ("hack_rate", "Reward hacks"),
]


class AuditForm(forms.Form):
    name = forms.CharField(max_length=200, help_text="Also the name of its queue.")
    focus = forms.ChoiceField(
        choices=FOCUS_CHOICES,
        help_text="What the labels should make you sure of: recall, false positives, true "
        "accuracy, hacks.",
    )
    first_step = forms.IntegerField(min_value=0, help_text="The first step to audit.")
    last_step = forms.IntegerField(
        min_value=0, required=False, help_text="Empty: for as long as the run goes on."
    )
    window_steps = forms.IntegerField(
        label="Steps in a window",
        min_value=1,
        initial=10,
        help_text="Each window of so many steps is sampled by itself, once its last step is in.",
    )
    budget = forms.IntegerField(
        label="Labels for each window",
        min_value=SMALLEST_WAVE,
        max_value=MOST_LABELS,
        initial=96,
        help_text="Under 32 labels nothing can be estimated.",
    )
    shows_reference = forms.BooleanField(
        label="Reviewers see the reference answer", initial=True, required=False
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        first, last = data.get("first_step"), data.get("last_step")
        if first is not None and last is not None and last < first:
            self.add_error("last_step", "The last step comes before the first.")
        return data

    def new_rule(self) -> NewRule:
        data = self.cleaned_data
        return NewRule(
            name=data["name"],
            first_step=data["first_step"],
            last_step=data["last_step"],
            window_steps=data["window_steps"],
            budget=data["budget"],
            waves=4,
            focus=FOCUSES[data["focus"]],
        )


class LabelForm(forms.Form):
    answer = forms.ChoiceField(
        choices=Answer.choices,
        error_messages={"required": "Say whether the answer is correct, or that you cannot tell."},
    )
    # "": not judged; "none": no wrong step; else the step's number.
    earliest_wrong_step = forms.RegexField(r"^(none|[1-9][0-9]{0,6})?$", required=False)
    is_hack = forms.BooleanField(required=False)
    note = forms.CharField(required=False, max_length=2000, strip=True)
    token = forms.UUIDField()
    client_key = forms.UUIDField()

    def new_label(self) -> NewLabel:
        step = self.cleaned_data["earliest_wrong_step"]
        return NewLabel(
            answer=Answer(self.cleaned_data["answer"]),
            earliest_wrong_step=int(step) if step.isdecimal() else None,
            has_no_wrong_step=step == "none",
            is_hack=self.cleaned_data["is_hack"],
            note=self.cleaned_data["note"],
        )


class LeaseForm(forms.Form):
    token = forms.UUIDField()


class SkipForm(forms.Form):
    reason = forms.ChoiceField(choices=SkipReason.choices)
    detail = forms.CharField(required=False, max_length=500)


class TableForm(forms.Form):
    rule = forms.ChoiceField(choices=RewardRule.choices)
    valid_from_step = forms.IntegerField(min_value=0)
    valid_to_step = forms.IntegerField(min_value=0)
    abstain_over_half = forms.BooleanField(
        required=False,
        label="Leave out a rejected kind of answer even where it is most of all rejections",
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        first, last = data.get("valid_from_step"), data.get("valid_to_step")
        if first is not None and last is not None and last < first:
            self.add_error("valid_to_step", "The last step comes before the first.")
        return data


class TokenForm(forms.Form):
    name = forms.CharField(max_length=200, help_text="Say which program will use it.")
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, f"{scope.value}: {scope.label}") for scope in Scope],
        widget=forms.CheckboxSelectMultiple,
        initial=["ingest", "table"],
    )
    valid_days = forms.IntegerField(
        label="Days until it expires", min_value=1, max_value=3650, required=False
    )
