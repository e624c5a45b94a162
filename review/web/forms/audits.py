"""What a lead writes of an audit: the rule, its settings, picks."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from review.accounts.models import Role, User
from review.rollouts.importers.mapping import MOST_STEP
from review.rollouts.models import Slice
from review.rollouts.queries import slices_of
from review.runs.models import Run
from review.sampling.models import BudgetPer, RuleVersion
from review.sampling.services.rules import (
    MOST_GOLD,
    MOST_LABELS,
    REVIEWERS_FOR_SECOND_REVIEWS,
    SMALLEST_WAVE,
    NewRule,
    RuleSettings,
    default_waves,
)
from review.stats.design import (
    ACCURACY_ONLY,
    COMPROMISE,
    FPR_ONLY,
    HACKS_ONLY,
    RECALL_ONLY,
    Focus,
)
from review.verifiers.models import Channel, RunVerifier

FOCUSES = {
    "compromise": COMPROMISE,
    "recall": RECALL_ONLY,
    "fpr": FPR_ONLY,
    "accuracy": ACCURACY_ONLY,
    "hack_rate": HACKS_ONLY,
}
RANKING, OWN = "ranking", "own"
FOCUS_CHOICES = [
    ("compromise", _("All four alike")),
    ("recall", _("Recall: right answers rejected")),
    ("fpr", _("False positives: wrong ones accepted")),
    ("accuracy", _("True accuracy")),
    ("hack_rate", _("Reward hacks")),
    (RANKING, _("Which verifier is better")),
    (OWN, _("Weights of your own")),
]
WEIGHTS = {
    "weight_recall": "recall",
    "weight_fpr": "fpr",
    "weight_accuracy": "accuracy",
    "weight_hack_rate": "hack_rate",
}
MOST_PICKS = 200


class PercentField(forms.FloatField):
    """A share, written and read as per cent."""

    def to_python(self, value: Any) -> Any:
        number = super().to_python(value)
        return None if number is None else number / 100

    def validate(self, value: Any) -> None:
        super().validate(cast("float", value if value is None else 100 * value))

    def run_validators(self, value: Any) -> None:
        super().run_validators(None if value is None else 100 * value)

    def prepare_value(self, value: Any) -> Any:
        return f"{100 * value:g}" if isinstance(value, int | float) else value


class PeopleField(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]  # in the stubs only
    def label_from_instance(self, obj: Any) -> str:
        return str(obj.get_username())


class VerifierField(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]  # the same
    def label_from_instance(self, obj: Any) -> str:
        if obj.position:
            return str(obj.verifier)
        return gettext("%(verifier)s, whose verdict is the reward") % {"verifier": obj.verifier}


def _weight(label: Any) -> forms.FloatField:
    return forms.FloatField(
        label=label,
        min_value=0,
        max_value=1000,
        required=False,
        initial=1,
        help_text=_("Counts where the focus is weights of your own."),
    )


@dataclass(frozen=True, slots=True)
class Section:
    """Fields under one heading; folded ones are settings that most rules leave alone."""

    heading: str
    help: str
    fields: list[forms.BoundField]
    is_folded: bool

    @property
    def is_open(self) -> bool:
        return not self.is_folded or any(field.errors for field in self.fields)


class SettingsForm(forms.Form):
    """A rule's settings, which a later version may change."""

    sections_of = (
        (
            _("What to audit"),
            "",
            ("name", "first_step", "last_step", "window_steps"),
            False,
        ),
        (_("What it may cost"), "", ("budget", "budget_per"), False),
        (
            _("What it should make you sure of"),
            _(
                "Labels go where they narrow the intervals that you care about. Every estimate "
                "stays unbiased whatever you choose: the others only become wider."
            ),
            ("focus", "slices"),
            False,
        ),
        (
            _("Reviews"),
            "",
            ("reviews_contradictions", "second_review_share", "shows_reference", "reviewers"),
            False,
        ),
        (
            _("Advanced"),
            "",
            ("waves", "floor", "gold_share", "verifiers", *WEIGHTS),
            True,
        ),
    )

    last_step = forms.IntegerField(
        label=_("Last step"),
        min_value=0,
        max_value=MOST_STEP,
        required=False,
        help_text=_("Empty: from now on, for as long as the run goes on."),
    )
    budget = forms.IntegerField(
        label=_("Labels"),
        min_value=SMALLEST_WAVE,
        max_value=MOST_LABELS,
        initial=96,
        help_text=_("First reviews. Under 32 labels nothing can be estimated."),
    )
    budget_per = forms.ChoiceField(
        label=_("Counted"),
        choices=BudgetPer.choices,
        initial=BudgetPer.WINDOW,
        help_text=_("Per day: a window is drawn wave by wave as far as the day's labels reach."),
    )
    focus = forms.ChoiceField(label=_("Focus"), choices=FOCUS_CHOICES, initial="compromise")
    slices = forms.ModelMultipleChoiceField(
        queryset=Slice.objects.none(),
        required=False,
        label=_("Slices of interest"),
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Each gets its share of the labels. Every slice is estimated in any case."),
    )
    reviews_contradictions = forms.BooleanField(
        label=_("A second person reviews what contradicts the verifier"),
        initial=True,
        required=False,
        help_text=_(
            "A reviewer's slip would count as the verifier's mistake. Of every ten such "
            "slips this leaves about one."
        ),
    )
    second_review_share = PercentField(
        label=_("Second reviews by chance, %"),
        min_value=0,
        max_value=100,
        initial=0.1,
        help_text=_("They tell how far reviewers agree."),
    )
    shows_reference = forms.BooleanField(
        label=_("Reviewers see the reference answer"), initial=True, required=False
    )
    reviewers = PeopleField(
        label=_("Reviewers"),
        queryset=User.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("None chosen: every reviewer of the project."),
    )
    waves = forms.IntegerField(
        label=_("Waves"),
        min_value=1,
        max_value=50,
        required=False,
        help_text=_(
            "The budget is drawn in so many parts; each learns from the labels before it. "
            "Empty: as many as it bears, at most four."
        ),
    )
    floor = PercentField(
        label=_("Spread over everything, %"),
        min_value=0,
        max_value=100,
        initial=0.15,
        help_text=_(
            "This share of each wave is drawn in proportion, whatever the focus. It guards "
            "against what the working model does not know."
        ),
    )
    gold_share = PercentField(
        label=_("Known answers mixed in, %"),
        min_value=0,
        max_value=100 * MOST_GOLD,
        initial=0.0,
        help_text=_(
            "Of the labels of a wave. They tell how good each reviewer is, and enter no "
            "estimate. They come from rollouts that you marked as known."
        ),
    )
    verifiers = VerifierField(
        queryset=RunVerifier.objects.none(),
        required=False,
        label=_("Verifiers audited"),
        widget=forms.CheckboxSelectMultiple,
        help_text=_("None chosen: the one whose verdict is the reward."),
    )
    weight_recall = _weight(_("Weight of recall"))
    weight_fpr = _weight(_("Weight of the false-positive rate"))
    weight_accuracy = _weight(_("Weight of true accuracy"))
    weight_hack_rate = _weight(_("Weight of hacks"))

    def __init__(self, *args: Any, run: Run, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._offer("slices", slices_of(run.project))
        self._offer("reviewers", _reviewers_of(run), least=2)
        verifiers = RunVerifier.objects.filter(run=run, verifier__channel=Channel.CORRECTNESS)
        self._offer("verifiers", verifiers.select_related("verifier"), least=2)
        if "verifiers" not in self.fields:
            focus = cast("forms.ChoiceField", self.fields["focus"])
            focus.choices = [choice for choice in FOCUS_CHOICES if choice[0] != RANKING]
        if _reviewers_of(run).count() < REVIEWERS_FOR_SECOND_REVIEWS:
            self._without_second_reviews()

    def _offer(self, name: str, choices: QuerySet[Any], *, least: int = 1) -> None:
        """What can be chosen; no field where there is no choice."""
        field = cast("forms.ModelMultipleChoiceField[Any]", self.fields[name])
        field.queryset = choices
        if choices.count() < least:
            del self.fields[name]

    def _without_second_reviews(self) -> None:
        for name, value in (("reviews_contradictions", False), ("second_review_share", 0.0)):
            self.fields[name].initial = value
            self.fields[name].help_text = gettext("Off: the project has no second reviewer to ask.")

    def sections(self) -> Iterator[Section]:
        for heading, help_, names, is_folded in self.sections_of:
            fields = [self[name] for name in names if name in self.fields]
            if fields:
                yield Section(str(heading), str(help_), fields, is_folded)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        chosen = data.get("focus")
        if chosen == OWN and not any(data.get(name) for name in WEIGHTS):
            text = gettext("Give at least one of the weights below, under Advanced.")
            self.add_error("focus", text)
        return data

    def settings(self) -> RuleSettings:
        data = self.cleaned_data
        names = ("last_step", "budget", "floor", "second_review_share", "gold_share")
        flags = ("reviews_contradictions", "shows_reference")
        return RuleSettings(
            **{name: data[name] for name in (*names, *flags)},
            waves=data["waves"] or default_waves(data["budget"]),
            budget_per=BudgetPer(data["budget_per"]),
            focus=self._focus(),
            is_ranking=data["focus"] == RANKING,
            verifiers=list(data.get("verifiers", ())),
            slices=list(data.get("slices", ())),
            reviewers=list(data.get("reviewers", ())),
        )

    def _focus(self) -> Focus:
        data = self.cleaned_data
        if data["focus"] == OWN:
            return Focus(**{part: data[name] or 0.0 for name, part in WEIGHTS.items()})
        return FOCUSES.get(data["focus"], COMPROMISE)


class AuditForm(SettingsForm):
    """A new rule: its settings, and what stays with it."""

    name = forms.CharField(
        label=_("Name"), max_length=200, help_text=_("Also the name of its queue.")
    )
    first_step = forms.IntegerField(label=_("First step"), min_value=0, max_value=MOST_STEP)
    window_steps = forms.IntegerField(
        label=_("Steps in a window"),
        min_value=1,
        max_value=1_000_000,
        initial=10,
        help_text=_("Each window of so many steps is sampled by itself, once its last step is in."),
    )

    def __init__(self, *args: Any, run: Run, **kwargs: Any) -> None:
        kwargs["initial"] = _steps_to_audit(run) | (kwargs.get("initial") or {})
        super().__init__(*args, run=run, **kwargs)
        newest = run.completed_step
        self.fields["first_step"].help_text = (
            gettext("The run's newest complete step is %(step)s.") % {"step": newest}
            if newest >= 0
            else gettext("The run has no complete step yet.")
        )

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        first, last = data.get("first_step"), data.get("last_step")
        if first is not None and last is not None and last < first:
            self.add_error("last_step", gettext("The last step comes before the first."))
        return data

    def new_rule(self) -> NewRule:
        """As it stands; a preview needs no name yet."""
        data = self.cleaned_data
        return NewRule(
            name=data.get("name", ""),
            first_step=data["first_step"],
            window_steps=data["window_steps"],
            settings=self.settings(),
        )


def _steps_to_audit(run: Run) -> dict[str, Any]:
    """From the next step on; of a run that is over, all that it did."""
    if run.is_running:
        return {"first_step": run.completed_step + 1}
    return {"first_step": 0, "last_step": max(run.completed_step, 0)}


def _reviewers_of(run: Run) -> QuerySet[User]:
    members = User.objects.filter(
        memberships__project=run.project_id, memberships__role=Role.REVIEWER
    )
    return members.order_by("username")


def initial_of(version: RuleVersion) -> dict[str, Any]:
    """A version's settings as the form's first values."""
    names = ("last_step", "budget", "budget_per", "waves", "floor", "second_review_share")
    more = ("gold_share", "reviews_contradictions", "shows_reference")
    known = {_weights_of(focus): name for name, focus in FOCUSES.items()}
    focus = Focus(**version.focus)
    chosen = RANKING if version.is_ranking else known.get(_weights_of(focus), OWN)
    weights = {name: version.focus[part] for name, part in WEIGHTS.items()}
    relations = {
        name: list(getattr(version, name).all()) for name in ("verifiers", "slices", "reviewers")
    }
    scalars = {name: getattr(version, name) for name in (*names, *more)}
    return scalars | weights | relations | {"focus": chosen}


def _weights_of(focus: Focus) -> tuple[float, ...]:
    return tuple(asdict(focus).values())


class PickForm(forms.Form):
    """Rollouts that a lead wants labelled beside the sample."""

    slice = forms.ModelChoiceField(
        queryset=Slice.objects.none(),
        required=False,
        empty_label=_("every rollout"),
        label=_("From"),
    )
    count = forms.IntegerField(label=_("How many"), min_value=1, max_value=MOST_PICKS, initial=10)
    note = forms.CharField(
        label=_("Note"), max_length=200, required=False, help_text=_("Why these.")
    )
    for_reward = forms.BooleanField(
        required=False, label=_("Instead those whose answer is worth most to the reward table")
    )

    def __init__(self, *args: Any, run: Run, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = cast("forms.ModelChoiceField[Slice]", self.fields["slice"])
        field.queryset = slices_of(run.project)
