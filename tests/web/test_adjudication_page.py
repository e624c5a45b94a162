"""An adjudicator's pages: blind, two labels side by side, one decision."""

from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from review.accounts.models import Project, Role, User
from review.flows import labels
from review.labeling.models import Adjudication, Answer, Assignment, Label, Objection, Queue
from review.labeling.services.judgements import NewLabel
from review.labeling.services.leases import take_next
from review.runs.models import Run
from tests import builders
from tests.web.rules import signed_in


@pytest.fixture
def dan(project: Project) -> User:
    return builders.make_user(project, Role.REVIEWER, name="dan")


@pytest.fixture
def kim(project: Project) -> User:
    return builders.make_user(project, Role.ADJUDICATOR, name="kim")


@pytest.fixture
def queue(run: Run, ben: User, dan: User) -> Queue:
    return builders.open_audit(run, budget=16, waves=1, second_review_share=1.0).queue


@pytest.fixture
def item(queue: Queue, ben: User, dan: User) -> Assignment:
    """ben says correct, dan says a hack: nobody else is there for a third review."""
    first = answer(queue, ben, NewLabel(answer=Answer.CORRECT, note="fine to me"))
    Assignment.objects.filter(queue=queue).exclude(rollout=first.rollout).update(state="skipped")
    answer(queue, dan, NewLabel(answer=Answer.INCORRECT, earliest_wrong_step=1, is_hack=True))
    Assignment.objects.filter(queue=queue, slot=3).update(state="withdrawn")
    return first


def answer(queue: Queue, reviewer: User, new: NewLabel) -> Assignment:
    held = take_next(queue=queue, reviewer=reviewer)
    assert held
    assert held.lease_token
    labels.commit_label(
        assignment=held, reviewer=reviewer, token=held.lease_token, client_key=uuid4(), new=new
    )
    return held


def url_of(item: Assignment) -> str:
    return reverse("web:adjudication", args=[item.pk])


def basis_on(client: Client, item: Assignment) -> str:
    return str(client.get(url_of(item)).context["basis"])


def test_what_waits_is_counted_and_listed(item: Assignment, kim: User, project: Project) -> None:
    client = signed_in(kim)
    home = client.get(reverse("web:home")).content.decode()
    assert "1 rollout waits for your decision" in home
    page = client.get(reverse("web:adjudications", args=[project.slug])).content.decode()
    assert "To decide (1)" in page
    assert url_of(item) in page
    assert "7 + 8" in page


def test_both_labels_stand_side_by_side_without_names_or_verdicts(
    item: Assignment, kim: User, ben: User
) -> None:
    page = signed_in(kim).get(url_of(item)).content.decode()
    assert "Reviewer A" in page
    assert "Reviewer B" in page
    # Answer, step, hack: said in words, not by colour alone.
    assert page.count('class="differs"') == page.count(">differs</span>") == 3
    assert "fine to me" in page
    for hidden in (">ben<", ">dan<", "boxed-any", "step-0", item.rollout.uid):
        assert hidden not in page


def test_a_decision_needs_a_reason_and_leads_to_the_next(
    item: Assignment, kim: User, project: Project
) -> None:
    client = signed_in(kim)
    said = {"answer": "incorrect", "is_hack": "on", "basis": basis_on(client, item)}
    refused = client.post(url_of(item), said)
    assert refused.status_code == 422
    assert "Say why" in refused.content.decode()
    refused = client.post(url_of(item), said | {"reason": "two boxes", "earliest_wrong_step": "99"})
    assert refused.status_code == 422
    done = client.post(url_of(item), said | {"reason": "two boxes"})
    assert done.headers["Location"] == reverse("web:adjudications", args=[project.slug])
    decision = Adjudication.objects.get()
    assert (decision.answer, decision.is_hack, decision.reason) == ("incorrect", True, "two boxes")
    assert "Decided by kim" in client.get(url_of(item)).content.decode()


def test_whoever_decides_second_is_told_and_stores_nothing(
    item: Assignment, kim: User, ada: User
) -> None:
    first, second = signed_in(kim), signed_in(ada)
    said = {"answer": "correct", "basis": basis_on(first, item), "reason": "15.0 is 15"}
    first.post(url_of(item), said)
    late = second.post(url_of(item), said | {"answer": "incorrect"})
    assert late.status_code == 409
    assert "nothing of your decision is stored" in late.content.decode()
    assert "Decided by kim" in late.content.decode()
    assert Adjudication.objects.get().answer == Answer.CORRECT


def test_a_lead_may_replace_a_decision_an_adjudicator_may_not(
    item: Assignment, kim: User, ada: User
) -> None:
    client = signed_in(kim)
    said = {"answer": "correct", "basis": basis_on(client, item), "reason": "15.0 is 15"}
    client.post(url_of(item), said)
    assert client.get(url_of(item)).context["form"] is None
    lead = signed_in(ada)
    again = said | {"answer": "incorrect", "basis": basis_on(lead, item), "reason": "hedged"}
    assert lead.post(url_of(item), again).status_code == 302
    assert Adjudication.objects.latest("pk").answer == Answer.INCORRECT


def test_whoever_wrote_one_of_the_labels_cannot_decide(
    item: Assignment, project: Project, ben: User
) -> None:
    ben.memberships.create(project=project, role=Role.ADJUDICATOR)
    client = signed_in(ben)
    page = client.get(url_of(item))
    assert "One of these labels is yours" in page.content.decode()
    said = {"answer": "correct", "basis": page.context["basis"], "reason": "mine"}
    assert client.post(url_of(item), said).status_code == 409
    assert not Adjudication.objects.exists()


def test_what_an_objection_says_is_kept_from_the_adjudicator(
    queue: Queue, ben: User, kim: User
) -> None:
    item = answer(queue, ben, NewLabel(answer=Answer.CORRECT))
    Objection.objects.create(label=Label.objects.get(), note="the verifier rejected it")
    page = signed_in(kim).get(url_of(item)).content.decode()
    assert "Reviewer A has changed their mind" in page
    assert "the verifier rejected it" not in page


@pytest.mark.parametrize("name", ["ben", "cyd"])
def test_it_is_not_there_for_others(
    item: Assignment, project: Project, ben: User, cyd: User, name: str
) -> None:
    client = signed_in({"ben": ben, "cyd": cyd}[name])
    assert client.get(url_of(item)).status_code == 404
    assert client.post(url_of(item)).status_code == 404
    assert client.get(reverse("web:adjudications", args=[project.slug])).status_code == 404
