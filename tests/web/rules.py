"""What a browser sends of the rule form."""

from django.test import Client
from django.urls import reverse

from review.accounts.models import User
from review.runs.models import Run
from review.sampling.models import AuditRule

SETTINGS = {
    "last_step": "2",
    "budget": "64",
    "budget_per": "window",
    "focus": "compromise",
    "second_review_share": "0",
    "waves": "2",
    "floor": "15",
    "gold_share": "0",
    "shows_reference": "on",
}
RULE = SETTINGS | {"name": "mine", "first_step": "1", "window_steps": "2"}


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def write_rule(client: Client, run: Run, **changes: str) -> AuditRule:
    client.post(reverse("web:audit-new", args=[run.pk]), RULE | changes)
    return AuditRule.objects.get(run=run)
