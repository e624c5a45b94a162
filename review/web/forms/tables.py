from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from review.calibration.models import RewardRule
from review.rollouts.importers.mapping import MOST_STEP


class TableForm(forms.Form):
    rule = forms.ChoiceField(label=gettext_lazy("Rule"), choices=RewardRule.choices)
    valid_from_step = forms.IntegerField(
        label=gettext_lazy("Valid from step"), min_value=0, max_value=MOST_STEP
    )
    valid_to_step = forms.IntegerField(
        label=gettext_lazy("Valid to step"), min_value=0, max_value=MOST_STEP
    )
    abstain_over_half = forms.BooleanField(
        required=False,
        label=gettext_lazy(
            "Leave out a rejected kind of answer even where it is most of all rejections"
        ),
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        first, last = data.get("valid_from_step"), data.get("valid_to_step")
        if first is not None and last is not None and last < first:
            self.add_error("valid_to_step", _("The last step comes before the first."))
        return data
