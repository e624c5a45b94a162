"""Tokens: hashed at rest, refused at once when they are of no more use, never logged."""

import logging
from datetime import timedelta

import pytest
from django.apps import apps
from django.utils import timezone

from review.accounts.models import Membership, Project, Role, ServiceToken, User
from review.accounts.services.tokens import revoke_token
from review.runs.models import Run
from tests import builders
from tests.api.calls import Caller, refused


@pytest.fixture
def table_caller(project: Project, ada: User) -> Caller:
    return Caller(builders.make_token(project, "table", owner=ada))


def test_a_token_stands_nowhere_in_the_database(table_caller: Caller, run: Run) -> None:
    refused(table_caller.get(f"runs/{run.pk}/reward-table"), 404, "no_reward_table")
    for model in apps.get_models():
        assert table_caller.secret not in str(list(model._default_manager.values()))


def test_a_revoked_token_is_refused_at_once(table_caller: Caller, run: Run) -> None:
    assert table_caller.get(f"runs/{run.pk}").status_code == 200
    revoke_token(token=ServiceToken.objects.get(), actor="test")
    refused(table_caller.get(f"runs/{run.pk}"), 401, "not_authenticated")


def test_an_expired_token_is_refused(table_caller: Caller, run: Run) -> None:
    ServiceToken.objects.update(expires_at=timezone.now() + timedelta(minutes=1))
    assert table_caller.get(f"runs/{run.pk}").status_code == 200
    ServiceToken.objects.update(expires_at=timezone.now())
    refused(table_caller.get(f"runs/{run.pk}"), 401, "not_authenticated")


def test_a_token_ends_with_its_owners_role(table_caller: Caller, run: Run, ada: User) -> None:
    Membership.objects.filter(user=ada).update(role=Role.REVIEWER)
    refused(table_caller.get(f"runs/{run.pk}"), 401, "not_authenticated")


def test_a_token_ends_with_its_owners_account(table_caller: Caller, run: Run) -> None:
    User.objects.update(is_active=False)
    refused(table_caller.get(f"runs/{run.pk}"), 401, "not_authenticated")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic {}", "{}", "Token {}", "Bearer {}x", "Bearer \xe9"]
)
def test_a_header_without_the_token_is_refused(table_caller: Caller, run: Run, header: str) -> None:
    header = header.format(table_caller.secret)
    response = table_caller.get(f"runs/{run.pk}", Authorization=header)
    refused(response, 401, "not_authenticated")
    assert response["WWW-Authenticate"] == "Bearer"


def test_after_sixty_refused_tokens_a_minute_one_has_to_wait(
    table_caller: Caller, run: Run
) -> None:
    guess = Caller("assay_guess")
    for _ in range(60):
        refused(guess.get(f"runs/{run.pk}"), 401, "not_authenticated")
    response = guess.get(f"runs/{run.pk}")
    refused(response, 429, "throttled")
    assert response["Retry-After"] == "60"
    # Whoever has a token is not held up by another one's guesses.
    assert table_caller.get(f"runs/{run.pk}").status_code == 200


def test_a_token_is_in_no_log(
    table_caller: Caller, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    # Also what is too common for the settings to let through.
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "django.request"):
        table_caller.get(f"runs/{run.pk}")
        table_caller.get(f"runs/{run.pk}/estimates")
        table_caller.post("runs", {"uid": 1})
        Caller(table_caller.secret + "x").get(f"runs/{run.pk}")
    assert "/api/v1/runs" in caplog.text
    assert table_caller.secret not in caplog.text


def test_a_busy_token_is_written_once_a_minute(table_caller: Caller, run: Run) -> None:
    table_caller.get(f"runs/{run.pk}")
    first = ServiceToken.objects.get().last_used_at
    table_caller.get(f"runs/{run.pk}")
    assert first is not None
    assert ServiceToken.objects.get().last_used_at == first
