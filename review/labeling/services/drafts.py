"""What a reviewer has filled in so far: saved while they hold the item, gone with the commit."""

from collections.abc import Mapping
from uuid import UUID

from django.db import transaction

from review.accounts.models import User
from review.labeling.models import Assignment, Draft
from review.labeling.services.leases import lock_held


@transaction.atomic
def save_draft(
    *, assignment: Assignment, reviewer: User, token: UUID, body: Mapping[str, str]
) -> Draft:
    """Keep the form's fields; the newest wins. Holds the item, so none outlives its commit."""
    held = lock_held(assignment, reviewer, token)
    draft, _ = Draft.objects.update_or_create(
        assignment=held, reviewer=reviewer, defaults={"body": dict(body)}
    )
    return draft


def draft_of(assignment: Assignment, reviewer: User) -> dict[str, str]:
    """What this reviewer has filled in of the item; nobody sees another's."""
    draft = Draft.objects.filter(assignment=assignment, reviewer=reviewer).first()
    return dict(draft.body) if draft else {}
