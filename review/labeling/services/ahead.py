"""The item that a reviewer's page prepares while they read another one. It is leased to nobody.

What several pages prepare at once should differ, or whoever commits first takes the item of all.
So an item that was shown to one is passed over for the others for a while, as far as the cache
tells; that is a courtesy, and a take settles whose it is.
"""

from uuid import UUID

from django.core import signing
from django.core.cache import cache

from review.accounts.models import User
from review.labeling.models import Assignment, AssignmentState, Queue
from review.labeling.services.leases import peek_next, take_next

SALT = "review.labeling.ahead"
# Of so many items one is still nobody's, or the page does without.
MOST_PASSED = 32


def look_ahead(*, held: Assignment, reviewer: User) -> Assignment | None:
    """What the reviewer will probably be given after the item that they hold."""
    if held.reviewer_id != reviewer.pk or held.state != AssignmentState.LEASED:
        return None
    return _free_item(held.queue, reviewer, held)


def _free_item(queue: Queue, reviewer: User, after: Assignment | None) -> Assignment | None:
    """The first one that is prepared for nobody else."""
    passed: list[UUID] = []
    while len(passed) < MOST_PASSED:
        item = peek_next(queue=queue, reviewer=reviewer, after=after, passing=passed)
        if item is None or _is_theirs(item, reviewer):
            return item
        passed.append(item.pk)
    return None


def _is_theirs(item: Assignment, reviewer: User) -> bool:
    """Whether nobody else prepares it; from now on this reviewer does."""
    owner = cache.get_or_set(f"ahead:{item.pk}", reviewer.pk, item.queue.lease_seconds)
    return bool(owner == reviewer.pk)


def ahead_token(item: Assignment, reviewer: User) -> str:
    """Proves that the item was prepared for this reviewer: nobody names one of their choice."""
    return signing.dumps([str(item.pk), reviewer.pk], salt=SALT)


def take_ahead(*, queue: Queue, reviewer: User, token: str = "") -> Assignment | None:
    """Lease the prepared item, or one that nobody else prepares, or else the queue's next one.

    Were the queue's next one taken at once, it would mostly be what somebody else prepares, who
    would then take what a third one does.
    """
    wanted = _item_of(token, reviewer)
    open_items = Assignment.objects.filter(state=AssignmentState.OPEN)
    if wanted is None or not open_items.filter(pk=wanted).exists():
        free = _free_item(queue, reviewer, None)
        wanted = free.pk if free else None
    return take_next(queue=queue, reviewer=reviewer, wanted=wanted)


def _item_of(token: str, reviewer: User) -> UUID | None:
    try:
        item, owner = signing.loads(token, salt=SALT, max_age=24 * 3600)
    except signing.BadSignature:
        return None
    return UUID(item) if owner == reviewer.pk else None
