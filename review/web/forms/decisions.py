"""What a lead decides about one rollout: what is known for certain, what is asked again."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from review.labeling.models import Answer
from review.labeling.services.requeues import MOST_REASON
from trainer.verifiers.probes import KINDS, known_families


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


class PromotionForm(forms.Form):
    kind = forms.ChoiceField(label=_("Tried on verifiers of"), choices=[(k, k) for k in KINDS])
    family = forms.ChoiceField(
        label=_("Family"), choices=lambda: [(f, f) for f in known_families()]
    )
    note = forms.CharField(label=_("What it attacks"), max_length=MOST_REASON)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("kind", "family"):
            # Names that a program gave are no words of the page's language.
            self.fields[name].widget.attrs["lang"] = "en"
