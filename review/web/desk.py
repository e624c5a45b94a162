"""What the audit page shows: how far an audit is, how sure, and what waits for a decision."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from review.calibration.models import Estimate
from review.calibration.queries import newest_window_estimates
from review.labeling.adjudications import first_reviews
from review.labeling.disagreements import disagreements
from review.labeling.known_answers import pauses_in
from review.labeling.models import AssignmentState, Queue
from review.labeling.oversight import (
    Pace,
    Reviews,
    given_up_reviews,
    picks_with_states,
    recent_pace,
    reviews_by_wave,
    rollouts_waiting_for_third,
    stuck_reviews,
    usernames,
    waiting_reviews,
)
from review.sampling.models import (
    AuditRule,
    BudgetPer,
    RuleState,
    RuleVersion,
    Wave,
    Window,
    WindowState,
)
from review.sampling.queries import spent_labels, versions_of
from review.web.estimands import MAIN, label_of
from review.web.figures import (
    answer_words,
    half_width,
    percent,
    percent_range,
    share_of_line,
    step_range,
)
from review.web.forms.audits import FOCUSES
from review.web.runs import interval_shown
from review.web.words import said

# More skipped or undecided items than this are said aloud.
MOST_UNANSWERED = 0.05
MOST_LISTED = 50
MOST_GIVEN_UP = 10


def live_context(rule: AuditRule) -> dict[str, object]:
    """The part that changes while reviewers work."""
    windows = sorted(
        rule.windows.prefetch_related("waves__version"), key=lambda window: -window.last_step
    )
    waves = [wave for window in windows for wave in window.waves.all()]
    reviews, stuck = reviews_by_wave(waves), stuck_reviews(rule)
    estimates = _by_window(rule)
    version = rule.current
    return {
        "run": {"id": rule.run_id, "name": rule.run.name},
        "audit": _audit(rule, version),
        "figures": _figures(rule, windows, reviews),
        "finish": _finish(rule, windows, version),
        "unanswered": list(_unanswered(windows, estimates)),
        "open_windows": [
            _open_window(window, reviews, stuck, estimates.get(window.pk, {}))
            for window in sorted(windows, key=lambda window: window.state != WindowState.OPEN)
            if window.state != WindowState.CLOSED
        ],
        "closed_windows": [
            _closed_window(window, reviews, estimates.get(window.pk, {}))
            for window in windows
            if window.state == WindowState.CLOSED
        ],
        "estimands": [label_of(estimand) for estimand in MAIN],
        "pauses": paused(Queue.objects.filter(rule=rule)),
        "disagreements": _disagreements(rule),
        "given_up": _given_up(rule),
    }


def _by_window(rule: AuditRule) -> dict[UUID, dict[str, Estimate]]:
    grouped: dict[UUID, dict[str, Estimate]] = {}
    for row in newest_window_estimates(rule.run):
        if row.window_id is not None:
            grouped.setdefault(row.window_id, {})[row.estimand] = row
    return grouped


def _audit(rule: AuditRule, version: RuleVersion) -> dict[str, object]:
    is_draft, is_over = rule.state == RuleState.DRAFT, rule.state == RuleState.FINISHED
    return {
        "id": rule.pk,
        "name": rule.name,
        "state": rule.state,
        "version": version.number,
        "is_active": rule.state == RuleState.ACTIVE,
        "start_url": reverse("web:audit-start", args=[rule.pk]) if is_draft else None,
        "queue_url": reverse("web:queue-settings", args=[rule.queue.pk]),
        "edit_url": None if is_over else reverse("web:audit-edit", args=[rule.pk]),
        "end_url": None if is_draft or is_over else reverse("web:audit-end", args=[rule.pk]),
    }


Counts = Mapping[int, Mapping[str, Reviews]]


def _figures(
    rule: AuditRule, windows: Sequence[Window], reviews: Counts
) -> list[dict[str, object]]:
    first = [reviews[wave.pk]["first"] for window in windows for wave in window.waves.all()]
    more = [
        reviews[wave.pk][kind]
        for window in windows
        for wave in window.waves.all()
        for kind in ("second", "third")
    ]
    return [
        {"label": _("First reviews done"), "value": f"{sum(each.done for each in first):,}"},
        {"label": _("Further reviews done"), "value": f"{sum(each.done for each in more):,}"},
        {"label": _("Waiting now"), "value": f"{waiting_reviews(rule.queue):,}"},
        {"label": _("Windows"), "value": f"{len(windows):,}"},
    ]


def _finish(rule: AuditRule, windows: Sequence[Window], version: RuleVersion) -> str | None:
    """When what can be seen from here should be done."""
    if rule.state != RuleState.ACTIVE:
        return None
    is_open = [window for window in windows if window.state == WindowState.OPEN]
    left = waiting_reviews(rule.queue)
    if version.budget_per == BudgetPer.WINDOW:
        left += sum(max(version.budget - spent_labels(window), 0) for window in is_open)
    if not left:
        return _("Nothing waits for a label. The next window opens when its last step is in.")
    pace = recent_pace(rule.queue)
    if pace is None:
        text = _("%(n)s labels to go. Too few have been given here to say when that is.")
        return text % {"n": f"{left:,}"}
    return _forecast(left, pace, timezone.now())


def _forecast(left: int, pace: Pace, now: datetime) -> str:
    hours = left / pace.per_hour
    figures = {"n": f"{left:,}", "last": pace.labels, "pace": f"{pace.per_hour:,.1f}"}
    if hours > 24 * 60:
        text = _(
            "%(n)s labels to go in the open windows. At the pace of the last %(last)s "
            "(%(pace)s an hour, pauses included) that is more than two months away."
        )
        return text % figures
    done = timezone.localtime(now + timedelta(hours=hours))
    text = _(
        "%(n)s labels to go in the open windows. At the pace of the last %(last)s "
        "(%(pace)s an hour, pauses included) they are done about %(done)s."
    )
    return text % (figures | {"done": date_format(done, "j F, H:i")})


def _unanswered(
    windows: Sequence[Window], estimates: Mapping[UUID, Mapping[str, Estimate]]
) -> Iterator[dict[str, object]]:
    """Windows in which so many items have no answer that the estimates may lean on it."""
    for window in windows:
        rows = estimates.get(window.pk, {})
        known = [rows[estimand] for estimand in MAIN if estimand in rows]
        if known and known[0].unanswered_share > MOST_UNANSWERED:
            yield {
                "steps": step_range(window.first_step, window.last_step),
                "share": percent(known[0].unanswered_share),
                "bounds": [_worst(row) for row in known],
            }


def _worst(row: Estimate) -> dict[str, str | None]:
    bounds = None
    if row.worst_low is not None and row.worst_high is not None:
        bounds = percent_range(row.worst_low, row.worst_high)
    return {"label": label_of(row.estimand), "point": percent(row.point), "bounds": bounds}


def _open_window(
    window: Window,
    reviews: Counts,
    stuck: Mapping[int, int],
    estimates: Mapping[str, Estimate],
) -> dict[str, object]:
    is_open = window.state == WindowState.OPEN
    return {
        "id": window.pk,
        "steps": step_range(window.first_step, window.last_step),
        "state": window.state,
        "frame_size": window.frame_size,
        "waves": [_wave(wave, reviews[wave.pk], stuck) for wave in window.waves.all()],
        "widths": [_width(window, estimand, estimates.get(estimand)) for estimand in MAIN],
        "end_url": reverse("web:window-end", args=[window.pk]) if is_open else None,
    }


def _wave(
    wave: Wave, reviews: Mapping[str, Reviews], stuck: Mapping[int, int]
) -> dict[str, object]:
    first, second, third = reviews["first"], reviews["second"], reviews["third"]
    return {
        "id": wave.pk,
        "number": wave.number,
        "version": wave.version.number,
        "state": wave.state,
        "planned": wave.planned,
        "done": first.done,
        "leased": first.leased,
        "open": first.open,
        "skipped": first.skipped,
        "second": {"done": second.done, "waiting": second.waiting},
        "third": {"done": third.done, "waiting": third.waiting},
        "stuck": stuck.get(wave.pk, 0),
        "cancel_url": reverse("web:wave-cancel", args=[wave.pk]) if wave.is_open else None,
    }


def _width(window: Window, estimand: str, row: Estimate | None) -> dict[str, object]:
    """Half the interval's width now, beside what the whole budget was expected to give."""
    target = window.targets.get(estimand)
    is_watched = window.state == WindowState.OPEN
    now = None
    if row is not None and row.point is not None:
        now = interval_shown(row, is_watched=is_watched)
    half = None if now is None else (now[1] - now[0]) / 2
    return {
        "label": label_of(estimand),
        "now": None if half is None else half_width(half),
        "interval": None if now is None else percent_range(*now),
        "target": None if target is None else half_width(target),
        "is_met": half is not None and target is not None and half <= target,
        "bar": None if half is None or not target else share_of_line(half, target),
        "reason": said(row.reason) if row is not None else _("no wave is labelled yet"),
    }


def _closed_window(
    window: Window, reviews: Counts, estimates: Mapping[str, Estimate]
) -> dict[str, object]:
    first = [reviews[wave.pk]["first"] for wave in window.waves.all()]
    return {
        "steps": step_range(window.first_step, window.last_step),
        "is_ended_early": window.is_ended_early,
        "frame_size": window.frame_size,
        "labels": sum(each.done for each in first),
        "skipped": sum(each.skipped for each in first),
        "widths": [_width(window, estimand, estimates.get(estimand)) for estimand in MAIN],
    }


def _disagreements(rule: AuditRule) -> dict[str, object]:
    found = disagreements(rule.queue)
    waiting = rollouts_waiting_for_third(rule.queue)
    first = sorted(found, key=lambda rollout_id: rollout_id in waiting)[:MOST_LISTED]
    names = usernames({label.reviewer_id for pk in first for label in found[pk]})
    items = first_reviews(rule.queue, first)
    rows = [
        {
            "url": reverse("web:adjudication", args=[items[pk].pk]),
            "rollout_url": reverse("web:rollout", args=[rule.run_id, pk]),
            "answers": [
                f"{names[label.reviewer_id]}: {answer_words(label.answer)}"
                + (f", {_('hack')}" if label.is_hack else "")
                for label in found[pk]
            ],
            "waits": pk in waiting,
        }
        for pk in first
    ]
    return {"rows": rows, "more": len(found) - len(rows)}


def paused(queues: QuerySet[Queue]) -> list[dict[str, object]]:
    return [
        {
            "name": pause.reviewer.username,
            "queue": pause.queue.name,
            "reason": pause.reason,
            "audit_url": reverse("web:audit", args=[pause.queue.rule_id]),
            "lift_url": reverse("web:pause-lift", args=[pause.pk]),
        }
        for pause in pauses_in(queues)
    ]


def _given_up(rule: AuditRule) -> dict[str, object]:
    total, items = given_up_reviews(rule.queue, most=MOST_GIVEN_UP)
    rows = [
        {
            "url": reverse("web:rollout", args=[rule.run_id, item.rollout_id]),
            "problem": item.rollout.group.prompt.text[:120],
            "reasons": [
                f"{skip.reviewer.username}: {said(skip.get_reason_display())}"
                for skip in item.skips.all()
            ],
        }
        for item in items
    ]
    return {"rows": rows, "more": total - len(rows)}


PICK_STATES = {
    AssignmentState.OPEN: gettext_lazy("waiting"),
    AssignmentState.LEASED: gettext_lazy("in somebody's hands"),
    AssignmentState.DONE: gettext_lazy("labelled"),
    AssignmentState.SKIPPED: gettext_lazy("given up"),
    AssignmentState.WITHDRAWN: gettext_lazy("withdrawn"),
    AssignmentState.SETTLED: gettext_lazy("settled by its answer class"),
}


def picks(rule: AuditRule) -> list[dict[str, object]]:
    return [
        {
            "url": reverse("web:rollout", args=[rule.run_id, pick.rollout_id]),
            "problem": pick.rollout.group.prompt.text[:120],
            "step": pick.rollout.step,
            "cause": pick.get_cause_display(),
            "note": pick.note,
            "by": pick.picked_by,
            "state": PICK_STATES[AssignmentState(state)],
        }
        for pick, state in picks_with_states(rule, most=MOST_LISTED)
    ]


# Settings and their history


def history(rule: AuditRule) -> list[dict[str, object]]:
    """The versions, the newest first, each with what it changed."""
    versions = list(versions_of(rule))
    settings = [described(version) for version in versions]
    earlier = [*settings[1:], None]
    return [
        {
            "number": version.number,
            "by": version.created_by,
            "at": version.created_at,
            "changes": _changes(before, now),
        }
        for version, now, before in zip(versions, settings, earlier, strict=True)
    ]


def _changes(before: Mapping[str, str] | None, now: Mapping[str, str]) -> list[str]:
    if before is None:
        return [_("written")]
    changed = [
        f"{name}: {before[name]} → {value}" for name, value in now.items() if before[name] != value
    ]
    return changed or [_("nothing")]


def described(version: RuleVersion) -> dict[str, str]:
    """A version's settings in words, by their names on the form."""
    per = BudgetPer(version.budget_per).label
    last = _("from there on")
    if version.last_step is not None:
        last = _("to step %(step)s") % {"step": version.last_step}
    seconds = [_("%(n)s %% by chance") % {"n": f"{100 * version.second_review_share:g}"}]
    if version.reviews_contradictions:
        seconds.insert(0, _("what contradicts the verifier"))
    return {
        _("Last step"): last,
        _("Labels"): _("%(n)s %(per)s, in %(waves)s waves")
        % {"n": f"{version.budget:,}", "per": per, "waves": version.waves},
        _("Focus"): _focus(version),
        _("Spread over everything"): f"{100 * version.floor:g} %",
        _("Second reviews"): ", ".join(seconds) if version.has_second_reviews else _("none"),
        _("Known answers mixed in"): f"{100 * version.gold_share:g} %",
        _("Reference"): _("shown") if version.shows_reference else _("hidden"),
        _("Verifiers"): _names(
            [str(v.verifier) for v in version.verifiers.all()], _("the run's first")
        ),
        _("Slices of interest"): _names([s.name for s in version.slices.all()], _("none")),
        _("Reviewers"): _names(
            [u.username for u in version.reviewers.all()], _("all of the project")
        ),
    }


FOCUS_NAMES = {
    "compromise": gettext_lazy("recall, false positives, accuracy and hacks alike"),
    "recall": gettext_lazy("recall"),
    "fpr": gettext_lazy("false positives"),
    "accuracy": gettext_lazy("true accuracy"),
    "hack_rate": gettext_lazy("hacks"),
}


def _focus(version: RuleVersion) -> str:
    if version.is_ranking:
        return _("which verifier is better")
    for name, focus in FOCUSES.items():
        if version.focus == {part.value: weight for part, weight in focus.weights().items()}:
            return str(FOCUS_NAMES[name])
    return ", ".join(f"{said(part.replace('_', ' '))} {w:g}" for part, w in version.focus.items())


def _names(names: Sequence[str], none: str) -> str:
    return ", ".join(sorted(names)) or none
