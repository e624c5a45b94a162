from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from review.accounts.models import Scope


class TokenForm(forms.Form):
    name = forms.CharField(
        label=_("Name"), max_length=200, help_text=_("Say which program will use it.")
    )
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        choices=[(scope.value, format_lazy("{}: {}", scope.value, scope.label)) for scope in Scope],
        widget=forms.CheckboxSelectMultiple,
        initial=["ingest", "table"],
    )
    valid_days = forms.IntegerField(
        label=_("Days until it expires"), min_value=1, max_value=3650, required=False
    )
