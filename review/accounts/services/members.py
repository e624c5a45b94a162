"""Who is in a project, and as what."""

from collections.abc import Collection, Iterable

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from review.accounts.errors import (
    LastAdminError,
    NotInProjectError,
    SlugTakenError,
    UnknownRoleError,
)
from review.accounts.models import Invitation, Membership, Project, Role, User
from review.core.models import record_event


@transaction.atomic
def create_project(*, name: str, slug: str, maker: User) -> Project:
    """A project whose maker holds every role, so that there is somebody who can invite others."""
    try:
        with transaction.atomic():
            project = Project.objects.create(name=name, slug=slug)
    except IntegrityError:
        raise SlugTakenError(fields={"slug": SlugTakenError().message}) from None
    record_event(actor=maker, action="project made", subject=project, name=name)
    for role in Role:
        add_member(project=project, user=maker, role=role, actor=maker)
    return project


@transaction.atomic
def add_member(
    *,
    project: Project,
    user: User,
    role: Role,
    actor: object,
    expertise: Collection[str] = (),
) -> Membership:
    """Give the role; whoever holds it already keeps it as it is."""
    membership, is_new = Membership.objects.get_or_create(
        project=project, user=user, role=role, defaults={"expertise": list(expertise)}
    )
    if is_new:
        said = {"user": user.username, "role": role, "expertise": list(expertise)}
        record_event(actor=actor, action="member added", subject=membership, **said)
    return membership


@transaction.atomic
def change_member(
    *,
    project: Project,
    user: User,
    roles: Iterable[str],
    expertise: Collection[str],
    actor: object,
) -> None:
    """Give exactly these roles, and to the reviewer among them this expertise."""
    wanted = _known(roles)
    _lock(project)
    held = {row.role: row for row in _memberships(project, user)}
    if not held:
        raise NotInProjectError
    _take(project, user, held.keys() - wanted, actor)
    for role in sorted(wanted - held.keys()):
        add_member(project=project, user=user, role=Role(role), actor=actor)
    if Role.REVIEWER in wanted:
        _set_expertise(project, user, list(expertise), actor)


@transaction.atomic
def remove_member(*, project: Project, user: User, actor: object) -> None:
    """Take every role: their tokens stop with it; what they hold goes back when its lease ends."""
    _lock(project)
    held = {row.role for row in _memberships(project, user)}
    if not held:
        raise NotInProjectError
    _take(project, user, held, actor)


def _lock(project: Project) -> None:
    """Changes of a project's people come one after the other: the last admin sees the others go."""
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)


def _memberships(project: Project, user: User) -> QuerySet[Membership]:
    return Membership.objects.filter(project=project, user=user)


def _known(roles: Iterable[str]) -> set[str]:
    wanted = set(roles)
    if not wanted or not wanted <= set(Role.values):
        raise UnknownRoleError(fields={"roles": f"choose among {', '.join(Role.values)}"})
    return wanted


def _take(project: Project, user: User, roles: Collection[str], actor: object) -> None:
    if Role.ADMIN in roles:
        _refuse_last_admin(project, user)
        _withdraw_invitations(project, user, actor)
    for membership in _memberships(project, user).filter(role__in=roles).order_by("role"):
        record_event(
            actor=actor,
            action="member removed",
            subject=membership,
            user=user.username,
            role=membership.role,
        )
        membership.delete()


def _refuse_last_admin(project: Project, user: User) -> None:
    admins = Membership.objects.filter(project=project, role=Role.ADMIN, user__is_active=True)
    if not admins.exclude(user=user).exists():
        raise LastAdminError


def _withdraw_invitations(project: Project, user: User, actor: object) -> None:
    """A link that they kept would be a way back in."""
    theirs = Invitation.objects.open().filter(project=project, created_by=user.username)
    for invitation in theirs:
        record_event(actor=actor, action="invitation revoked", subject=invitation)
    theirs.update(revoked_at=timezone.now())


def _set_expertise(project: Project, user: User, expertise: list[str], actor: object) -> None:
    row = _memberships(project, user).get(role=Role.REVIEWER)
    if row.expertise != expertise:
        row.expertise = expertise
        row.save(update_fields=["expertise"])
        record_event(actor=actor, action="expertise set", subject=row, expertise=expertise)
