"""Problems that reviewers call broken, and what a lead decides about them."""

from datetime import timedelta
from threading import Barrier, Thread
from uuid import uuid4

import pytest
from django.db import connection
from django.urls import reverse

from review.accounts.models import Project, Role, User
from review.calibration.queries import newest_estimates
from review.flows import labels
from review.labeling.models import Answer, Assignment, Label, Queue
from review.labeling.services.judgements import NewLabel
from review.runs.models import Erratum, ErratumState, Fault
from tests import builders
from tests.labeling import items
from tests.web.rules import signed_in

BROKEN = NewLabel(answer=Answer.INCORRECT, problem_fault="wrong_reference", note="It is <b>16</b>")


@pytest.fixture
def queue(project: Project) -> Queue:
    return items.open_queue(project)


@pytest.fixture
def eve(project: Project) -> User:
    return builders.make_user(project, Role.REVIEWER, name="eve")


def commit(assignment: Assignment, reviewer: User, new: NewLabel = BROKEN) -> Label:
    label, _ = labels.commit_label(
        assignment=assignment,
        reviewer=reviewer,
        token=assignment.lease_token or uuid4(),
        client_key=uuid4(),
        new=new,
    )
    return label


def report(queue: Queue, reviewer: User, new: NewLabel = BROKEN) -> Label:
    return commit(items.take(queue, reviewer), reviewer, new)


def test_two_reports_of_one_fault_are_one_erratum(queue: Queue, ben: User, eve: User) -> None:
    report(queue, ben)
    report(queue, eve)
    erratum = Erratum.objects.get()
    assert (erratum.fault, erratum.state, erratum.opened_by) == ("wrong_reference", "open", "ben")
    assert erratum.note == "It is <b>16</b>"


def test_a_report_taken_back_leaves_the_erratum_to_whoever_else_says_so(
    queue: Queue, ben: User, eve: User
) -> None:
    report(queue, ben)
    report(queue, eve)
    labels.retract_label(queue=queue, reviewer=ben)
    assert Erratum.objects.get().state == ErratumState.OPEN
    labels.retract_label(queue=queue, reviewer=eve)
    assert Erratum.objects.get().state == ErratumState.WITHDRAWN
    report(queue, eve)
    assert sorted(Erratum.objects.values_list("state", flat=True)) == ["open", "withdrawn"]


def test_a_late_label_reports_too(queue: Queue, ben: User, eve: User) -> None:
    held = items.take(queue, ben)
    Assignment.objects.filter(pk=held.pk).update(
        lease_expires_at=queue.created_at - timedelta(days=1)
    )
    items.commit(items.take(queue, eve), eve)
    assert commit(held, ben).is_late
    assert Erratum.objects.get().opened_by == "ben"


def test_a_lead_sees_who_says_what_and_upholds_it(
    project: Project, queue: Queue, ada: User, ben: User, eve: User
) -> None:
    first, _ = report(queue, ben), report(queue, eve)
    client, url = signed_in(ada), reverse("web:errata", args=[project.slug])
    page = client.get(url).content.decode()
    assert "2 people say so" in page
    assert "It is &lt;b&gt;16&lt;/b&gt;" in page
    assert "Wrong reference" in page
    rollout = reverse("web:rollout", args=[queue.rule.run_id, first.assignment.rollout_id])
    assert "said to be broken" in client.get(rollout).content.decode()
    decide = reverse("web:erratum-decide", args=[Erratum.objects.get().pk])
    refused = client.post(decide, {"decision": "uphold", "reason": " "})
    assert (refused.status_code, Erratum.objects.get().state) == (422, "open")
    refused = client.post(decide, {"decision": "uphold", "reason": "why " * 600})
    assert "why why" in refused.content.decode()
    assert (refused.status_code, Erratum.objects.get().state) == (422, "open")
    before = newest_estimates(queue.rule.run)
    assert client.post(decide, {"decision": "uphold", "reason": "7 + 8 = 15"}).status_code == 302
    erratum = Erratum.objects.get()
    assert (erratum.state, erratum.decided_by, erratum.decision) == ("upheld", "ada", "7 + 8 = 15")
    assert client.post(decide, {"decision": "dismiss", "reason": "no"}).status_code == 409
    assert "The problem is broken" in client.get(rollout).content.decode()
    run_page = client.get(reverse("web:run", args=[queue.rule.run_id])).content.decode()
    assert "1 are upheld as broken" in run_page
    assert newest_estimates(queue.rule.run) == before
    assert "7 + 8 = 15" in client.get(url).content.decode()


def test_what_is_upheld_is_not_opened_anew_and_what_is_dismissed_is(
    queue: Queue, ada: User, ben: User
) -> None:
    client = signed_in(ada)
    for decision, errata in (("dismiss", 1), ("uphold", 2)):
        report(queue, ben)
        assert Erratum.objects.count() == errata
        erratum = Erratum.objects.get(state="open")
        url = reverse("web:erratum-decide", args=[erratum.pk])
        client.post(url, {"decision": decision, "reason": "looked at it"})
    report(queue, ben)
    assert Erratum.objects.count() == 2


def test_it_is_a_leads_page(
    project: Project, queue: Queue, ada: User, ben: User, cyd: User
) -> None:
    report(queue, ben)
    url = reverse("web:errata", args=[project.slug])
    decide = reverse("web:erratum-decide", args=[Erratum.objects.get().pk])
    for user in (ben, cyd):
        client = signed_in(user)
        assert client.get(url).status_code == 404
        assert client.post(decide, {"decision": "uphold", "reason": "x"}).status_code == 404
    assert Erratum.objects.get().state == "open"
    assert signed_in(ada).get(url).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_report_and_the_taking_back_of_another_at_once_leave_it_open(
    project: Project, queue: Queue, ben: User, eve: User
) -> None:
    report(queue, ben)
    held = items.take(queue, eve)
    start = Barrier(2)

    def at_once(act: object) -> None:
        start.wait()
        act()  # type: ignore[operator]
        connection.close()

    acts = (
        lambda: labels.retract_label(queue=queue, reviewer=ben),
        lambda: commit(held, eve),
    )
    threads = [Thread(target=at_once, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Erratum.objects.filter(state="open", fault=Fault.WRONG_REFERENCE).count() == 1
