from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from review.accounts.models import Project, Role, User
from review.accounts.queries import projects_of, roles_in
from review.calibration.queries import newest_versions
from review.labeling.queries import label_counts, progress_by_queue, queues_of
from review.rollouts.queries import RunTotals, run_totals
from review.runs.queries import runs_of
from review.sampling.models import RuleState
from review.web.access import ReviewRequest


@require_GET
@login_required
def home(request: ReviewRequest) -> HttpResponse:
    projects = [_project(request.user, project) for project in projects_of(request.user)]
    return render(request, "web/home.html", {"projects": projects})


def _project(user: User, project: Project) -> dict[str, object]:
    roles = roles_in(user, project)
    is_lead = Role.LEAD in roles
    return {
        "name": project.name,
        "slug": project.slug,
        "role": " and ".join(sorted(roles)),
        "tokens_url": reverse("web:tokens", args=[project.slug]) if is_lead else None,
        # A run's name can tell the policy: reviewers label blind.
        "runs": _runs(project) if is_lead else None,
        "queues": _queues(project, shows_run=is_lead) if Role.REVIEWER in roles else [],
    }


def _runs(project: Project) -> list[dict[str, object]]:
    totals, labels, versions = run_totals(project), label_counts(project), newest_versions(project)
    return [
        {
            "id": run.pk,
            "name": run.name,
            "status": run.status,
            "is_active": run.is_running,
            "latest_step": totals.get(run.pk, RunTotals()).latest_step,
            "rollouts": totals.get(run.pk, RunTotals()).rollouts,
            "labels": labels.get(run.pk, 0),
            "latest_table": versions.get(run.pk),
        }
        for run in runs_of(project)
    ]


def _queues(project: Project, *, shows_run: bool) -> list[dict[str, object]]:
    """The queues of audits that have been started, those with open items first."""
    progress = progress_by_queue(project)
    started = [queue for queue in queues_of(project) if queue.rule.state != RuleState.DRAFT]
    return [
        {
            "id": queue.pk,
            "name": queue.name,
            "run_name": queue.rule.run.name if shows_run else None,
            "open": progress[queue.pk].open,
            "done": progress[queue.pk].done,
            "total": progress[queue.pk].total,
            "is_finished": queue.rule.state == RuleState.FINISHED,
        }
        for queue in sorted(started, key=lambda queue: progress[queue.pk].open == 0)
    ]
