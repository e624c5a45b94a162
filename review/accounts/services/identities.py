"""People who sign in at another provider."""

import re
from itertools import chain, count

from django.db import IntegrityError, transaction

from review.accounts.errors import AccountClosedError
from review.accounts.models import Identity, User
from review.core.models import record_event

USERNAME_LENGTH = 60


def person_of(*, issuer: str, subject: str, called: str) -> User:
    """Whoever the issuer means by this subject, by an account of their own from the first time on.

    Nothing but the subject tells who it is: a name or an e-mail address that equals another
    account's opens that account to nobody.
    """
    identity = _identity(issuer, subject) or _new_identity(issuer, subject, called)
    if not identity.user.is_active:
        raise AccountClosedError
    return identity.user


def _identity(issuer: str, subject: str) -> Identity | None:
    known = Identity.objects.select_related("user")
    return known.filter(issuer=issuer, subject=subject).first()


def _new_identity(issuer: str, subject: str, called: str) -> Identity:
    try:
        return _create(issuer, subject, called)
    except IntegrityError:
        # Their other tab was faster; or it was somebody of the same name.
        return _identity(issuer, subject) or _create(issuer, subject, called)


@transaction.atomic
def _create(issuer: str, subject: str, called: str) -> Identity:
    user = User.objects.create_user(_free_username(called))
    record_event(actor=user, action="account made", subject=user, issuer=issuer)
    return Identity.objects.create(user=user, issuer=issuer, subject=subject)


def _free_username(called: str) -> str:
    """The name itself, or with a number; names that differ in case alone are the same."""
    wanted = re.sub(r"[^\w.+-]+", "-", called).strip("-")[:USERNAME_LENGTH] or "person"
    alike = User.objects.filter(username__istartswith=wanted)
    taken = {name.casefold() for name in alike.values_list("username", flat=True)}
    numbered = (f"{wanted}-{number}" for number in count(2))
    return next(name for name in chain([wanted], numbered) if name.casefold() not in taken)
