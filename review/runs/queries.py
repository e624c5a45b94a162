from collections.abc import Iterable
from uuid import UUID

from django.db.models import QuerySet

from review.accounts.models import Project, User
from review.core.errors import MissingError
from review.runs.models import Prompt, Run


def runs_of(project: Project) -> QuerySet[Run]:
    return Run.objects.filter(project=project).order_by("-created_at")


def run_in_project(project: Project, run_id: UUID) -> Run:
    """The run, if it is the project's; another project's run does not exist here."""
    run = Run.objects.filter(project=project, pk=run_id).select_related("project").first()
    if run is None:
        raise MissingError("There is no such run in this project.")
    return run


def run_of_lead(user: User, run_id: UUID) -> Run:
    """The run, if the user leads its project."""
    run = (
        Run.objects.filter(
            pk=run_id, project__memberships__user=user, project__memberships__role="lead"
        )
        .select_related("project")
        .first()
    )
    if run is None:
        raise MissingError("There is no such run among those that you lead.")
    return run


def prompts_by_uid(run: Run, uids: Iterable[str]) -> dict[str, Prompt]:
    return {prompt.uid: prompt for prompt in run.prompts.filter(uid__in=set(uids))}
