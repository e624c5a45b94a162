from django import forms

from review.accounts.models import Scope


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
