"""Audit rules and their versions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from uuid import UUID

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from review.accounts.models import Membership, Role, User
from review.core.models import record_event
from review.rollouts.models import Slice
from review.rollouts.queries import counts_per_cell, why_uncountable
from review.runs.models import Run
from review.sampling.errors import InvalidRuleError, RuleStateError
from review.sampling.models import AuditRule, BudgetPer, RuleState, RuleVersion, WindowState
from review.sampling.queries import missing_windows
from review.stats.design import PROPORTIONAL_MIX, Focus
from review.verifiers.models import Channel, RunVerifier

# The estimator needs at least this many labels in a wave.
SMALLEST_WAVE = 8
MOST_LABELS = 1_000_000
MOST_GOLD = 0.5
# A second review wants another pair of eyes.
REVIEWERS_FOR_SECOND_REVIEWS = 2


def default_waves(budget: int) -> int:
    """Waves of at least 48 labels, at most four: smaller ones widen the intervals of few labels."""
    return max(1, min(budget // 48, 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSettings:
    """A version's settings; see RuleVersion."""

    budget: int
    last_step: int | None = None
    budget_per: BudgetPer = BudgetPer.WINDOW
    waves: int = 4
    focus: Focus = field(default_factory=Focus)
    is_ranking: bool = False
    floor: float = PROPORTIONAL_MIX
    verifiers: Sequence[RunVerifier] = ()
    slices: Sequence[Slice] = ()
    reviews_contradictions: bool = True
    second_review_share: float = 0.1
    gold_share: float = 0.0
    shows_reference: bool = True
    reviewers: Sequence[User] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRule:
    name: str
    first_step: int
    window_steps: int
    settings: RuleSettings


@transaction.atomic
def create_rule(*, run: Run, new: NewRule, actor: object) -> AuditRule:
    check_rule(run=run, new=new)
    rule = AuditRule.objects.create(
        run=run, name=new.name, first_step=new.first_step, window_steps=new.window_steps
    )
    _store_version(rule, 1, new.settings, actor)
    record_event(actor=actor, action="audit rule created", subject=rule, budget=new.settings.budget)
    return rule


def settings_of(version: RuleVersion) -> RuleSettings:
    """The version's settings, to be changed in part; lists come in one order."""
    return RuleSettings(
        **{name: getattr(version, name) for name in COLUMNS},
        focus=Focus(**version.focus),
        verifiers=sorted(version.verifiers.all(), key=lambda row: row.position),
        slices=sorted(version.slices.all(), key=lambda part: part.name),
        reviewers=sorted(version.reviewers.all(), key=lambda user: user.username),
    )


@transaction.atomic
def change_rule(
    *, rule: AuditRule, settings: RuleSettings, actor: object, based_on: int | None = None
) -> RuleVersion:
    """A new version: waves that are drawn from now on follow it, the open ones stay as they are.

    based_on: the number of the version that the settings were made from; a newer one is not lost.
    """
    rule = lock_rule(rule.pk)
    if rule.state == RuleState.FINISHED:
        raise RuleStateError("This audit is finished: nothing more is drawn. Write a new one.")
    if based_on is not None and rule.current.number != based_on:
        raise RuleStateError("Somebody else has changed this audit meanwhile: look at it again.")
    check_rule(
        run=rule.run,
        new=NewRule(
            name=rule.name,
            first_step=rule.first_step,
            window_steps=rule.window_steps,
            settings=settings,
        ),
    )
    version = _store_version(rule, rule.current.number + 1, settings, actor)
    record_event(actor=actor, action="audit rule changed", subject=rule, version=version.number)
    return version


def _store_version(
    rule: AuditRule, number: int, settings: RuleSettings, actor: object
) -> RuleVersion:
    columns = {name: getattr(settings, name) for name in COLUMNS}
    version = RuleVersion.objects.create(
        rule=rule, number=number, focus=asdict(settings.focus), created_by=str(actor), **columns
    )
    version.verifiers.set(settings.verifiers)
    version.slices.set(settings.slices)
    version.reviewers.set(settings.reviewers)
    return version


COLUMNS = (
    *("last_step", "budget", "budget_per", "waves", "is_ranking", "floor"),
    *("reviews_contradictions", "second_review_share", "gold_share", "shows_reference"),
)


def check_rule(*, run: Run, new: NewRule) -> None:
    """Raise InvalidRuleError with every field that cannot be met, and why."""
    fields = _wrong_steps(run, new) | _wrong_numbers(new.settings)
    fields |= _wrong_verifiers(run, new.settings) | _wrong_people(run, new.settings)
    if not fields:
        fields = _wrong_frame(run, new)
    if fields:
        raise InvalidRuleError(fields=fields)


def _wrong_steps(run: Run, new: NewRule) -> dict[str, str]:
    wrong: dict[str, str] = {}
    last = new.settings.last_step
    if new.first_step < 0:
        wrong["first_step"] = "0 or later"
    if new.window_steps < 1:
        wrong["window_steps"] = "at least 1"
    if last is not None and last < new.first_step:
        wrong["last_step"] = "not before the first step"
    return wrong


def _wrong_numbers(settings: RuleSettings) -> dict[str, str]:
    ranges = {
        "budget": (settings.budget, SMALLEST_WAVE, MOST_LABELS, "labels"),
        "waves": (settings.waves, 1, 50, ""),
        "floor": (settings.floor, 0.0, 1.0, ""),
        "second_review_share": (settings.second_review_share, 0.0, 1.0, ""),
        "gold_share": (settings.gold_share, 0.0, MOST_GOLD, ""),
    }
    return {
        name: f"{least:,} to {most:,} {unit}".strip()
        for name, (value, least, most, unit) in ranges.items()
        if not least <= value <= most
    }


def _wrong_verifiers(run: Run, settings: RuleSettings) -> dict[str, str]:
    chosen = settings.verifiers
    if any(row.run_id != run.pk for row in chosen):
        return {"verifiers": "all of this run"}
    if any(row.verifier.channel != Channel.CORRECTNESS for row in chosen):
        return {"verifiers": "correctness verifiers only"}
    if settings.is_ranking and len(chosen) < 2:
        return {"verifiers": "a ranking needs at least two"}
    return {}


def _wrong_people(run: Run, settings: RuleSettings) -> dict[str, str]:
    reviewers = Membership.objects.filter(project=run.project_id, role=Role.REVIEWER)
    known = set(reviewers.values_list("user_id", flat=True))
    chosen = {user.pk for user in settings.reviewers}
    if chosen - known:
        return {"reviewers": "reviewers of this project only"}
    wants_second = settings.reviews_contradictions or settings.second_review_share > 0
    if wants_second and len(chosen or known) < REVIEWERS_FOR_SECOND_REVIEWS:
        reason = "second reviews need at least two reviewers: add one, or switch them off"
        field_ = "reviewers" if chosen else "reviews_contradictions"
        return {field_: reason}
    return {}


def _wrong_frame(run: Run, new: NewRule) -> dict[str, str]:
    """The steps must have rollouts, or have them still to come; so must each slice of interest."""
    settings = new.settings
    if any(part.project_id != run.project_id for part in settings.slices):
        return {"slices": "slices of this project only"}
    for part in settings.slices:
        if reason := why_uncountable(run, part.conditions):
            return {"slices": f"{part.name}: {reason}"}
    last = _last_step_so_far(run, settings.last_step)
    if not counts_per_cell(run, new.first_step, last):
        is_to_come = settings.last_step is None or settings.last_step > run.completed_step
        if run.is_running and is_to_come:
            return {}
        return {"first_step": "the run has no rollouts in these steps"}
    for part in settings.slices:
        if not counts_per_cell(run, new.first_step, last, part.conditions):
            return {"slices": f"no rollout of these steps is in {part.name}"}
    return {}


def _last_step_so_far(run: Run, last_step: int | None) -> int:
    """The end of the block of the newest step, or the rule's last step."""
    newest = run.step_summaries.aggregate(newest=Max("step"))["newest"] or 0
    end = (newest // run.step_block + 1) * run.step_block - 1
    return end if last_step is None else min(last_step, end)


def lock_rule(rule_id: UUID) -> AuditRule:
    """Whoever changes a rule's windows holds the rule first, then the window."""
    rules = AuditRule.objects.select_for_update(of=("self",)).select_related("run")
    return rules.get(pk=rule_id)


@transaction.atomic
def start_rule(*, rule: AuditRule, actor: object) -> AuditRule:
    rule = lock_rule(rule.pk)
    if rule.state != RuleState.DRAFT:
        raise RuleStateError("This audit has been started already.")
    rule.state = RuleState.ACTIVE
    rule.started_at = timezone.now()
    rule.save(update_fields=["state", "started_at"])
    record_event(actor=actor, action="audit started", subject=rule)
    return rule


@transaction.atomic
def finish_rule(*, rule: AuditRule, actor: object) -> AuditRule:
    """A lead ends the audit: no further window. Its open windows are ended by the caller first."""
    rule = lock_rule(rule.pk)
    if rule.state == RuleState.FINISHED:
        return rule
    rule.windows.filter(state=WindowState.COLLECTING).delete()
    rule.state = RuleState.FINISHED
    rule.save(update_fields=["state"])
    record_event(actor=actor, action="audit ended", subject=rule)
    return rule


@transaction.atomic
def settle_rule(*, rule: AuditRule) -> None:
    """The rule is finished when every window that it can have is closed."""
    rule = lock_rule(rule.pk)
    if rule.state == RuleState.ACTIVE and _is_exhausted(rule):
        rule.state = RuleState.FINISHED
        rule.save(update_fields=["state"])


def _is_exhausted(rule: AuditRule) -> bool:
    """No window is open, and none can follow."""
    if rule.windows.exclude(state=WindowState.CLOSED).exists() or missing_windows(rule):
        return False
    last_step = rule.current.last_step
    is_past_end = last_step is not None and rule.run.completed_step >= last_step
    return is_past_end or not rule.run.is_running
