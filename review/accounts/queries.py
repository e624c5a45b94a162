"""Who may do what: the rules that pages and API share."""

import hashlib

from django.db.models import QuerySet

from review.accounts.models import Membership, Project, Role, Scope, ServiceToken, User

ROLE_OF_SCOPE = {Scope.LABEL: Role.REVIEWER}


def projects_of(user: User) -> QuerySet[Project]:
    return Project.objects.filter(memberships__user=user).distinct().order_by("name")


def roles_in(user: User, project: Project) -> set[str]:
    return set(Membership.objects.filter(user=user, project=project).values_list("role", flat=True))


def has_role(user: User, project: Project, role: Role) -> bool:
    return Membership.objects.filter(user=user, project=project, role=role).exists()


def token_digest(secret: str) -> str:
    """Tokens are 256 random bits, so one round of SHA-256 hides them as well as a slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def usable_token(secret: str) -> ServiceToken | None:
    """The live token of this secret, unless its owner has lost the role that it needs."""
    token = (
        ServiceToken.objects.usable()
        .select_related("project", "owner")
        .filter(digest=token_digest(secret))
        .first()
    )
    if token is None or not owner_may(token.owner, token.project, set(token.scopes)):
        return None
    return token


def owner_may(owner: User, project: Project, scopes: set[str]) -> bool:
    """A label token needs a reviewer behind it, every other one a lead."""
    needed = {ROLE_OF_SCOPE.get(Scope(scope), Role.LEAD) for scope in scopes}
    return needed <= roles_in(owner, project)


def tokens_of(project: Project) -> QuerySet[ServiceToken]:
    return project.tokens.select_related("owner").order_by("-created_at")
