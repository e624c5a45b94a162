"""The one way to an account by a page: a link that lets one person in, once."""

import re
import threading
from datetime import timedelta

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from review.accounts.errors import InvitationClosedError
from review.accounts.models import Invitation, Membership, Project, Role, User
from review.accounts.queries import roles_in
from review.accounts.services.invitations import accept_invitation, invite
from review.accounts.services.members import change_member
from review.core.models import AuditEvent
from tests import builders
from tests.web.rules import signed_in

PASSWORD = "correct horse 7"


@pytest.fixture
def ida(project: Project) -> User:
    """Administers the project."""
    return builders.make_user(project, Role.ADMIN, name="ida")


@pytest.fixture
def secret(project: Project, ida: User) -> str:
    """Of an open invitation of a reviewer of algebra."""
    return invite(
        project=project, invitee="Eve", roles=["reviewer"], expertise=["algebra"], actor=ida
    ).secret


def join_url(secret: str) -> str:
    return reverse("web:join", args=[secret])


def sign_up(secret: str, name: str = "eve", password: str = PASSWORD) -> tuple[Client, int]:
    client = Client()
    data = {"username": name, "password1": password, "password2": password}
    return client, client.post(join_url(secret), data).status_code


def test_a_link_made_on_the_page_lets_a_new_person_in(project: Project, ida: User) -> None:
    answer = signed_in(ida).post(
        reverse("web:invitation-new", args=[project.slug]),
        {"invitee": "Eve", "roles": ["reviewer", "lead"], "other_domains": "algebra"},
    )
    found = re.search(r"http://testserver(/join/[\w-]{43}/)", answer.content.decode())
    assert found
    invited = Client().get(found[1]).content.decode()
    assert project.name in invited
    assert "Make the account and join" in invited
    client, status = sign_up(found[1].split("/")[2])
    assert status == 302
    eve = User.objects.get(username="eve")
    assert roles_in(eve, project) == {Role.REVIEWER, Role.LEAD}
    assert Membership.objects.get(user=eve, role=Role.REVIEWER).expertise == ["algebra"]
    assert Membership.objects.get(user=eve, role=Role.LEAD).expertise == []
    assert project.name in client.get(reverse("web:home")).content.decode()


def test_whoever_is_signed_in_joins_with_a_press(project: Project, cyd: User, secret: str) -> None:
    client = signed_in(cyd)
    shown = client.get(join_url(secret)).content.decode()
    assert "Join as cyd" in shown
    assert roles_in(cyd, project) == set()
    client.post(join_url(secret))
    assert roles_in(cyd, project) == {Role.REVIEWER}


def test_a_member_keeps_what_they_had(project: Project, ben: User, secret: str) -> None:
    signed_in(ben).post(join_url(secret))
    assert Membership.objects.get(user=ben).expertise == []


def test_the_secret_is_stored_nowhere(secret: str) -> None:
    for model in apps.get_models():
        assert secret not in str(list(model._default_manager.values()))


def spoil_by_use(secret: str) -> None:
    accept_invitation(secret=secret, user=builders.make_user())


def spoil_by_time(secret: str) -> None:
    Invitation.objects.update(expires_at=timezone.now() - timedelta(hours=1))


def spoil_by_hand(secret: str) -> None:
    invitation = Invitation.objects.get()
    ida = User.objects.get(username="ida")
    signed_in(ida).post(reverse("web:invitation-revoke", args=[invitation.pk]))


def spoil_by_departure(secret: str) -> None:
    """Who made it is no admin any more: a link that they kept is no way back in."""
    project, ida = Project.objects.get(), User.objects.get(username="ida")
    other = builders.make_user(project, Role.ADMIN)
    change_member(project=project, user=ida, roles=["lead"], expertise=(), actor=other)


@pytest.mark.parametrize("spoil", [spoil_by_use, spoil_by_time, spoil_by_hand, spoil_by_departure])
def test_a_link_that_is_no_good_says_so_and_nothing_else(
    spoil: object, project: Project, cyd: User, secret: str
) -> None:
    never = Client().get(join_url("x" * 43))
    assert callable(spoil)
    spoil(secret)
    for client in (Client(), signed_in(cyd)):
        for answer in (client.get(join_url(secret)), client.post(join_url(secret))):
            assert answer.status_code == 404
            assert "does not let anybody in" in answer.content.decode()
            assert project.name not in answer.content.decode()
    assert never.content == Client().get(join_url(secret)).content
    assert sign_up(secret)[1] == 404
    assert not User.objects.filter(username="eve").exists()
    assert roles_in(cyd, project) == set()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("attempt", range(5))
def test_of_two_who_use_a_link_at_once_one_joins(
    attempt: int, project: Project, secret: str
) -> None:
    people = [builders.make_user() for _ in range(4)]
    refused: list[InvitationClosedError] = []
    barrier = threading.Barrier(len(people))

    def join(user: User) -> None:
        barrier.wait()
        try:
            accept_invitation(secret=secret, user=user)
        except InvitationClosedError as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=join, args=[user]) for user in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == len(people) - 1
    assert Membership.objects.filter(role=Role.REVIEWER).count() == 1


@pytest.mark.parametrize(
    ("name", "password", "why"),
    [
        ("BEN", PASSWORD, "already exists"),
        ("eve", "12345678", "too common"),
        ("eve", "short", "too short"),
        ("e v e", PASSWORD, "valid username"),
    ],
)
def test_an_account_needs_a_free_name_and_a_good_password(
    name: str, password: str, why: str, ben: User, secret: str
) -> None:
    client, status = Client(), sign_up(secret, name, password)[1]
    assert status == 422
    data = {"username": name, "password1": password, "password2": password}
    assert why in client.post(join_url(secret), data).content.decode()
    assert Invitation.objects.get().accepted_at is None


def test_there_is_no_other_way_to_an_account(db: None) -> None:
    for path in ("/signup/", "/register/", "/accounts/signup/", "/join/"):
        assert Client().get(path).status_code == 404
    assert "account" not in Client().get(reverse("web:login")).content.decode().lower()


def test_an_admin_sees_what_became_of_each(project: Project, ida: User, secret: str) -> None:
    invite(project=project, invitee="Nobody", roles=["lead"], actor=ida)
    accept_invitation(secret=secret, user=builders.make_user(name="eve"))
    shown = signed_in(ida).get(reverse("web:members", args=[project.slug])).content.decode()
    assert shown.count("state-open") == 1
    assert "accepted" in shown
    assert secret not in shown


def test_every_step_is_recorded(project: Project, ida: User, secret: str) -> None:
    accept_invitation(secret=secret, user=builders.make_user(name="eve"))
    spoil_by_hand(secret)  # too late
    made = invite(project=project, invitee="Fay", roles=["lead"], actor=ida).invitation
    signed_in(ida).post(reverse("web:invitation-revoke", args=[made.pk]))
    actions = AuditEvent.objects.filter(subject__startswith="Invitation").order_by("pk")
    assert list(actions.values_list("actor", "action")) == [
        ("ida", "invitation made"),
        ("eve", "invitation accepted"),
        ("ida", "invitation made"),
        ("ida", "invitation revoked"),
    ]
