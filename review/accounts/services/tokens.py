import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from review.accounts.errors import NotAMemberError, UnknownScopeError
from review.accounts.models import Project, Scope, ServiceToken, User
from review.accounts.queries import owner_may, token_digest
from review.core.models import record_event


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """The secret is shown once and stored nowhere."""

    token: ServiceToken
    secret: str


@transaction.atomic
def issue_token(
    *,
    project: Project,
    owner: User,
    name: str,
    scopes: Sequence[str],
    actor: object,
    valid_days: int | None = None,
) -> IssuedToken:
    wanted = sorted(set(scopes))
    if not wanted or not set(wanted) <= set(Scope.values):
        raise UnknownScopeError(fields={"scopes": f"choose among {', '.join(Scope.values)}"})
    if not owner_may(owner, project, set(wanted)):
        raise NotAMemberError(fields={"owner": "label needs a reviewer, other scopes a lead"})
    secret = f"assay_{secrets.token_urlsafe(32)}"
    expires_at = timezone.now() + timedelta(days=valid_days) if valid_days else None
    token = ServiceToken.objects.create(
        project=project,
        owner=owner,
        name=name,
        scopes=wanted,
        digest=token_digest(secret),
        expires_at=expires_at,
    )
    record_event(actor=actor, action="token issued", subject=token, scopes=wanted)
    return IssuedToken(token=token, secret=secret)


@transaction.atomic
def revoke_token(*, token: ServiceToken, actor: object) -> None:
    revoked = ServiceToken.objects.filter(pk=token.pk, revoked_at=None)
    if revoked.update(revoked_at=timezone.now()):
        record_event(actor=actor, action="token revoked", subject=token)


def mark_used(*, token: ServiceToken) -> None:
    """At most one write a minute, so that a busy token costs nothing."""
    now = timezone.now()
    if token.last_used_at is None or token.last_used_at < now - timedelta(minutes=1):
        ServiceToken.objects.filter(pk=token.pk).update(last_used_at=now)
