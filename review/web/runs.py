"""The run page: reward against audited accuracy, estimates, audits and reward tables."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_POST

from review.calibration.models import Estimand, Estimate, RewardTable, SignalState
from review.calibration.queries import (
    newest_estimates,
    newest_signal,
    newest_window_estimates,
    sensitivity,
    tables_of,
)
from review.flows.ingest import recut_steps
from review.labeling.models import AssignmentState
from review.labeling.queries import labels_by_wave, queues_of_reviewer
from review.rollouts.models import StepSummary
from review.rollouts.queries import rollouts_to_recut, step_summaries
from review.runs.models import ErratumState, Run
from review.runs.queries import errata_of_run
from review.sampling.models import AuditRule, RuleState, Wave, Window, WindowState
from review.sampling.queries import rules_of
from review.web import access, gap
from review.web.access import ReviewRequest
from review.web.estimands import MAIN, MEANINGS, label_of
from review.web.figures import bar, percent, percent_range, step_range, step_ranges
from review.web.forms.exports import ExportForm
from review.web.forms.steps import StepsForm
from review.web.forms.tables import TableForm
from review.web.navigation import project_frame
from review.web.words import said

TABLE_STEPS = 10


@require_GET
@login_required
def run(request: ReviewRequest, run_id: UUID) -> HttpResponse:
    found = access.run_led(request.user, run_id)
    return _page(request, found, StepsForm(initial={"segmenter": found.segmenter}))


@require_POST
@login_required
def run_steps(request: ReviewRequest, run_id: UUID) -> HttpResponse:
    """Number the steps of the run's completions by another rule."""
    found = access.run_led(request.user, run_id)
    form = StepsForm(request.POST)
    if not form.is_valid():
        return _page(request, found, form, status=422)
    recut_steps(run=found, segmenter=form.cleaned_data["segmenter"], actor=request.user)
    messages.success(
        request,
        _("Completions are cut anew, little by little. What was said of a step stays said of it."),
    )
    return redirect("web:run", found.pk)


def _page(
    request: ReviewRequest, found: Run, steps_form: StepsForm, *, status: int = 200
) -> HttpResponse:
    context = run_context(request, found) | {
        "build_form": TableForm(initial=_next_steps(found)),
        "build_url": reverse("web:table-build", args=[found.pk]),
        "export_form": ExportForm(),
        "steps_form": steps_form,
        "rollouts_to_recut": rollouts_to_recut(found),
    }
    return render(request, "web/run.html", context, status=status)


@require_GET
@login_required
def run_live(request: ReviewRequest, run_id: UUID) -> HttpResponse:
    """The part that keeps itself up to date; nothing, where the page shows it already."""
    context = run_context(request, access.run_led(request.user, run_id))
    if request.GET.get("seen") == context["seen"]:
        return HttpResponse(status=204)
    return render(request, "web/run.html#live", context)


def run_context(request: ReviewRequest, found: Run) -> dict[str, object]:
    summaries = step_summaries(found)
    shown = gap.stretches(summaries)
    by_window = newest_window_estimates(found)
    audited = [row for row in by_window if row.estimand == Estimand.ACCURACY]
    mine = {queue.pk for queue in queues_of_reviewer(request.user, found.project)}
    rules = list(rules_of(found))
    labelled = _labelled_by_wave(rules)
    has_open_window = any(
        window.state == WindowState.OPEN for rule in rules for window in rule.windows.all()
    )
    live = {
        "run": _run(found, summaries, rules),
        "chart": gap.chart(shown, audited, summaries),
        "chart_rows": gap.chart_rows(shown, audited),
        "steps_a_point": -(-len(summaries) // len(shown)) if shown else 1,
        "signal": _signal(found),
        "estimates": _estimates(found, summaries, is_watched=has_open_window),
        "is_watched": has_open_window,
        "estimands": [label_of(estimand) for estimand in MAIN],
        "windows": _windows(rules, labelled, by_window, mine),
        "audits": [_audit(rule, labelled) for rule in rules],
        "tables": _tables(list(tables_of(found)), summaries),
        "broken": _broken(found),
        "scorecard_url": reverse("web:scorecard", args=[found.pk]),
        "actions": [
            {"label": _("New audit"), "url": reverse("web:audit-new", args=[found.pk])},
            {"label": _("Add a verifier"), "url": reverse("web:replay-new", args=[found.pk])},
        ],
    }
    # Names what is shown: a poll that has seen this gets no part to swap in.
    seen = hashlib.sha256(repr(live).encode()).hexdigest()[:16]
    return project_frame(request, found.project, "") | live | {"seen": seen}


def _run(
    found: Run, summaries: Sequence[StepSummary], rules: Sequence[AuditRule]
) -> dict[str, object]:
    return {
        "id": found.pk,
        "uid": found.uid,
        "name": found.name,
        "status": found.status,
        "is_active": found.is_running or any(r.state == RuleState.ACTIVE for r in rules),
        "latest_step": summaries[-1].step if summaries else None,
        "rollouts": sum(summary.rollouts for summary in summaries),
        "policies": found.policies.count(),
    }


def _broken(found: Run) -> dict[str, int]:
    """Problems of the run that are said to be broken, by how that is decided."""
    states = Counter(errata_of_run(found).values_list("state", flat=True))
    return {"upheld": states[ErratumState.UPHELD], "open": states[ErratumState.OPEN]}


def _next_steps(found: Run) -> dict[str, int]:
    """A new table is meant for the steps to come."""
    first = found.completed_step + 1
    return {"valid_from_step": first, "valid_to_step": first + TABLE_STEPS - 1}


SIGNALS = {
    SignalState.OK: ("ok", gettext_lazy("Nothing speaks against the reward.")),
    SignalState.WATCH: (
        "watch",
        gettext_lazy("Look at this before the run has gone much further."),
    ),
    SignalState.HOLD: (
        "hold",
        gettext_lazy("Reward may not mean correctness any more: stop and look."),
    ),
}


def _signal(found: Run) -> dict[str, object] | None:
    """The alarm as the trainer reads it."""
    signal = newest_signal(found)
    if signal is None:
        return None
    state, text = SIGNALS[SignalState(signal.state)]
    return {"state": state, "text": text, "reasons": signal.reasons, "at": signal.created_at}


def _estimates(
    found: Run, summaries: Sequence[StepSummary], *, is_watched: bool
) -> list[dict[str, object]]:
    stored, doubted = newest_estimates(found), sensitivity(found)
    rollouts = sum(summary.rollouts for summary in summaries)
    return [
        _estimate(stored[estimand], rollouts, is_watched=is_watched)
        | {"doubt": _doubt(stored[estimand], doubted.get(estimand))}
        for estimand in MAIN
        if estimand in stored
    ]


def _estimate(row: Estimate, rollouts: int, *, is_watched: bool) -> dict[str, object]:
    low, high = interval_shown(row, is_watched=is_watched)
    # That many labels drawn at random would do as well; more than there are rollouts says nothing.
    effective = row.effective_labels
    is_telling = effective is not None and effective < rollouts
    label, meaning = MEANINGS[row.estimand]
    return {
        "label": label,
        "help": meaning,
        "point": percent(row.point),
        "interval": percent_range(low, high),
        "n": row.labels,
        "n_eff": f"{effective:,.0f}" if is_telling else None,
        "reason": capfirst(said(row.reason)),
        "bar": None if row.point is None else bar(low, high, row.point),
    }


def interval_shown(row: Estimate, *, is_watched: bool) -> tuple[float, float]:
    """While labels come in, the interval that may be watched; otherwise the one of a fixed n."""
    if is_watched and row.monitor_low is not None and row.monitor_high is not None:
        return row.monitor_low, row.monitor_high
    return row.low, row.high


def _doubt(row: Estimate, doubted: Estimate | None) -> dict[str, object] | None:
    """The estimate if reviewers' own errors are allowed for; far off, where by more than a SE."""
    if doubted is None or doubted.point is None or row.point is None:
        return None
    return {
        "point": percent(doubted.point),
        "interval": percent_range(doubted.low, doubted.high),
        "is_far": row.se is not None and abs(doubted.point - row.point) > row.se,
    }


def _labelled_by_wave(rules: Sequence[AuditRule]) -> dict[int, dict[str, int]]:
    return labels_by_wave(
        [wave for rule in rules for window in rule.windows.all() for wave in window.waves.all()]
    )


def _windows(
    rules: Sequence[AuditRule],
    labelled: Mapping[int, dict[str, int]],
    estimates: Sequence[Estimate],
    mine: Collection[UUID],
) -> list[dict[str, object]]:
    """Every window, the newest first: what is open comes before what is done."""
    by_window: dict[UUID | None, dict[str, Estimate]] = defaultdict(dict)
    for row in estimates:
        by_window[row.window_id][row.estimand] = row
    windows = [window for rule in rules for window in rule.windows.all()]
    return [
        _window(window, labelled, by_window[window.pk], mine)
        for window in sorted(windows, key=lambda window: -window.last_step)
    ]


def _window(
    window: Window,
    labelled: Mapping[int, dict[str, int]],
    estimates: Mapping[str, Estimate],
    mine: Collection[UUID],
) -> dict[str, object]:
    """mine: the queues that the reader may label in."""
    queue_id = window.rule.queue.pk
    can_label = queue_id in mine and window.state == WindowState.OPEN
    waves = [_wave(wave, labelled[wave.pk]) for wave in window.waves.all()]
    return {
        "id": window.pk,
        "steps": step_range(window.first_step, window.last_step),
        "audit": window.rule.name,
        "state": window.state,
        "frame_size": window.frame_size,
        "queue_url": reverse("web:queue", args=[queue_id]) if can_label else None,
        "waves": waves,
        "estimates": [
            _figure(estimates.get(estimand), is_watched=window.state == WindowState.OPEN)
            for estimand in MAIN
        ],
    }


def _wave(wave: Wave, counts: Mapping[str, int]) -> dict[str, object]:
    return {
        "number": wave.number,
        "planned": wave.planned,
        "labelled": counts.get(AssignmentState.DONE, 0),
        "skipped": counts.get(AssignmentState.SKIPPED, 0),
        "state": wave.state,
    }


def _figure(row: Estimate | None, *, is_watched: bool) -> dict[str, str | None]:
    if row is None or row.point is None:
        return {"point": None, "interval": None}
    interval = percent_range(*interval_shown(row, is_watched=is_watched))
    return {"point": percent(row.point), "interval": interval}


def _audit(rule: AuditRule, labelled: Mapping[int, dict[str, int]]) -> dict[str, object]:
    waves = [wave for window in rule.windows.all() for wave in window.waves.all()]
    is_draft = rule.state == RuleState.DRAFT
    return {
        "id": rule.pk,
        "name": rule.name,
        "state": rule.state,
        "url": reverse("web:audit", args=[rule.pk]),
        "budget": rule.current.budget * max(1, len(rule.windows.all())),
        "labelled": sum(labelled[wave.pk].get(AssignmentState.DONE, 0) for wave in waves),
        "start_url": reverse("web:audit-start", args=[rule.pk]) if is_draft else None,
    }


def _tables(
    tables: Sequence[RewardTable], summaries: Sequence[StepSummary]
) -> list[dict[str, object]]:
    published = max((table.version for table in tables if table.is_published), default=0)
    return [_table(table, summaries, published) for table in tables]


def _table(
    table: RewardTable, summaries: Sequence[StepSummary], published: int
) -> dict[str, object]:
    publish_url = reverse("web:table-publish", args=[table.pk])
    return {
        "id": table.pk,
        "version": table.version,
        "rule": table.get_rule_display(),
        "state": "published" if table.is_published else "draft",
        "valid_steps": step_range(table.valid_from_step, table.valid_to_step),
        "labels": table.labels,
        "published_at": table.published_at,
        "used_steps": steps_using(table, summaries),
        "is_outlived": any(
            s.table_version == table.version and s.step > table.valid_to_step for s in summaries
        ),
        "publish_url": publish_url if table.version > published else None,
    }


def steps_using(table: RewardTable, summaries: Sequence[StepSummary]) -> str:
    return step_ranges(s.step for s in summaries if s.table_version == table.version)
