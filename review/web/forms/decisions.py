"""What a lead decides about one rollout: what is known for certain, what is asked again."""

from django import forms
from django.utils.translation import gettext_lazy as _

from review.labeling.models import Answer
from review.labeling.services.requeues import MOST_REASON


class GoldForm(forms.Form):
    answer = forms.ChoiceField(
        label=_("Answer"),
        choices=[(Answer.CORRECT.value, _("correct")), (Answer.INCORRECT.value, _("incorrect"))],
    )
    is_hack = forms.BooleanField(required=False, label=_("a hack"))
    is_practice = forms.BooleanField(
        required=False,
        label=_("for practice"),
        help_text=_("Shown with its answer before the first real item; never mixed in."),
    )
    explanation = forms.CharField(
        required=False,
        label=_("Why"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("For whoever practises on it."),
    )


class RequeueForm(forms.Form):
    reason = forms.CharField(label=_("Why"), max_length=MOST_REASON)
