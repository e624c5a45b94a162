"""A file's mapping as a lead gives it: which column gives which field, and what holds for all."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from django import forms
from django.utils.translation import gettext_lazy as _

from review.rollouts.importers.mapping import MOST_STEP, ColumnMapping, VerdictColumn
from review.rollouts.models import ImportFormat
from review.runs.models import Run
from review.web.forms.audits import Section

DOMAIN = r"^[A-Za-z0-9][A-Za-z0-9 _.-]*\Z"
MOST_VERDICTS = 5
CHANNELS = [
    ("correctness", _("correctness")),
    ("format", _("format")),
    ("process", _("process")),
    ("probe", _("hack probe")),
    ("monitor", _("monitor, never a reward")),
]
CHANNEL_WORDS = dict(CHANNELS)


class FormatForm(forms.Form):
    format = forms.ChoiceField(choices=ImportFormat.choices, label=_("Read the file as"))


class VerdictForm(forms.Form):
    column = forms.ChoiceField(label=_("Scores in"), required=False)
    threshold = forms.FloatField(
        label=_("Passes from"), initial=0.5, required=False, min_value=-1e9, max_value=1e9
    )
    channel = forms.ChoiceField(label=_("Judges"), choices=CHANNELS, required=False)

    def __init__(self, *args: Any, columns: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = cast("forms.ChoiceField", self.fields["column"])
        choices.choices = [("", _("none")), *((name, name) for name in columns if len(name) <= 80)]

    def verdict(self) -> VerdictColumn:
        data = self.cleaned_data
        threshold = 0.5 if data["threshold"] is None else data["threshold"]
        channel: Any = data["channel"] or "correctness"
        return VerdictColumn(column=data["column"], threshold=threshold, channel=channel)


class VerdictRows(forms.BaseFormSet):  # type: ignore[type-arg]  # generic in the stubs only
    def clean(self) -> None:
        names = [row.cleaned_data.get("column") for row in self.forms if row.is_valid()]
        chosen = [name for name in names if name]
        if len(set(chosen)) < len(chosen):
            raise forms.ValidationError(_("A column is named twice."))

    def verdicts(self) -> list[VerdictColumn]:
        return [row.verdict() for row in self.forms if row.cleaned_data.get("column")]


Verdicts: type[VerdictRows] = forms.formset_factory(  # type: ignore[assignment]
    VerdictForm, formset=VerdictRows, extra=0, max_num=MOST_VERDICTS, validate_max=True
)


def _column(label: Any, help_text: Any = "", *, required: bool = False) -> forms.ChoiceField:
    return forms.ChoiceField(label=label, help_text=help_text, required=required)


class MappingForm(forms.Form):
    sections_of = (
        (_("Where the rows go"), "", ("run", "run_name", "is_finishing"), False),
        (
            _("What a row holds"),
            "",
            ("prompt", "completion", "references", "extracted", "step", "at_step"),
            False,
        ),
        (
            _("Groups"),
            _("The completions of one prompt at one step. Their rows stand together in the file."),
            ("group", "group_size"),
            False,
        ),
        (
            _("More"),
            "",
            (
                *("policy", "domain", "source", "normaliser", "reward", "truncated", "tokens"),
                "uid",
            ),
            True,
        ),
    )
    columns_of = (
        *("prompt", "completion", "references", "extracted", "step", "group"),
        *("reward", "truncated", "tokens", "uid"),
    )

    run = forms.ChoiceField(label=_("Run"), required=False)
    run_name = forms.CharField(label=_("Name of a new run"), max_length=200, required=False)
    is_finishing = forms.BooleanField(
        label=_("The run is over when the file is in"),
        required=False,
        help_text=_(
            "Leave it open to add the files of later steps to it. Other files on their way into it "
            "are waited for."
        ),
    )
    prompt = _column(_("Problem"), required=True)
    completion = _column(_("Completion"), required=True)
    references = _column(_("Reference answers"))
    extracted = _column(
        _("Extracted answer"), _("None: found in the text as our own verifiers find it.")
    )
    step = _column(_("Step"))
    at_step = forms.IntegerField(
        label=_("Step of all rows"),
        min_value=0,
        max_value=MOST_STEP,
        initial=0,
        required=False,
        help_text=_("Where no column gives it."),
    )
    group = _column(_("Group"), _("None: rows with equal problems that follow each other."))
    group_size = forms.IntegerField(
        label=_("Completions of a group"),
        min_value=0,
        max_value=1_024,
        initial=0,
        required=False,
        help_text=_("Where no column tells groups apart. 0: as many as follow each other."),
    )
    policy = forms.CharField(
        label=_("Policy"), max_length=200, help_text=_("The model that wrote all this.")
    )
    domain = forms.RegexField(DOMAIN, label=_("Domain"), max_length=60)
    source = forms.CharField(label=_("Source of the problems"), max_length=120, required=False)
    normaliser = forms.ChoiceField(
        label=_("Answers are"),
        choices=[
            ("number-1", _("numbers or expressions, in a box")),
            ("squad-1", _("short texts: all of the completion")),
        ],
        help_text=_("A running run keeps its own."),
    )
    reward = _column(_("Reward"), _("What the trainer paid, if it is not the first verdict."))
    truncated = _column(_("Cut off"), _("True, or a stop reason such as length."))
    tokens = _column(_("Tokens"))
    uid = _column(_("Id of a rollout"), _("None: the file and the place in it."))

    def __init__(
        self, *args: Any, columns: Sequence[str], runs: Sequence[Run], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        for name in self.columns_of:
            field = cast("forms.ChoiceField", self.fields[name])
            none = [] if field.required else [("", _("none"))]
            field.choices = [*none, *((column, column) for column in columns)]
        choices = [("", _("a new run")), *((str(run.pk), run.name) for run in runs)]
        cast("forms.ChoiceField", self.fields["run"]).choices = choices
        if not runs:
            del self.fields["run"]

    def sections(self) -> Iterator[Section]:
        for heading, help_, names, is_folded in self.sections_of:
            fields = [self[name] for name in names if name in self.fields]
            yield Section(str(heading), str(help_), fields, is_folded)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not data.get("run") and not data.get("run_name"):
            self.add_error("run_name", _("A new run needs a name."))
        return data

    def mapping(self, verdicts: Sequence[VerdictColumn], kept: Mapping[str, Any]) -> ColumnMapping:
        """kept: what the format decides and nobody is asked."""
        data = self.cleaned_data
        names = (*self.columns_of, "policy", "domain", "source", "normaliser")
        return ColumnMapping(
            **{name: data[name] for name in names},
            at_step=data["at_step"] or 0,
            group_size=0 if data["group"] else data["group_size"] or 0,
            verdicts=list(verdicts),
            variant=str(kept.get("variant", "")),
            first_variant=str(kept.get("first_variant", "")),
        )
