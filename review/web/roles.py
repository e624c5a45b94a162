"""What people are called in a project, and what that means."""

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from review.accounts.models import Role

NAMES: dict[str, Promise] = {
    Role.REVIEWER: _("Reviewer"),
    Role.ADJUDICATOR: _("Adjudicator"),
    Role.LEAD: _("Lead"),
    Role.ADMIN: _("Admin"),
}
DUTIES: dict[str, Promise] = {
    Role.REVIEWER: _("labels rollouts, blind"),
    Role.ADJUDICATOR: _("decides between labels that disagree"),
    Role.LEAD: _("sees runs, sets audits, publishes reward tables"),
    Role.ADMIN: _("invites people and says what they may do"),
}
CHOICES = [(role, format_lazy("{}: {}", NAMES[role], DUTIES[role])) for role in Role.values]


def names_of(roles: set[str]) -> list[str]:
    """In the order in which roles are listed."""
    return [str(NAMES[role]) for role in Role.values if role in roles]
