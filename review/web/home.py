from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from review.accounts.models import Project, Role, User
from review.accounts.queries import projects_of, roles_in
from review.calibration.queries import newest_versions
from review.labeling.adjudications import ADJUDICATING_ROLES, waiting_for
from review.labeling.queries import label_counts, progress_by_queue, queues_of_reviewer
from review.rollouts.queries import RunTotals, run_totals
from review.runs.queries import runs_of
from review.sampling.models import RuleState
from review.web import desk
from review.web.access import ReviewRequest
from review.web.roles import names_of


@require_GET
@login_required
def home(request: ReviewRequest) -> HttpResponse:
    context = {
        "projects": [_project(request.user, project) for project in projects_of(request.user)],
        "new_project_url": reverse("web:project-new") if request.user.is_staff else None,
    }
    return render(request, "web/home.html", context)


def _project(user: User, project: Project) -> dict[str, object]:
    roles = roles_in(user, project)
    is_lead = Role.LEAD in roles
    sees_members = is_lead or Role.ADMIN in roles
    return {
        "name": project.name,
        "slug": project.slug,
        "roles": names_of(roles),
        "tokens_url": reverse("web:tokens", args=[project.slug]) if is_lead else None,
        "imports_url": reverse("web:imports", args=[project.slug]) if is_lead else None,
        "members_url": reverse("web:members", args=[project.slug]) if sees_members else None,
        "to_decide": _to_decide(user, project, roles),
        "paused": desk.paused(project.queues.all()) if is_lead else [],
        # A run's name can tell the policy: reviewers label blind.
        "runs": _runs(project) if is_lead else None,
        "queues": _queues(user, project, shows_run=is_lead),
    }


def _to_decide(user: User, project: Project, roles: set[str]) -> int | None:
    """None: nothing to say of it, to a lead either where nothing waits."""
    if roles.isdisjoint(ADJUDICATING_ROLES):
        return None
    waiting = len(waiting_for(user, project))
    return waiting or (0 if Role.ADJUDICATOR in roles else None)


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


def _queues(user: User, project: Project, *, shows_run: bool) -> list[dict[str, object]]:
    """What of started audits is theirs to label, those with open items first."""
    mine = queues_of_reviewer(user, project)
    started = [queue for queue in mine if queue.rule.state != RuleState.DRAFT]
    progress = progress_by_queue(project) if started else {}
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
