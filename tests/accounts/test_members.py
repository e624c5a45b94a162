"""Who is in a project and as what: the page, and what it never lets happen."""

import threading
from collections.abc import Callable

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from review.accounts.errors import LastAdminError
from review.accounts.models import Membership, Project, Role, User
from review.accounts.queries import roles_in, usable_token
from review.accounts.services.members import change_member, remove_member
from review.core.models import AuditEvent
from tests import builders
from tests.web.rules import signed_in


@pytest.fixture
def ida(project: Project) -> User:
    """Administers the project."""
    return builders.make_user(project, Role.ADMIN, name="ida")


def page(user: User, project: Project) -> str:
    answer = signed_in(user).get(reverse("web:members", args=[project.slug]))
    assert answer.status_code == 200
    return answer.content.decode()


def change(actor: User, project: Project, member: User, **data: object) -> HttpResponse:
    url = reverse("web:member-change", args=[project.slug, member.pk])
    return signed_in(actor).post(url, data)


def remove(actor: User, project: Project, member: User) -> HttpResponse:
    return signed_in(actor).post(reverse("web:member-remove", args=[project.slug, member.pk]))


def test_an_admin_changes_what_somebody_may_do(project: Project, ida: User, ben: User) -> None:
    answer = change(ida, project, ben, roles=["reviewer", "adjudicator"])
    assert answer.status_code == 302
    assert roles_in(ben, project) == {Role.REVIEWER, Role.ADJUDICATOR}
    change(ida, project, ben, roles=["lead"])
    assert roles_in(ben, project) == {Role.LEAD}


def test_an_admin_sets_the_domains_of_a_reviewer(project: Project, ida: User, ben: User) -> None:
    builders.make_prompt(builders.make_run(project))
    assert 'value="arithmetic"' in page(ida, project)
    data = {"roles": ["reviewer"], "domains": ["arithmetic"], "other_domains": "number  theory, "}
    change(ida, project, ben, **data)
    reviewer = Membership.objects.get(user=ben, role=Role.REVIEWER)
    assert reviewer.expertise == ["arithmetic", "number theory"]
    # What was written once can be ticked from then on, and taken away.
    assert 'value="number theory"' in page(ida, project)
    change(ida, project, ben, roles=["reviewer"], domains=["number theory"])
    reviewer.refresh_from_db()
    assert reviewer.expertise == ["number theory"]


def test_somebody_without_a_role_is_said_to_be_removed_instead(
    project: Project, ida: User, ben: User
) -> None:
    answer = change(ida, project, ben, roles=[])
    assert answer.status_code == 422
    assert "This field is required." in answer.content.decode()
    assert roles_in(ben, project) == {Role.REVIEWER}


def test_whoever_is_removed_loses_the_project_and_their_tokens(
    project: Project, ida: User, ben: User
) -> None:
    secret = builders.make_token(project, "label", owner=ben)
    assert usable_token(secret)
    remove(ida, project, ben)
    assert usable_token(secret) is None
    assert "You are in no project yet" in signed_in(ben).get("/").content.decode()


def test_the_last_admin_stays(project: Project, ida: User) -> None:
    for answer in (remove(ida, project, ida), change(ida, project, ida, roles=["lead"])):
        assert answer.status_code == 409
        assert "keeps at least one admin" in answer.content.decode()
    assert roles_in(ida, project) == {Role.ADMIN}


def test_an_admin_whose_account_is_closed_does_not_count(project: Project, ida: User) -> None:
    closed = builders.make_user(project, Role.ADMIN)
    User.objects.filter(pk=closed.pk).update(is_active=False)
    assert remove(ida, project, ida).status_code == 409


def test_an_admin_can_go_when_another_stays(project: Project, ida: User) -> None:
    builders.make_user(project, Role.ADMIN)
    answer = remove(ida, project, ida)
    assert answer["Location"] == reverse("web:home")
    assert roles_in(ida, project) == set()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("attempt", range(5))
def test_of_two_admins_who_remove_each_other_at_once_one_stays(
    attempt: int, project: Project, ida: User
) -> None:
    other = builders.make_user(project, Role.ADMIN)
    refused: list[LastAdminError] = []
    barrier = threading.Barrier(2)

    def at_once(does: Callable[[], None]) -> None:
        barrier.wait()
        try:
            does()
        except LastAdminError as error:
            refused.append(error)
        finally:
            connection.close()

    def demote() -> None:
        change_member(project=project, user=ida, roles=["lead"], expertise=(), actor=other)

    def throw_out() -> None:
        remove_member(project=project, user=other, actor=ida)

    threads = [threading.Thread(target=at_once, args=[does]) for does in (demote, throw_out)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert Membership.objects.filter(project=project, role=Role.ADMIN).count() == 1


def test_a_lead_looks_and_changes_nothing(project: Project, ada: User, ben: User) -> None:
    shown = page(ada, project)
    assert "ben" in shown
    assert "Invitations" not in shown
    assert shown.count("<form") == 1  # signs out
    assert change(ada, project, ben, roles=["lead"]).status_code == 404
    assert remove(ada, project, ben).status_code == 404


def test_somebody_of_another_project_is_not_there_to_change(
    project: Project, ida: User, cyd: User
) -> None:
    assert change(ida, project, cyd, roles=["lead"]).status_code == 404
    assert remove(ida, project, cyd).status_code == 404


def test_every_change_is_recorded(project: Project, ida: User, ben: User) -> None:
    change(ida, project, ben, roles=["reviewer", "lead"], other_domains="algebra")
    remove(ida, project, ben)
    events = AuditEvent.objects.filter(actor="ida").order_by("pk")
    assert [event.action for event in events] == [
        "member added",
        "expertise set",
        "member removed",
        "member removed",
    ]
    assert events[2].details == {"user": "ben", "role": "lead"}


def test_members_are_read_with_as_many_queries_as_two_are(project: Project, ida: User) -> None:
    builders.make_user(project, Role.REVIEWER)
    client, url = signed_in(ida), reverse("web:members", args=[project.slug])
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            client.get(url)
        counts.append(len(queries))
        for _ in range(8):
            builders.make_user(project, Role.REVIEWER, Role.LEAD)
    assert counts[0] == counts[1]


def test_staff_make_a_project_and_hold_every_role_in_it(cyd: User) -> None:
    url = reverse("web:project-new")
    assert signed_in(cyd).get(url).status_code == 404
    cyd.is_staff = True
    cyd.save()
    answer = signed_in(cyd).post(url, {"name": "Hard geometry"})
    made = Project.objects.get(slug="hard-geometry")
    assert answer["Location"] == reverse("web:members", args=[made.slug])
    assert roles_in(cyd, made) == set(Role)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "slug", "why"),
    [
        ("Again", "taken", "Another project has this short name"),
        ("数学", "", "write one"),
        ("A", "no spaces", "Enter a valid"),
        ("", "", "This field is required"),
    ],
)
def test_a_project_needs_a_name_of_its_own(name: str, slug: str, why: str) -> None:
    Project.objects.create(slug="taken", name="Taken")
    client = Client()
    client.force_login(User.objects.create_user("boss", is_staff=True))
    answer = client.post(reverse("web:project-new"), {"name": name, "slug": slug})
    assert answer.status_code == 422
    assert why in answer.content.decode()
    assert Project.objects.count() == 1
