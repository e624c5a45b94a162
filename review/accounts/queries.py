"""Who may do what: the rules that pages and API share."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from review.accounts.models import (
    Invitation,
    Membership,
    Project,
    Role,
    Scope,
    ServiceToken,
    User,
)

ROLE_OF_SCOPE = {Scope.LABEL: Role.REVIEWER}


def projects_of(user: User) -> QuerySet[Project]:
    return Project.objects.filter(memberships__user=user).distinct().order_by("name")


def roles_in(user: User, project: Project) -> set[str]:
    return set(Membership.objects.filter(user=user, project=project).values_list("role", flat=True))


def has_role(user: User, project: Project, role: Role) -> bool:
    return Membership.objects.filter(user=user, project=project, role=role).exists()


def reviewers_of(project_id: int, domains: Sequence[str] = ()) -> QuerySet[Membership]:
    """The project's reviewers who may be asked about these domains; about none: all of them.

    Whoever names no domain of their own is asked about any.
    """
    reviewers = Membership.objects.filter(project=project_id, role=Role.REVIEWER)
    if not domains:
        return reviewers
    return reviewers.filter(Q(expertise=[]) | Q(expertise__overlap=list(domains)))


def expertise_in(user: User, project: Project) -> list[str] | None:
    """The domains that the user reviews in the project, none being all; None: no reviewer."""
    reviewer = Membership.objects.filter(user=user, project=project, role=Role.REVIEWER)
    return reviewer.values_list("expertise", flat=True).first()


@dataclass(frozen=True, slots=True)
class Member:
    user: User
    # In the order in which roles are listed.
    roles: list[str]
    # As a reviewer; none: all domains.
    expertise: list[str]


def members_of(project: Project) -> list[Member]:
    """The project's people by name."""
    rows = Membership.objects.filter(project=project).select_related("user")
    by_user: dict[User, dict[str, list[str]]] = defaultdict(dict)
    for row in rows.order_by("user__username"):
        by_user[row.user][row.role] = row.expertise
    return [
        Member(user, [role for role in Role.values if role in held], held.get(Role.REVIEWER, []))
        for user, held in by_user.items()
    ]


def member_of(project: Project, user_id: int) -> Member | None:
    return next((row for row in members_of(project) if row.user.pk == user_id), None)


def invitations_of(project: Project) -> QuerySet[Invitation]:
    """The project's invitations, newest first."""
    return project.invitations.select_related("accepted_by").order_by("-created_at", "pk")


def open_invitation(secret: str) -> Invitation | None:
    found = Invitation.objects.open().filter(digest=token_digest(secret))
    return found.select_related("project").first()


def token_digest(secret: str) -> str:
    """Secrets are 256 random bits, so one round of SHA-256 hides them as well as a slow hash."""
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
