"""What every page inside a project passes to the frame around it."""

from django.urls import reverse

from review.accounts.models import Project, Role
from review.accounts.queries import roles_in
from review.web.access import ReviewRequest


def project_frame(request: ReviewRequest, project: Project, current: str) -> dict[str, object]:
    links = [("Overview", f"{reverse('web:home')}#{project.slug}")]
    if Role.LEAD in roles_in(request.user, project):
        links.append(("Slices", reverse("web:slices", args=[project.slug])))
        links.append(("Service tokens", reverse("web:tokens", args=[project.slug])))
    return {
        "project": project,
        "project_nav": [
            {"label": label, "url": url, "is_current": label == current} for label, url in links
        ],
    }
