from django import forms

from review.labeling.models import Answer, SkipReason
from review.labeling.services.judgements import NewLabel


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
