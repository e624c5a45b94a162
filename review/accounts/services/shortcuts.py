"""A person's own keys."""

from collections.abc import Mapping

from review.accounts.models import User


def save_shortcuts(*, user: User, shortcuts: Mapping[str, str]) -> User:
    """By action; which actions and keys there are is the labelling page's to say."""
    user.shortcuts = dict(shortcuts)
    user.save(update_fields=["shortcuts"])
    return user
