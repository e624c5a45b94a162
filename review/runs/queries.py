from collections.abc import Iterable
from uuid import UUID

from django.db.models import Count, QuerySet

from review.accounts.models import Project, User
from review.core.errors import MissingError
from review.runs.models import Erratum, ErratumState, Prompt, Run


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


# More of them are no list to choose from.
DOMAINS_SHOWN = 50


def domains_of(project: Project) -> list[str]:
    """The domains of the project's prompts, those of most prompts first."""
    prompts = Prompt.objects.filter(run__project=project).values("domain")
    rows = prompts.annotate(prompts=Count("pk")).order_by("-prompts", "domain")
    return list(rows.values_list("domain", flat=True)[:DOMAINS_SHOWN])


def prompts_by_uid(run: Run, uids: Iterable[str], *, with_texts: bool) -> dict[str, Prompt]:
    prompts = run.prompts.filter(uid__any_of=uids)
    if not with_texts:
        prompts = prompts.defer("text", "references")
    return {prompt.uid: prompt for prompt in prompts}


def errata_of(project: Project) -> QuerySet[Erratum]:
    """What the project's problems are said to be broken by, the oldest first."""
    rows = Erratum.objects.filter(prompt__run__project=project)
    return rows.select_related("prompt__run").order_by("opened_at", "pk")


def open_errata(project: Project) -> QuerySet[Erratum]:
    return errata_of(project).filter(state=ErratumState.OPEN)


def errata_of_run(run: Run) -> QuerySet[Erratum]:
    rows = Erratum.objects.filter(prompt__run=run).select_related("prompt")
    return rows.order_by("opened_at", "pk")


def errata_of_prompt(prompt: Prompt) -> QuerySet[Erratum]:
    """Those that stand: upheld, or waiting for a decision."""
    standing = (ErratumState.UPHELD, ErratumState.OPEN)
    return prompt.errata.filter(state__in=standing).order_by("opened_at", "pk")
