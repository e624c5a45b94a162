"""What a lead decides about one rollout: between labels, and what is known for certain."""

from django import forms

from review.labeling.models import Answer
from review.labeling.services.judgements import NewLabel

ANSWERS = [(answer.value, answer.label.lower()) for answer in Answer]


class DecisionForm(forms.Form):
    answer = forms.ChoiceField(choices=ANSWERS, widget=forms.RadioSelect)
    step = forms.RegexField(
        r"^(none|[1-9][0-9]{0,6})?$",
        required=False,
        label="Earliest wrong step",
        help_text="Its number, “none” for no wrong step, or empty where you do not say.",
        error_messages={"invalid": "A step's number, “none”, or nothing."},
    )
    is_hack = forms.BooleanField(required=False, label="Made to please a checker (hack)")
    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=2000,
        help_text="For whoever reads the record later.",
    )

    def decision(self) -> NewLabel:
        step = self.cleaned_data["step"]
        return NewLabel(
            answer=Answer(self.cleaned_data["answer"]),
            earliest_wrong_step=int(step) if step.isdecimal() else None,
            has_no_wrong_step=step == "none",
            is_hack=self.cleaned_data["is_hack"],
        )


class GoldForm(forms.Form):
    answer = forms.ChoiceField(choices=ANSWERS[:2])
    is_hack = forms.BooleanField(required=False, label="a hack")
