"""The settings of an audit rule: as bodies give them, and as answers show them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from review.accounts.models import Role, User
from review.api.v1.errors import BadRequestBodyError
from review.api.v1.runs import Name, Step
from review.rollouts.models import Slice
from review.rollouts.queries import slices_of
from review.runs.models import Run
from review.sampling.errors import InvalidRuleError
from review.sampling.models import BudgetPer, RuleVersion
from review.sampling.services.rules import MOST_GOLD, NewRule, RuleSettings
from review.stats.design import PROPORTIONAL_MIX, Focus
from review.verifiers.models import Channel, RunVerifier

Weight = Annotated[float, Meta(ge=0, le=1000)]
Budget = Annotated[int, Meta(ge=1, le=1_000_000, description="Labels")]
Per = Annotated[Literal["window", "day"], Meta(description="What the budget is for")]
Waves = Annotated[int, Meta(ge=1, le=50, description="In so many waves a window is drawn")]
Ranking = Annotated[
    bool, Meta(description="Aim at the differences between the verifiers, not at each")
]
Share = Annotated[float, Meta(ge=0, le=1)]
Floor = Annotated[
    float, Meta(ge=0, le=1, description="The share of each wave that is spread over everything")
]
GoldShare = Annotated[
    float, Meta(ge=0, le=MOST_GOLD, description="Known answers mixed in, for each draw")
]
Verifiers = Annotated[
    list[str],
    Meta(
        max_length=20,
        description="name@version of correctness verifiers of the run; none: the primary one",
    ),
]
Slices = Annotated[list[UUID], Meta(max_length=20, description="Slices of interest")]
Reviewers = Annotated[
    list[str], Meta(max_length=200, description="Usernames; none: every reviewer of the project")
]


class FocusIn(msgspec.Struct, forbid_unknown_fields=True):
    recall: Weight = 1.0
    fpr: Weight = 1.0
    accuracy: Weight = 1.0
    hack_rate: Weight = 1.0


class SecondReviewsIn(msgspec.Struct, forbid_unknown_fields=True):
    contradictions: Annotated[
        bool, Meta(description="A label that contradicts the verdict gets a second blind review")
    ] = False
    share: Annotated[
        float, Meta(ge=0, le=1, description="Of the draws, whatever the first review says")
    ] = 0.0


class AuditIn(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    first_step: Step
    window_steps: Annotated[int, Meta(ge=1, le=1_000_000)]
    budget: Budget
    last_step: Step | None = None
    budget_per: Per = "window"
    waves: Waves = 4
    focus: FocusIn = msgspec.field(default_factory=FocusIn)
    ranking: Ranking = False
    floor: Floor = PROPORTIONAL_MIX
    verifiers: Verifiers = []
    slices: Slices = []
    second_reviews: SecondReviewsIn = msgspec.field(default_factory=SecondReviewsIn)
    gold_share: GoldShare = 0.0
    shows_reference: bool = True
    reviewers: Reviewers = []


class FocusChange(msgspec.Struct, forbid_unknown_fields=True):
    recall: Weight | UnsetType = UNSET
    fpr: Weight | UnsetType = UNSET
    accuracy: Weight | UnsetType = UNSET
    hack_rate: Weight | UnsetType = UNSET


class SecondReviewsChange(msgspec.Struct, forbid_unknown_fields=True):
    contradictions: bool | UnsetType = UNSET
    share: Share | UnsetType = UNSET


class AuditChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is not given stays as it is."""

    budget: Budget | UnsetType = UNSET
    last_step: Step | UnsetType | None = UNSET
    budget_per: Per | UnsetType = UNSET
    waves: Waves | UnsetType = UNSET
    focus: FocusChange | UnsetType = UNSET
    ranking: Ranking | UnsetType = UNSET
    floor: Floor | UnsetType = UNSET
    verifiers: Verifiers | UnsetType = UNSET
    slices: Slices | UnsetType = UNSET
    second_reviews: SecondReviewsChange | UnsetType = UNSET
    gold_share: GoldShare | UnsetType = UNSET
    shows_reference: bool | UnsetType = UNSET
    reviewers: Reviewers | UnsetType = UNSET


class FocusOut(msgspec.Struct):
    recall: float
    fpr: float
    accuracy: float
    hack_rate: float


class SecondReviewsOut(msgspec.Struct):
    contradictions: bool
    share: float


class SettingsOut(msgspec.Struct, kw_only=True):
    budget: int
    last_step: int | None
    budget_per: str
    waves: int
    focus: FocusOut
    ranking: bool
    floor: float
    verifiers: list[str]
    slices: list[UUID]
    second_reviews: SecondReviewsOut
    gold_share: float
    shows_reference: bool
    reviewers: list[str]


# The columns that bodies call by the same name.
SAME = ("budget", "last_step", "waves", "floor", "gold_share", "shows_reference")
# What the rest is called in bodies, by the name that a refused rule gives it.
IN_BODIES = {
    # Whether a second reviewer is there to ask.
    "reviews_contradictions": "second_reviews",
    "second_review_share": "second_reviews.share",
}


@contextmanager
def refused_in_words_of_the_call() -> Iterator[None]:
    """A rule that cannot be met is refused by the names that the body gave its fields."""
    try:
        yield
    except InvalidRuleError as error:
        fields = {IN_BODIES.get(name, name): reason for name, reason in error.fields.items()}
        raise InvalidRuleError(error.message, fields=fields) from None


def new_rule(run: Run, body: AuditIn) -> NewRule:
    unset = RuleSettings(budget=body.budget, reviews_contradictions=False, second_review_share=0.0)
    return NewRule(
        name=body.name,
        first_step=body.first_step,
        window_steps=body.window_steps,
        settings=changed_settings(run, unset, body),
    )


def changed_settings(run: Run, settings: RuleSettings, body: AuditIn | AuditChange) -> RuleSettings:
    """The settings with what the body gives."""
    given = _given(body)
    changes: dict[str, Any] = {name: given[name] for name in SAME if name in given}
    if "budget_per" in given:
        changes["budget_per"] = BudgetPer(given["budget_per"])
    if "focus" in given:
        changes["focus"] = _focus(settings.focus, given["focus"])
    if "ranking" in given:
        changes["is_ranking"] = given["ranking"]
    if "verifiers" in given:
        changes["verifiers"] = _verifiers(run, given["verifiers"])
    if "slices" in given:
        changes["slices"] = _slices(run, given["slices"])
    if "reviewers" in given:
        changes["reviewers"] = _reviewers(run, given["reviewers"])
    second = _given(given["second_reviews"]) if "second_reviews" in given else {}
    if "contradictions" in second:
        changes["reviews_contradictions"] = second["contradictions"]
    if "share" in second:
        changes["second_review_share"] = second["share"]
    return replace(settings, **changes)


def _given(body: msgspec.Struct) -> Mapping[str, Any]:
    fields = msgspec.structs.asdict(body)
    return {name: value for name, value in fields.items() if value is not UNSET}


def _focus(focus: Focus, body: FocusIn | FocusChange) -> Focus:
    try:
        return replace(focus, **_given(body))
    except ValueError as error:
        raise BadRequestBodyError(fields={"focus": str(error)}) from None


def _verifiers(run: Run, names: Sequence[str]) -> list[RunVerifier]:
    rows = run.run_verifiers.filter(verifier__channel=Channel.CORRECTNESS)
    known = {str(row.verifier): row for row in rows.select_related("verifier")}
    if not known.keys() >= set(names):
        raise InvalidRuleError(fields={"verifiers": f"this run has {', '.join(known)}"})
    return [row for name, row in known.items() if name in names]


def _slices(run: Run, ids: Sequence[UUID]) -> list[Slice]:
    found = list(slices_of(run.project).filter(pk__in=ids))
    if len(found) < len(set(ids)):
        raise InvalidRuleError(fields={"slices": "slices of this project only"})
    return found


def _reviewers(run: Run, names: Sequence[str]) -> list[User]:
    people = User.objects.filter(
        memberships__project=run.project_id, memberships__role=Role.REVIEWER, username__in=names
    )
    found = sorted(people, key=lambda user: user.username)
    if len(found) < len(set(names)):
        raise InvalidRuleError(fields={"reviewers": "reviewers of this project only"})
    return found


def settings_out(version: RuleVersion) -> dict[str, Any]:
    """The fields of a SettingsOut; its lists are to be prefetched."""
    return {
        **{name: getattr(version, name) for name in SAME},
        "budget_per": version.budget_per,
        "focus": FocusOut(**version.focus),
        "ranking": version.is_ranking,
        "verifiers": [str(row.verifier) for row in version.verifiers.all()],
        "slices": sorted(part.pk for part in version.slices.all()),
        "second_reviews": SecondReviewsOut(
            contradictions=version.reviews_contradictions, share=version.second_review_share
        ),
        "reviewers": sorted(user.username for user in version.reviewers.all()),
    }
