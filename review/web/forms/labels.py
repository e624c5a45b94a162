"""What a person is asked of a rollout: only what the queue's schema holds."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from review.labeling.errors import InvalidLabelError
from review.labeling.models import (
    Answer,
    Confidence,
    Criterion,
    ErrorCategory,
    HackKind,
    Judgement,
    Question,
    Queue,
    SkipReason,
)
from review.labeling.services.judgements import MOST_NOTE, NewLabel
from review.labeling.services.labels import MOST_OBJECTION
from review.runs.models import Fault

NOT_SAID = ("", _("Not said"))
ANSWERS = [
    (Answer.CORRECT.value, _("Correct")),
    (Answer.INCORRECT.value, _("Incorrect")),
    (Answer.CANNOT_TELL.value, _("Can't tell")),
]
CATEGORIES = [
    (ErrorCategory.CALCULATION.value, _("Calculation")),
    (ErrorCategory.LOGIC.value, _("Logic")),
    (ErrorCategory.MISREAD.value, _("Misread problem")),
    (ErrorCategory.UNJUSTIFIED.value, _("Unjustified claim")),
    (ErrorCategory.HALLUCINATED.value, _("Hallucinated fact")),
    (ErrorCategory.CONTRADICTION.value, _("Contradiction")),
    (ErrorCategory.INCOMPLETE.value, _("Incomplete")),
    (ErrorCategory.OTHER.value, _("Other")),
]
HACK_KINDS = [
    (HackKind.ENUMERATION.value, _("Enumeration")),
    (HackKind.SEVERAL_BOXES.value, _("Several boxes")),
    (HackKind.TESTS.value, _("Hard-coded tests")),
    (HackKind.JUDGE_INJECTION.value, _("Judge injection")),
    (HackKind.FORMAT_GAMING.value, _("Format gaming")),
    (HackKind.OTHER.value, _("Other")),
]
FAULTS = [
    (Fault.WRONG_REFERENCE.value, _("Wrong reference")),
    (Fault.AMBIGUOUS.value, _("Ambiguous")),
    (Fault.NO_ANSWER.value, _("No answer")),
    (Fault.SEVERAL_ANSWERS.value, _("Several answers")),
    (Fault.OTHER.value, _("Other")),
]
CONFIDENCES = [
    (Confidence.UNSURE.value, _("Unsure")),
    (Confidence.FAIRLY_SURE.value, _("Fairly sure")),
    (Confidence.CERTAIN.value, _("Certain")),
]
CRITERIA = [
    (Criterion.MET.value, _("Met")),
    (Criterion.NOT_MET.value, _("Not met")),
    (Criterion.CANNOT_TELL.value, _("Can't tell")),
]

# The fields by which each question is answered.
FIELDS_OF = {
    Question.STEP: ("earliest_wrong_step",),
    Question.CATEGORY: ("error_category",),
    Question.FORMAT: ("is_format_kept",),
    Question.HACK: ("is_hack", "hack_kind", "is_hack_admitted"),
    Question.REASONING: ("is_answer_supported",),
    Question.PROBLEM: ("problem_fault",),
    Question.CONFIDENCE: ("confidence",),
}
# Where the services call a field otherwise than the form.
FIELD_NAMES = {"no_wrong_step": "earliest_wrong_step"}
MOST_ACTIVE_MS = 2**31 - 1


# What a choice looks like; the empty one is needed without the script only.
TONES = {
    "": "only-without-js",
    **dict.fromkeys(["yes", "correct", "met"], "choice-good"),
    **dict.fromkeys(["no", "incorrect", "not_met"], "choice-bad"),
}


class KeyedRadio(forms.RadioSelect):
    """Radios with the action, and so the key, that chooses each; or a digit, where they are many.

    web/_choices.html writes them. The empty choice, for which there is no key, is only needed
    without the script: with it, choosing what is chosen takes it back.
    """

    def __init__(self, actions: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.actions = actions
        self.keys: Mapping[str, str] = {}

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option = super().create_option(name, value, *args, **kwargs)
        option["tone"] = TONES.get(str(value), "")
        if not self.keys:
            return option
        if self.actions is None and value != "":
            # The first choice is the empty one, unless one of them must be chosen.
            option["key"] = str(int(option["index"]) + (1 if self.is_required else 0))
        elif action := (self.actions or {}).get(str(value)):
            option |= {"action": action, "key": self.keys[action]}
        return option


class KeyedCheckbox(forms.CheckboxInput):
    def __init__(self, action: str) -> None:
        super().__init__({"data-action": action, "aria-describedby": "is_hack_help"})


def _said(choices: list[Any], actions: Mapping[str, str] | None = None) -> forms.ChoiceField:
    """A choice that need not be made."""
    widget = KeyedRadio(actions)
    return forms.ChoiceField(choices=[NOT_SAID, *choices], required=False, widget=widget)


def _yes_or_no(yes: Any, no: Any, actions: tuple[str, str]) -> forms.ChoiceField:
    return _said([("yes", yes), ("no", no)], dict(zip(("yes", "no"), actions, strict=True)))


class JudgementForm(forms.Form):
    """What a person says of a rollout; web/_judgement.html shows it."""

    answer = forms.ChoiceField(
        choices=ANSWERS,
        widget=KeyedRadio(
            {"correct": "correct", "incorrect": "incorrect", "cannot_tell": "cannot_tell"}
        ),
        error_messages={
            "required": _("Say whether the answer is correct, or that you cannot tell.")
        },
    )
    # "": not judged; "none": no wrong step; else the step's number.
    earliest_wrong_step = forms.RegexField(r"^(none|[1-9][0-9]{0,6})?$", required=False)
    error_category = _said(CATEGORIES)
    is_format_kept = _yes_or_no(_("Kept"), _("Broken"), ("format_kept", "format_broken"))
    is_hack = forms.BooleanField(required=False, widget=KeyedCheckbox("hack"))
    hack_kind = _said(HACK_KINDS)
    is_hack_admitted = _yes_or_no(
        _("Admitted"), _("Not admitted"), ("hack_admitted", "hack_not_admitted")
    )
    is_answer_supported = _yes_or_no(_("Yes"), _("No"), ("supported", "unsupported"))
    problem_fault = _said(FAULTS)
    confidence = _said(CONFIDENCES, {"1": "unsure", "2": "fairly_sure", "3": "certain"})
    note = forms.CharField(required=False, max_length=MOST_NOTE, strip=True)

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        queue: Queue,
        keys: Mapping[str, str] | None = None,
        initial: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data, initial=dict(initial or {}), auto_id="%s")
        self.queue = queue
        for name in self._unasked():
            del self.fields[name]
        for number, criterion in enumerate(queue.rubric):
            self.fields[f"criterion-{number}"] = forms.ChoiceField(
                choices=CRITERIA,
                label=criterion,
                widget=KeyedRadio(),
                error_messages={"required": _("Say whether it is met, or that you cannot tell.")},
            )
        for field in self.fields.values():
            if isinstance(field.widget, KeyedRadio):
                field.widget.keys = keys or {}

    def _unasked(self) -> list[str]:
        asked = set(self.queue.questions)
        if Question.STEP not in asked:
            asked.discard(Question.CATEGORY)
        return [name for each, names in FIELDS_OF.items() if each not in asked for name in names]

    @property
    def criteria(self) -> list[forms.BoundField]:
        return [self[f"criterion-{number}"] for number in range(len(self.queue.rubric))]

    def clean(self) -> dict[str, Any]:
        """Beside its field what contradicts another one: without a script nothing prevents it."""
        said = super().clean() or self.cleaned_data
        step = said.get("earliest_wrong_step", "")
        if said.get("error_category") and not step.isdecimal():
            self.add_error("error_category", _("Mark the wrong step that it belongs to."))
        for name in ("hack_kind", "is_hack_admitted"):
            if said.get(name) and not said.get("is_hack"):
                self.add_error(name, _("Only a hack has this: tick Hack, or leave it out."))
        return said

    def new_label(self) -> NewLabel:
        said = self.cleaned_data
        step = said.get("earliest_wrong_step", "")
        return NewLabel(
            answer=Answer(said["answer"]),
            earliest_wrong_step=int(step) if step.isdecimal() else None,
            has_no_wrong_step=step == "none",
            error_category=said.get("error_category", ""),
            is_format_kept=_is_yes(said.get("is_format_kept")),
            is_hack=said.get("is_hack"),
            hack_kind=said.get("hack_kind", ""),
            is_hack_admitted=_is_yes(said.get("is_hack_admitted")),
            is_answer_supported=_is_yes(said.get("is_answer_supported")),
            problem_fault=said.get("problem_fault", ""),
            confidence=int(said["confidence"]) if said.get("confidence") else None,
            criteria=tuple(said[f"criterion-{n}"] for n in range(len(self.queue.rubric))),
            note=said.get("note", ""),
            active_ms=said.get("active_ms"),
        )

    def add_refusal(self, error: InvalidLabelError) -> None:
        """What the service refuses, beside the field that it names."""
        for name, reason in error.fields.items():
            field = FIELD_NAMES.get(name, name)
            if field in self.fields:
                self.add_error(field, reason)
            else:
                self.add_error(None, f"{error.message} {name}: {reason}")
        if not error.fields:
            self.add_error(None, error.message)


class LabelForm(JudgementForm):
    token = forms.UUIDField()
    client_key = forms.UUIDField()
    active_ms = forms.IntegerField(required=False, min_value=0, max_value=MOST_ACTIVE_MS)


# A field of one's own draft is shown as it was sent, so only its length is bounded.
MOST_DRAFTED = 1000


def draft_body(sent: Mapping[str, Any], queue: Queue) -> dict[str, str]:
    """What is filled in so far, right or wrong, of the fields that the queue asks for."""
    names = set(LabelForm(queue=queue).fields) - {"token", "client_key"}
    said = {name: str(sent[name]) for name in names if sent.get(name)}
    return {
        name: value[: MOST_NOTE if name == "note" else MOST_DRAFTED] for name, value in said.items()
    }


def _is_yes(said: str | None) -> bool | None:
    return said == "yes" if said else None


def filled_in(judgement: Judgement) -> dict[str, str]:
    """The form's fields as somebody must have filled them in to say this."""
    step = "none" if judgement.has_no_wrong_step else str(judgement.earliest_wrong_step or "")
    said = {
        "answer": judgement.answer,
        "earliest_wrong_step": step,
        "error_category": judgement.error_category,
        "is_format_kept": _yes_no(judgement.is_format_kept),
        "is_hack": "on" if judgement.is_hack else "",
        "hack_kind": judgement.hack_kind,
        "is_hack_admitted": _yes_no(judgement.is_hack_admitted),
        "is_answer_supported": _yes_no(judgement.is_answer_supported),
        "problem_fault": judgement.problem_fault,
        "confidence": str(judgement.confidence or ""),
        "note": getattr(judgement, "note", ""),
    } | {f"criterion-{number}": said for number, said in enumerate(judgement.criteria)}
    return {name: value for name, value in said.items() if value}


def _yes_no(said: bool | None) -> str:
    return {None: "", True: "yes", False: "no"}[said]


class ObjectionForm(forms.Form):
    note = forms.CharField(
        label=_("What you would answer now, and why"),
        max_length=MOST_OBJECTION,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class LeaseForm(forms.Form):
    token = forms.UUIDField()


class SkipForm(forms.Form):
    reason = forms.ChoiceField(choices=SkipReason.choices, label=_("Reason"))
    detail = forms.CharField(required=False, max_length=500, label=_("Detail"))
