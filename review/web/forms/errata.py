from django import forms
from django.utils.translation import gettext_lazy as _

UPHOLD, DISMISS = "uphold", "dismiss"


class ErratumForm(forms.Form):
    decision = forms.ChoiceField(choices=[(UPHOLD, _("Uphold")), (DISMISS, _("Dismiss"))])
    reason = forms.CharField(max_length=2000)

    @property
    def is_upheld(self) -> bool:
        return bool(self.cleaned_data["decision"] == UPHOLD)
