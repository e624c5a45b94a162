"""Invitations: the one way in for people whom no administrator has given an account."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from review.accounts.errors import InvitationClosedError, UnknownRoleError, UsernameTakenError
from review.accounts.models import Invitation, Project, Role, User
from review.accounts.queries import token_digest
from review.accounts.services.members import add_member
from review.core.models import record_event

VALID_DAYS = 7


@dataclass(frozen=True, slots=True)
class IssuedInvitation:
    """The secret is shown once and stored nowhere."""

    invitation: Invitation
    secret: str


@transaction.atomic
def invite(
    *,
    project: Project,
    invitee: str,
    roles: Collection[str],
    expertise: Collection[str] = (),
    actor: User,
) -> IssuedInvitation:
    wanted = set(roles)
    if not wanted or not wanted <= set(Role.values):
        raise UnknownRoleError(fields={"roles": f"choose among {', '.join(Role.values)}"})
    secret = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        project=project,
        invitee=invitee,
        roles=[role for role in Role.values if role in wanted],
        expertise=list(expertise),
        digest=token_digest(secret),
        created_by=actor.username,
        expires_at=timezone.now() + timedelta(days=VALID_DAYS),
    )
    record_event(actor=actor, action="invitation made", subject=invitation, roles=invitation.roles)
    return IssuedInvitation(invitation=invitation, secret=secret)


@transaction.atomic
def revoke_invitation(*, invitation: Invitation, actor: object) -> None:
    """One that was accepted, has expired or is revoked stays as it is."""
    if Invitation.objects.open().filter(pk=invitation.pk).update(revoked_at=timezone.now()):
        record_event(actor=actor, action="invitation revoked", subject=invitation)


@transaction.atomic
def accept_invitation(*, secret: str, user: User) -> Invitation:
    """Join the invitation's project. Of two at once the row lets one through."""
    still_open = Invitation.objects.open().filter(digest=token_digest(secret))
    if not still_open.update(accepted_by=user, accepted_at=timezone.now()):
        raise InvitationClosedError
    invitation = Invitation.objects.select_related("project").get(digest=token_digest(secret))
    record_event(actor=user, action="invitation accepted", subject=invitation)
    for role in invitation.roles:
        is_reviewer = role == Role.REVIEWER
        add_member(
            project=invitation.project,
            user=user,
            role=Role(role),
            actor=user,
            expertise=invitation.expertise if is_reviewer else (),
        )
    return invitation


@transaction.atomic
def join_with_new_account(*, secret: str, username: str, password: str) -> User:
    """Make an account by an open invitation; without one there is no account."""
    try:
        with transaction.atomic():
            user = User.objects.create_user(username, password=password)
    except IntegrityError:
        raise UsernameTakenError(fields={"username": UsernameTakenError().message}) from None
    accept_invitation(secret=secret, user=user)
    record_event(actor=user, action="account made", subject=user)
    return user
