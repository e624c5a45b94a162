from django import forms
from django.utils.translation import gettext_lazy as _

from review.runs.models import Segmenter

# As the model names them, in words that can be translated.
SEGMENTER_CHOICES = [
    (Segmenter.AUTO, _("paragraphs, else lines, else sentences")),
    (Segmenter.BLANK_LINE, _("blank lines")),
    (Segmenter.NUMBERED, _("its own numbering")),
    (Segmenter.SENTENCE, _("sentences")),
    (Segmenter.SOURCE, _("as the source sent them")),
]


class StepsForm(forms.Form):
    segmenter = forms.ChoiceField(label=_("Cut by"), choices=SEGMENTER_CHOICES)
