"""What every page inside a project passes to the frame around it."""

from django.urls import reverse
from django.utils.translation import gettext as _

from review.accounts.models import Project, Role
from review.accounts.queries import roles_in
from review.labeling.adjudications import ADJUDICATING_ROLES, waiting_for
from review.runs.queries import open_errata
from review.web.access import ReviewRequest


def project_frame(request: ReviewRequest, project: Project, current: str) -> dict[str, object]:
    links = [(_("Overview"), f"{reverse('web:home')}#{project.slug}")]
    roles = roles_in(request.user, project)
    if not roles.isdisjoint(ADJUDICATING_ROLES):
        waiting = len(waiting_for(request.user, project))
        decide = _("To decide (%d)") % waiting if waiting else _("To decide")
        links.append((decide, reverse("web:adjudications", args=[project.slug])))
    if Role.LEAD in roles:
        links.append((_("Import"), reverse("web:imports", args=[project.slug])))
        links.append((_("Verifiers"), reverse("web:verifiers", args=[project.slug])))
        links.append((_("Slices"), reverse("web:slices", args=[project.slug])))
        links.append((_("Errata"), reverse("web:errata", args=[project.slug])))
        links.append((_("Service tokens"), reverse("web:tokens", args=[project.slug])))
    if not roles.isdisjoint({Role.LEAD, Role.ADMIN}):
        links.append((_("Members"), reverse("web:members", args=[project.slug])))
    return {
        "project": project,
        "project_nav": [
            {
                "label": label,
                "url": url,
                "is_current": label == current,
                "count": open_errata(project).count() if label == _("Errata") else 0,
            }
            for label, url in links
        ],
    }
