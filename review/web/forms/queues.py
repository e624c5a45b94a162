"""What a lead decides of a queue: what it asks, of whom, and how good they have to be."""

from typing import Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from review.labeling.models import Question, Queue
from review.labeling.services.queues import (
    FIXED_BY_LABELS,
    MOST_CRITERIA,
    MOST_CRITERION,
    MOST_INSTRUCTIONS,
    MOST_PRACTICE,
    QueueSettings,
    settings_of,
)
from review.web.forms.audits import PercentField

QUESTIONS = [
    (Question.STEP, _("The earliest wrong step")),
    (Question.CATEGORY, _("What kind of error it is")),
    (Question.FORMAT, _("Whether the format is kept")),
    (Question.HACK, _("Whether it is a reward hack, of which kind, and admitted")),
    (Question.REASONING, _("Whether the reasoning supports the answer")),
    (Question.PROBLEM, _("Whether the problem itself is broken")),
    (Question.CONFIDENCE, _("How sure the reviewer is")),
]


class LinesField(forms.CharField):
    """Short texts, one a line."""

    widget = forms.Textarea

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list | tuple) else value

    def clean(self, value: Any) -> Any:
        if isinstance(value, tuple):
            # A disabled field's first value.
            return value
        text = super().clean(value) or ""
        return tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


class QueueForm(forms.Form):
    questions = forms.MultipleChoiceField(
        label=_("Beside whether the answer is correct, ask"),
        choices=QUESTIONS,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_(
            "Only what is asked is shown, and only what is asked can be estimated: without hacks "
            "there is no hack rate, without steps no estimate about them."
        ),
    )
    rubric = LinesField(
        label=_("Rubric"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text=format_lazy(
            _(
                "One criterion a line, at most {most} of {letters} characters. Each is met, not "
                "met, or cannot be told."
            ),
            most=MOST_CRITERIA,
            letters=MOST_CRITERION,
        ),
    )
    instructions = forms.CharField(
        label=_("Instructions"),
        required=False,
        max_length=MOST_INSTRUCTIONS,
        widget=forms.Textarea(attrs={"rows": 8}),
        help_text=_("Markdown, with formulas. Reviewers read it on the queue's page."),
    )
    reveals = forms.BooleanField(
        label=_("After the commit, show what the verifiers said"),
        required=False,
        help_text=_("Never before. Whoever looks cannot take the label back any more."),
    )
    domains = LinesField(
        label=_("Domains of expertise"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_(
            "One a line. The queue is then for reviewers of one of these domains, and for those "
            "who have named none. Empty: for everybody who reviews here."
        ),
    )
    practice_size = forms.IntegerField(
        label=_("Practice items"),
        min_value=0,
        max_value=MOST_PRACTICE,
        help_text=_("To be answered, with feedback, before the first real item. 0: no practice."),
    )
    pass_mark = PercentField(label=_("Right in practice, at least, %"), min_value=1, max_value=100)
    gold_mark = PercentField(
        label=_("Right on known answers, at least, %"),
        min_value=1,
        max_value=99,
        required=False,
        help_text=_(
            "Whoever is surely less often right is paused, and you are told. Empty: nobody is."
        ),
    )

    def __init__(self, data: Any, *, queue: Queue, is_fixed: bool) -> None:
        settings = settings_of(queue)
        initial = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
        super().__init__(data, initial=initial)
        for name in FIXED_BY_LABELS:
            # A disabled field keeps its first value, whatever is sent.
            self.fields[name].disabled = is_fixed

    def settings(self) -> QueueSettings:
        return QueueSettings(**self.cleaned_data | {"questions": self._questions()})

    def _questions(self) -> tuple[str, ...]:
        asked = self.cleaned_data["questions"]
        return tuple(name for name in Question.values if name in asked)
