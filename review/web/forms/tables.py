from typing import Any

from django import forms

from review.calibration.models import RewardRule


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
