from django import forms
from django.utils.translation import gettext_lazy as _

FORMAT_CHOICES = [
    ("jsonl", _("JSON lines: everything")),
    ("parquet", _("Parquet: everything")),
    ("processbench", _("ProcessBench: the earliest wrong step")),
    ("prm800k", _("PRM800K: steps rated up to the first wrong one")),
    ("preferences", _("Pairs of a right and a wrong answer, to train on")),
]


class ExportForm(forms.Form):
    format = forms.ChoiceField(label=_("As"), choices=FORMAT_CHOICES)
    names = forms.BooleanField(label=_("With reviewers' names"), required=False)
    holdout = forms.BooleanField(label=_("With the problems that are held out"), required=False)
