"""Password guessing is slowed down, by counts that all processes share and that outlive them."""

import hashlib
from dataclasses import dataclass

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import connection
from django.db.models import F
from django.utils import timezone

from review.accounts.errors import TooManySignInsError
from review.accounts.models import FailedSignIns


@dataclass(frozen=True, slots=True)
class Limit:
    """So many failures are looked at in so long a time; further ones have to wait for its end."""

    failures: int
    seconds: int


# Somebody who mistypes; a hall of people behind one address; one account guessed from many
# addresses, which is generous, because whoever wants to can use it up for its owner.
ONE_NAME_AND_ADDRESS = Limit(10, 300)
ONE_ADDRESS = Limit(60, 300)
ONE_NAME = Limit(100, 3600)


def begin_sign_in(*, name: str, address: str) -> None:
    """Count a sign-in as failed before its password is looked at: many at once gain nothing.

    What one limit refuses does not use up the next.
    """
    for key, limit in _limits(name, address).items():
        if _count(key, limit) > limit.failures:
            raise TooManySignInsError


def end_sign_in(*, name: str, address: str) -> None:
    """It has not failed after all."""
    own, *shared = _limits(name, address)
    FailedSignIns.objects.filter(key=own).delete()
    FailedSignIns.objects.filter(key__in=shared, failures__gt=0).update(failures=F("failures") - 1)


def forget_failures() -> None:
    FailedSignIns.objects.filter(ends_at__lt=timezone.now()).delete()


def _limits(name: str, address: str) -> dict[str, Limit]:
    # As the sign-in form reads a name, and in one case: other spellings are no other account.
    name = AbstractBaseUser.normalize_username(name).casefold()
    return {
        _key("name and address", name, address): ONE_NAME_AND_ADDRESS,
        _key("address", address): ONE_ADDRESS,
        _key("name", name): ONE_NAME,
    }


def _key(*parts: str) -> str:
    """Neither names nor addresses are kept, and it has one length."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


COUNT_SQL = """
INSERT INTO accounts_failedsignins AS kept (key, failures, ends_at)
VALUES (%(key)s, 1, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (key) DO UPDATE SET
    failures = CASE WHEN kept.ends_at < clock_timestamp() THEN 1 ELSE kept.failures + 1 END,
    ends_at = CASE WHEN kept.ends_at < clock_timestamp() THEN excluded.ends_at ELSE kept.ends_at END
RETURNING failures
"""


def _count(key: str, limit: Limit) -> int:
    with connection.cursor() as cursor:
        cursor.execute(COUNT_SQL, {"key": key, "seconds": limit.seconds})
        return int(cursor.fetchone()[0])
