"""A built-in verifier as a lead asks for it: its name, and a field for each of its parameters."""

import json
import re
from collections.abc import Sequence
from typing import Any, cast

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from review.verifiers.built_in import MOST_BYTES
from review.verifiers.errors import UnusableVerifierError
from review.verifiers.models import VerifierVersion
from trainer.verifiers import known_names, parameters_of

# Names that a program gave are no words of any page's language.
AS_IT_IS = {"lang": "en"}


def _names() -> list[tuple[str, str]]:
    return [(name, name) for name in known_names()]


class VerifierForm(forms.Form):
    verifier = forms.ChoiceField(
        label=gettext_lazy("Verifier"), choices=_names, widget=forms.Select(attrs=AS_IT_IS)
    )


class ParametersForm(forms.Form):
    """prefix: keeps a parameter's name apart from what else a form sends."""

    prefix = "param"

    def __init__(self, name: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.defaults = {each.name: each.default for each in parameters_of(name)}
        for parameter, default in self.defaults.items():
            self.fields[parameter] = _field(parameter, default)

    def chosen(self) -> dict[str, Any]:
        """The parameters that are not as they come, as JSON holds them."""
        return {
            name: value
            for name, value in self.cleaned_data.items()
            if value is not None and value != _as_json(self.defaults[name])
        }

    def refuse(self, error: UnusableVerifierError) -> None:
        """Say what was wrong at the field that it is about."""
        for name, rule in error.fields.items():
            place = name.removeprefix("params.")
            # Of "criteria[0].weight" the field is criteria.
            parameter = re.split(r"[.\[]", place)[0]
            is_field = parameter in self.fields
            said = rule if place in (parameter, "verifier", "params") else f"{place}: {rule}"
            self.add_error(parameter if is_field else None, said)


def _as_json(default: Any) -> Any:
    """With lists for tuples."""
    return json.loads(json.dumps(default))


def _field(name: str, default: Any) -> forms.Field:
    options: dict[str, Any] = {"label": name, "required": False, "initial": default}
    if isinstance(default, bool):
        return forms.BooleanField(**options)
    if isinstance(default, int):
        return forms.IntegerField(**options)
    if isinstance(default, float):
        return forms.FloatField(**options, widget=forms.NumberInput(attrs={"step": "any"}))
    if isinstance(default, str):
        widget = forms.Textarea(attrs={"rows": 3}) if "\n" in default else forms.TextInput()
        return forms.CharField(**options, widget=widget, strip=False, max_length=MOST_BYTES)
    # A list or an object takes several lines.
    rows = 2 if default is None else 5
    return JsonField(**options, max_length=MOST_BYTES, widget=forms.Textarea(attrs={"rows": rows}))


class JsonField(forms.CharField):
    """A list, an object or a value that may be missing, written as JSON; empty: as it comes."""

    def prepare_value(self, value: Any) -> Any:
        if value is None or isinstance(value, str):
            return value or ""
        return json.dumps(value, ensure_ascii=False)

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            if self.initial is None:
                return text
            raise forms.ValidationError(_("Write it as JSON.")) from None

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(super().has_changed(self.prepare_value(initial), data))


class PairForm(forms.Form):
    """Two different verifiers that have judged the run."""

    first = forms.ChoiceField(label=gettext_lazy("Verifier"), widget=forms.Select(attrs=AS_IT_IS))
    second = forms.ChoiceField(label=gettext_lazy("Against"), widget=forms.Select(attrs=AS_IT_IS))

    def __init__(self, judges: Sequence[VerifierVersion], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.judges = {str(judge.pk): judge for judge in judges}
        for name in ("first", "second"):
            field = cast("forms.ChoiceField", self.fields[name])
            field.choices = [(pk, str(judge)) for pk, judge in self.judges.items()]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("first") and data.get("first") == data.get("second"):
            self.add_error("second", _("Choose another one."))
        return data

    def pair(self) -> tuple[VerifierVersion, VerifierVersion]:
        data = self.cleaned_data
        return self.judges[data["first"]], self.judges[data["second"]]
