"""A slice as a lead writes it: a name and rows of conditions."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from review.rollouts.slices import FIELDS

OP_CHOICES = [
    ("is", _("is")),
    ("is_not", _("is not")),
    ("in", _("is one of")),
    ("at_least", _("at least")),
    ("at_most", _("at most")),
]
FIELD_CHOICES = [
    ("domain", _("domain")),
    ("source", _("source of the problem")),
    ("difficulty", _("difficulty")),
    ("policy", _("policy")),
    ("step", _("step")),
    ("outcome", _("verdict")),
    ("path", _("path of the verdict")),
    ("form", _("form of the answer")),
    ("signature", _("signature of the verdicts")),
    ("probe", _("hit by a probe")),
    ("score_bin", _("score, in tenths")),
    ("share_bin", _("answer's share in its group, 0 to 3")),
    ("length_bin", _("length, 0 to 5")),
]
TRUTHS = {"true": True, "yes": True, "false": False, "no": False}


class ConditionForm(forms.Form):
    field = forms.ChoiceField(label=_("Field"), choices=FIELD_CHOICES)
    op = forms.ChoiceField(choices=OP_CHOICES, label=_("Operator"))
    value = forms.CharField(label=_("Value"), max_length=2000)

    def has_changed(self) -> bool:
        """A row without a value is an empty one: its field and operator are chosen beforehand."""
        return bool(self["value"].value())

    def condition(self) -> dict[str, object]:
        data = self.cleaned_data
        return {"field": data["field"], "op": data["op"], "value": self._value()}

    def _value(self) -> object:
        """In the type that the field has; what does not fit stays a text, and is refused."""
        text = self.cleaned_data["value"].strip()
        field = FIELDS[self.cleaned_data["field"]]
        if self.cleaned_data["op"] == "in":
            return [part.strip() for part in text.split(",")]
        if field.low is not None:
            return int(text) if text.isdecimal() else text
        if True in field.choices:
            return TRUTHS.get(text.lower(), text)
        return text


class ConditionRows(forms.BaseFormSet):  # type: ignore[type-arg]  # generic in the stubs only
    def initial_form_count(self) -> int:
        """None of what is posted was there before: an added row may be left empty."""
        return 0 if self.is_bound else super().initial_form_count()

    def conditions(self) -> list[dict[str, object]]:
        return [row.condition() for row in self.filled()]

    def filled(self) -> list[ConditionForm]:
        return [row for row in self.forms if row.has_changed()]


Conditions: type[ConditionRows] = forms.formset_factory(  # type: ignore[assignment]
    ConditionForm,
    formset=ConditionRows,
    extra=0,
    min_num=1,
    max_num=20,
    validate_min=True,
    validate_max=True,
)


class SliceForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=100)


def with_another_row(posted: Any) -> Any:
    """The posted rows and an empty one, to be filled in."""
    data = posted.copy()
    data["form-TOTAL_FORMS"] = str(int(data.get("form-TOTAL_FORMS") or 0) + 1)
    return data
