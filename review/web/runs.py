"""The run page: reward against audited accuracy, estimates, audits and reward tables."""

from collections.abc import Sequence
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from review.accounts.models import Role
from review.accounts.queries import has_role
from review.calibration.models import Estimand, Estimate, RewardTable
from review.calibration.queries import newest_estimates, newest_window_estimates, tables_of
from review.labeling.models import AssignmentState
from review.labeling.queries import labels_by_wave
from review.rollouts.models import StepSummary
from review.rollouts.queries import step_summaries
from review.runs.models import Run
from review.sampling.models import AuditRule, RuleState, Window, WindowState
from review.sampling.queries import rules_of
from review.web import access
from review.web.access import ReviewRequest
from review.web.charts import AuditedSpan, GapPoint, TableMark, gap_chart
from review.web.figures import percent, percent_range, step_range, step_ranges
from review.web.forms import TableForm
from review.web.navigation import project_frame

# What the page shows, in this order, and what each figure means and does not mean.
SHOWN = {
    Estimand.RECALL: (
        "Recall",
        "Of the rollouts that are right, the share that the verifier accepts. The rest are right "
        "answers that training punishes.",
    ),
    Estimand.FPR: (
        "False-positive rate",
        "Of the rollouts that are wrong, the share that the verifier accepts. Each is paid as if "
        "it were right.",
    ),
    Estimand.ACCURACY: (
        "True accuracy",
        "The share of rollouts that are right, as reviewers judge. The verifier's own share may "
        "be higher or lower.",
    ),
    Estimand.HACK_RATE: (
        "Hack rate",
        "The share of rollouts that the verifier accepts and that reviewers mark as made to "
        "please a checker.",
    ),
}
TABLE_STEPS = 10


@require_GET
@login_required
def run(request: ReviewRequest, run_id: UUID) -> HttpResponse:
    found = access.run_led(request.user, run_id)
    context = run_context(request, found) | {
        "build_form": TableForm(initial=_next_steps(found)),
        "build_url": reverse("web:table-build", args=[found.pk]),
    }
    return render(request, "web/run.html", context)


@require_GET
@login_required
def run_live(request: ReviewRequest, run_id: UUID) -> HttpResponse:
    found = access.run_led(request.user, run_id)
    return render(request, "web/run.html#live", run_context(request, found))


def run_context(request: ReviewRequest, found: Run) -> dict[str, object]:
    summaries = step_summaries(found)
    audited = [row for row in newest_window_estimates(found) if row.estimand == Estimand.ACCURACY]
    tables = list(tables_of(found))
    is_reviewer = has_role(request.user, found.project, Role.REVIEWER)
    rules = list(rules_of(found))
    labelled = _labelled_by_wave(rules)
    return project_frame(request, found.project, "") | {
        "run": {
            "id": found.pk,
            "uid": found.uid,
            "name": found.name,
            "status": found.status,
            "is_active": found.is_running or any(r.state == RuleState.ACTIVE for r in rules),
            "latest_step": summaries[-1].step if summaries else None,
            "rollouts": sum(summary.rollouts for summary in summaries),
            "policies": found.policies.count(),
        },
        "chart": _chart(summaries, audited),
        "chart_rows": _chart_rows(summaries, audited),
        "estimates": _estimates(found),
        "windows": [
            _window(window, labelled, is_reviewer)
            for rule in rules
            for window in rule.windows.all()
        ],
        "audits": [_audit(rule, labelled) for rule in rules],
        "tables": [_table(table, summaries) for table in tables],
        "actions": [{"label": "New audit", "url": reverse("web:audit-new", args=[found.pk])}],
    }


def _next_steps(found: Run) -> dict[str, int]:
    """A new table is meant for the steps to come."""
    first = found.completed_step + 1
    return {"valid_from_step": first, "valid_to_step": first + TABLE_STEPS - 1}


def _chart(summaries: Sequence[StepSummary], audited: Sequence[Estimate]) -> SafeString | None:
    marks: dict[int, int] = {}
    for summary in summaries:
        if summary.table_version is not None:
            marks.setdefault(summary.table_version, summary.step)
    return gap_chart(
        [GapPoint(summary.step, summary.accepted / summary.rollouts) for summary in summaries],
        [
            AuditedSpan(row.window.first_step, row.window.last_step, row.point, row.low, row.high)
            for row in audited
            if row.window
        ],
        [TableMark(step, version) for version, step in sorted(marks.items())],
    )


def _chart_rows(
    summaries: Sequence[StepSummary], audited: Sequence[Estimate]
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for summary in summaries:
        estimate = next(
            (
                row
                for row in audited
                if row.window and row.window.first_step <= summary.step <= row.window.last_step
            ),
            None,
        )
        version = summary.table_version
        rows.append(
            {
                "step": summary.step,
                "reward": percent(summary.accepted / summary.rollouts),
                "audited": percent(estimate.point) if estimate else None,
                "interval": percent_range(estimate.low, estimate.high) if estimate else None,
                "table": None if version is None else f"v{version}",
            }
        )
    return rows


def _estimates(found: Run) -> list[dict[str, object]]:
    stored = newest_estimates(found)
    return [
        _estimate(stored[estimand], label, meaning)
        for estimand, (label, meaning) in SHOWN.items()
        if estimand in stored
    ]


def _estimate(row: Estimate, label: str, meaning: str) -> dict[str, object]:
    bar = None
    if row.point is not None:
        width = 100 * (row.high - row.low)
        bar = {"low": 100 * row.low, "width": width, "point": 100 * row.point - 0.4}
    effective = row.effective_labels
    return {
        "label": label,
        "help": meaning,
        "point": percent(row.point),
        "interval": percent_range(row.low, row.high),
        "n": row.labels,
        "n_eff": None if effective is None else f"{effective:,.0f}",
        "reason": row.reason.capitalize(),
        "bar": bar,
    }


def _labelled_by_wave(rules: Sequence[AuditRule]) -> dict[int, dict[str, int]]:
    return labels_by_wave(
        [wave for rule in rules for window in rule.windows.all() for wave in window.waves.all()]
    )


def _window(
    window: Window, labelled: dict[int, dict[str, int]], is_reviewer: bool
) -> dict[str, object]:
    can_label = is_reviewer and window.state == WindowState.OPEN
    queue_id = window.rule.queue.pk
    return {
        "steps": step_range(window.first_step, window.last_step),
        "state": window.state,
        "frame_size": window.frame_size or 0,
        "queue_url": reverse("web:queue", args=[queue_id]) if can_label else None,
        "waves": [
            {
                "number": wave.number,
                "planned": wave.planned,
                "labelled": labelled[wave.pk].get(AssignmentState.DONE, 0),
                "skipped": labelled[wave.pk].get(AssignmentState.SKIPPED, 0),
                "state": wave.state,
            }
            for wave in window.waves.all()
        ],
    }


def _audit(rule: AuditRule, labelled: dict[int, dict[str, int]]) -> dict[str, object]:
    waves = [wave for window in rule.windows.all() for wave in window.waves.all()]
    is_draft = rule.state == RuleState.DRAFT
    return {
        "id": rule.pk,
        "name": rule.name,
        "state": rule.state,
        "budget": rule.budget * max(1, len(rule.windows.all())),
        "labelled": sum(labelled[wave.pk].get(AssignmentState.DONE, 0) for wave in waves),
        "start_url": reverse("web:audit-start", args=[rule.pk]) if is_draft else None,
    }


def _table(table: RewardTable, summaries: Sequence[StepSummary]) -> dict[str, object]:
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
        "publish_url": None if table.is_published else publish_url,
    }


def steps_using(table: RewardTable, summaries: Sequence[StepSummary]) -> str:
    return step_ranges(s.step for s in summaries if s.table_version == table.version)
