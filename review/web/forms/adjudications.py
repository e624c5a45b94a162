from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from review.web.forms.labels import JudgementForm


class AdjudicationForm(JudgementForm):
    """A decision between labels; its reason takes the note's place."""

    reason = forms.CharField(
        label=_("Why"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2, "data-action": "note"}),
        error_messages={"required": _("Say why: whoever reads the record later wants to know.")},
    )
    # What was read; see labeling.adjudications.Case.
    basis = forms.CharField(widget=forms.HiddenInput)

    def __init__(self, data: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        del self.fields["note"]
