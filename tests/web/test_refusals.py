"""What is refused is answered in the way it was asked: a page to a page, a reason to a script."""

import pytest
from django.test import Client
from django.urls import reverse

from review.accounts.models import Project, User
from tests import builders


@pytest.fixture
def queue_url(project: Project, ada: User) -> str:
    rule = builders.make_audit(builders.make_run(project))
    return reverse("web:label-undo", args=[rule.queue.pk])


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_a_refusal_is_a_page(queue_url: str, ben: User) -> None:
    response = signed_in(ben).post(queue_url)
    assert response.status_code == 409
    assert "<h1>That is not possible now</h1>" in response.content.decode()
    assert "A label can be taken back for a short while" in response.content.decode()


def test_htmx_gets_the_reason_of_a_refusal_as_text(queue_url: str, ben: User) -> None:
    response = signed_in(ben).post(queue_url, headers={"HX-Request": "true"})
    assert response.status_code == 409
    assert response["Content-Type"] == "text/plain"
    assert response.content.decode().startswith("A label can be taken back for a short while")


def test_what_is_not_there_for_a_stranger_looks_like_what_does_not_exist(
    queue_url: str, cyd: User
) -> None:
    client = signed_in(cyd)
    not_theirs, nowhere = client.post(queue_url), client.get("/no/such/page/")
    assert not_theirs.status_code == nowhere.status_code == 404
    for response in (not_theirs, nowhere):
        assert "<h1>Nothing here</h1>" in response.content.decode()


def test_a_part_of_a_page_does_not_become_the_sign_in_form(queue_url: str) -> None:
    """htmx follows the redirect by itself: the answer there has the whole page loaded anew."""
    response = Client().post(queue_url, headers={"HX-Request": "true"}, follow=True)
    assert response["HX-Refresh"] == "true"
    assert response.content == b""


def test_a_reviewer_sees_the_queues_of_started_audits_only(
    project: Project, queue_url: str, ben: User
) -> None:
    page = signed_in(ben).get(reverse("web:home")).content.decode()
    assert "Nothing waits for labels" in page
    assert "first audit" not in page
