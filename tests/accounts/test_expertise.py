"""A queue that names domains is for those who review one of them."""

import pytest
from django.urls import reverse

from review.accounts.models import Membership, Project, Role, User
from review.labeling.models import Assignment, Queue
from review.labeling.oversight import stuck_reviews
from review.labeling.queries import eligible_reviewers
from tests import builders
from tests.labeling import items
from tests.web.rules import signed_in


@pytest.fixture
def queue(project: Project, ben: User) -> Queue:
    """Asks for algebra."""
    queue = items.open_queue(project)
    Queue.objects.update(domains=["algebra", "logic"])
    queue.refresh_from_db()
    return queue


def reviews(user: User, *domains: str) -> None:
    Membership.objects.filter(user=user, role=Role.REVIEWER).update(expertise=list(domains))


@pytest.mark.parametrize(
    ("expertise", "asked", "status"),
    [
        ([], ["algebra"], 200),
        (["algebra", "geometry"], ["algebra"], 200),
        (["geometry"], [], 200),
        (["geometry"], ["algebra"], 404),
        (["Algebra"], ["algebra"], 404),
    ],
)
def test_a_queue_is_for_those_who_review_one_of_its_domains(
    expertise: list[str], asked: list[str], status: int, queue: Queue, ben: User
) -> None:
    Queue.objects.update(domains=asked)
    reviews(ben, *expertise)
    client = signed_in(ben)
    for name in ("queue", "label-next"):
        assert client.get(reverse(f"web:{name}", args=[queue.pk])).status_code == status
    listed = reverse("web:queue", args=[queue.pk]) in client.get("/").content.decode()
    assert listed == (status == 200)


def test_an_item_outside_their_domains_does_not_exist_for_them(
    project: Project, queue: Queue, ben: User
) -> None:
    eve = builders.make_user(project, Role.REVIEWER, name="eve")
    item = items.take(queue, eve)
    reviews(ben, "geometry")
    url = reverse("web:label-heartbeat", args=[item.pk])
    assert signed_in(ben).post(url, {"token": item.lease_token}).status_code == 404


def test_what_was_served_can_be_answered_when_the_domains_change(queue: Queue, ben: User) -> None:
    item = items.take(queue, ben)
    reviews(ben, "geometry")
    url = reverse("web:label-heartbeat", args=[item.pk])
    assert signed_in(ben).post(url, {"token": item.lease_token}).status_code < 300


def test_a_second_review_waits_for_nobody_who_is_never_served(
    project: Project, ben: User, queue: Queue
) -> None:
    eve = builders.make_user(project, Role.REVIEWER, name="eve")
    item = items.take(queue, ben)
    items.commit(item, ben)
    second = Assignment.objects.create(
        queue=queue,
        rollout=item.rollout,
        wave=item.wave,
        draw=item.draw,
        slot=2,
        cause="random",
        rank=1000,
    )
    assert eligible_reviewers(second) == 1
    assert stuck_reviews(queue.rule) == {}
    reviews(eve, "geometry")
    assert eligible_reviewers(second) == 0
    assert stuck_reviews(queue.rule) == {second.wave_id: 1}


def test_a_lead_is_offered_only_queues_that_they_may_label(
    project: Project, queue: Queue, ada: User
) -> None:
    Membership.objects.create(project=project, user=ada, role=Role.REVIEWER)
    run_page = reverse("web:run", args=[queue.rule.run_id])
    link = reverse("web:queue", args=[queue.pk])
    assert link in signed_in(ada).get(run_page).content.decode()
    reviews(ada, "geometry")
    assert link not in signed_in(ada).get(run_page).content.decode()
