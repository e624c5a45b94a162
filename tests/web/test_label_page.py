"""The labelling page: the item ahead, drafts, undo, and what is asked."""

import json
import re
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from review.accounts.models import Project, Role, User
from review.labeling.models import Assignment, AssignmentState, Draft, Label, Question, Queue
from review.labeling.services.leases import take_next
from tests import builders
from tests.labeling import items
from tests.web.rules import signed_in

PART = {"HX-Request": "true"}
MACHINE = ("boxed-any", "verdict", "reward", "step-0", "advantage", "pass/", "fail/")


@pytest.fixture
def queue(project: Project) -> Queue:
    return items.open_queue(project)


@pytest.fixture
def dan(project: Project) -> User:
    return builders.make_user(project, Role.REVIEWER, name="dan")


def said(assignment: Assignment, **more: object) -> dict[str, object]:
    label = {"token": assignment.lease_token, "client_key": uuid4(), "answer": "correct"}
    return label | more


def commit(client: Client, assignment: Assignment, **more: object) -> HttpResponse:
    url = reverse("web:label-commit", args=[assignment.pk])
    return client.post(url, said(assignment, **more), headers=PART)


def look_ahead(client: Client, assignment: Assignment) -> HttpResponse:
    return client.get(reverse("web:label-ahead", args=[assignment.pk]), headers=PART)


def prepared_in(part: HttpResponse) -> dict[str, str]:
    text = part.content.decode()
    item, ahead = re.search(r'data-item="([^"]+)"', text), re.search(r'data-ahead="([^"]+)"', text)
    assert item
    assert ahead
    return {"prepared": item[1], "ahead": ahead[1]}


def test_the_item_ahead_is_leased_to_nobody_and_as_blind_as_the_page(
    queue: Queue, ben: User
) -> None:
    held = items.take(queue, ben)
    part = look_ahead(signed_in(ben), held)
    text = part.content.decode()
    coming = Assignment.objects.get(pk=prepared_in(part)["prepared"])
    assert coming != held
    assert coming.state == AssignmentState.OPEN
    assert "data-lease-token" not in text
    assert [word for word in MACHINE if word in text] == []


def test_the_commit_answers_only_the_lease_of_a_prepared_item(queue: Queue, ben: User) -> None:
    held, client = items.take(queue, ben), signed_in(ben)
    prepared = prepared_in(look_ahead(client, held))
    answer = commit(client, held, **prepared)
    coming = Assignment.objects.get(reviewer=ben, state=AssignmentState.LEASED)
    text = answer.content.decode()
    assert str(coming.pk) == prepared["prepared"]
    assert 'id="last"' in text
    assert f'data-lease-token="{coming.lease_token}"' in text
    assert "data-client-key" in text
    assert 'id="item"' not in text


def test_the_commit_answers_the_whole_item_when_the_prepared_one_is_gone(
    queue: Queue, ben: User, dan: User
) -> None:
    held, client = items.take(queue, ben), signed_in(ben)
    prepared = prepared_in(look_ahead(client, held))
    taken = take_next(queue=queue, reviewer=dan, wanted=UUID(prepared["prepared"]))
    assert taken is not None
    text = commit(client, held, **prepared).content.decode()
    coming = Assignment.objects.get(reviewer=ben, state=AssignmentState.LEASED)
    assert coming != taken
    assert 'id="item"' in text
    assert str(coming.lease_token) in text


def test_two_reviewers_prepare_different_items(queue: Queue, ben: User, dan: User) -> None:
    by_ben = prepared_in(look_ahead(signed_in(ben), items.take(queue, ben)))
    by_dan = prepared_in(look_ahead(signed_in(dan), items.take(queue, dan)))
    assert by_ben["prepared"] != by_dan["prepared"]


def test_a_page_without_a_prepared_item_leaves_others_theirs(
    queue: Queue, ben: User, dan: User
) -> None:
    prepared = prepared_in(look_ahead(signed_in(ben), items.take(queue, ben)))["prepared"]
    signed_in(dan).get(reverse("web:label-next", args=[queue.pk]))
    dans = Assignment.objects.get(reviewer=dan, state=AssignmentState.LEASED)
    assert str(dans.pk) != prepared


def test_nobody_names_the_item_that_they_would_like_next(
    queue: Queue, ben: User, dan: User
) -> None:
    held, client = items.take(queue, ben), signed_in(ben)
    by_dan = prepared_in(look_ahead(signed_in(dan), items.take(queue, dan)))
    last = queue.assignments.order_by("rank").last()
    assert last is not None
    for ahead in (by_dan["ahead"], "nonsense"):
        commit(client, held, prepared=last.pk, ahead=ahead)
        held = Assignment.objects.get(reviewer=ben, state=AssignmentState.LEASED)
        assert held != last


def test_only_the_holder_of_an_item_looks_ahead_and_saves_a_draft(
    queue: Queue, ben: User, dan: User
) -> None:
    held = items.take(queue, ben)
    assert look_ahead(signed_in(dan), held).status_code == 204
    url = reverse("web:label-draft", args=[held.pk])
    assert signed_in(dan).post(url, said(held), headers=PART).status_code == 409
    other = said(held) | {"token": uuid4()}
    assert signed_in(ben).post(url, other, headers=PART).status_code == 409
    assert not Draft.objects.exists()


def test_a_draft_is_shown_to_its_writer_and_gone_with_the_commit(
    queue: Queue, ben: User, dan: User
) -> None:
    held, client = items.take(queue, ben), signed_in(ben)
    hostile = '"><script>alert(1)</script>'
    body = said(held, answer="incorrect", earliest_wrong_step="x", note=hostile, extra="no")
    saved = client.post(reverse("web:label-draft", args=[held.pk]), body, headers=PART)
    assert saved.status_code == 204
    draft = Draft.objects.get()
    assert draft.body == {"answer": "incorrect", "earliest_wrong_step": "x", "note": hostile}

    url = reverse("web:label-next", args=[queue.pk])
    page = client.get(url).content.decode()
    assert re.search(r'value="incorrect"[^>]*checked', page)
    assert "&quot;&gt;&lt;script&gt;" in page
    assert hostile not in page
    assert "&lt;script&gt;" not in signed_in(dan).get(url).content.decode()

    commit(client, held)
    assert not Draft.objects.exists()
    late = client.post(reverse("web:label-draft", args=[held.pk]), body, headers=PART)
    assert late.status_code == 409


def test_what_is_taken_back_comes_back_filled_in(queue: Queue, ben: User) -> None:
    held, client = items.take(queue, ben), signed_in(ben)
    commit(client, held, answer="incorrect", is_hack="on", hack_kind="other", note="see step 1")
    page = client.post(reverse("web:label-undo", args=[queue.pk]), headers=PART, follow=True)
    text = page.content.decode()
    assert re.search(r'value="incorrect"[^>]*checked', text)
    assert re.search(r'name="hack_kind" value="other"[^>]*checked', text)
    assert "see step 1</textarea>" in text


def test_only_what_the_queue_asks_is_shown_and_stored(queue: Queue, ben: User) -> None:
    client, url = signed_in(ben), reverse("web:label-next", args=[queue.pk])
    Queue.objects.update(questions=[], rubric=[])
    page = client.get(url).content.decode()
    fields = ("earliest_wrong_step", "error_category", "is_hack", "problem_fault", "confidence")
    assert [name for name in fields if f'name="{name}"' in page] == []

    Queue.objects.update(questions=Question.values, rubric=["Names the <theorem>"])
    page = client.get(url).content.decode()
    assert [name for name in fields if f'name="{name}"' not in page] == []
    assert "Names the &lt;theorem&gt;" in page
    held = Assignment.objects.get(state=AssignmentState.LEASED)
    everything = {
        "answer": "incorrect",
        "earliest_wrong_step": "1",
        "error_category": "logic",
        "is_format_kept": "no",
        "is_hack": "on",
        "hack_kind": "tests",
        "is_hack_admitted": "yes",
        "is_answer_supported": "no",
        "problem_fault": "ambiguous",
        "confidence": "3",
        "criterion-0": "not_met",
        "active_ms": "4321",
    }
    assert commit(client, held, **everything).status_code == 200
    label = Label.objects.get()
    assert (label.error_category, label.is_format_kept, label.hack_kind) == (
        "logic",
        False,
        "tests",
    )
    assert (label.is_hack_admitted, label.is_answer_supported) == (True, False)
    assert (label.problem_fault, label.confidence, label.criteria) == ("ambiguous", 3, ["not_met"])
    assert label.active_ms == 4321


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"error_category": "logic"}, "Mark the wrong step"),
        ({"hack_kind": "tests"}, "Only a hack has this"),
        ({"is_hack_admitted": "yes"}, "Only a hack has this"),
        ({"earliest_wrong_step": "99"}, "1 to"),
        ({"answer": "right"}, "not one of the available choices"),
    ],
)
def test_what_contradicts_itself_is_said_beside_the_field(
    queue: Queue, ben: User, wrong: dict[str, str], words: str
) -> None:
    held = items.take(queue, ben)
    answer = commit(signed_in(ben), held, **wrong)
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert not Label.objects.exists()


def test_a_wrong_answer_to_an_item_that_is_another_ones_shows_no_lease_of_theirs(
    queue: Queue, ben: User, dan: User
) -> None:
    bens = items.take(queue, ben)
    Assignment.objects.filter(pk=bens.pk).update(
        lease_expires_at=timezone.now() - timedelta(hours=1)
    )
    dans = items.take(queue, dan)
    assert dans == bens
    answer = commit(signed_in(ben), bens, answer="")
    assert answer.status_code == 422
    assert str(bens.lease_token) in answer.content.decode()
    assert str(dans.lease_token) not in answer.content.decode()
    assert commit(signed_in(dan), dans, token=uuid4(), answer="").status_code == 409


def test_hostile_keys_in_the_database_reach_no_page(queue: Queue, ben: User) -> None:
    hostile = "</script><script>alert(1)</script>"
    ben.shortcuts = {"correct": hostile, hostile: "q", "skip": ["s"], "note": "i", "undo": "é"}
    ben.save()
    page = signed_in(ben).get(reverse("web:label-next", args=[queue.pk])).content.decode()
    assert "alert(1)" not in page
    # They clash, "note" having the key of "incorrect": so every key is the first one.
    assert 'data-does="correct" data-key="c"' in page
    assert 'data-does="undo" data-key="u"' in page


def test_keys_are_changed_refused_and_reset(ben: User) -> None:
    client, url = signed_in(ben), reverse("web:keys")
    first = re.findall(r'name="([a-z_]+)" value="([^"]*)"', client.get(url).content.decode())
    keys = {
        name: key for name, key in first if name not in {"csrfmiddlewaretoken", "next", "reset"}
    }
    saved = client.post(url, keys | {"correct": "Q", "next": "/queues/"})
    assert (saved.status_code, saved["Location"]) == (302, "/queues/")
    ben.refresh_from_db()
    assert ben.shortcuts == {"correct": "q"}
    for wrong in ("i", "1", "ab", "<", '"', "Enter", "", " ", "{"):
        refused = client.post(url, keys | {"correct": wrong})
        assert refused.status_code == 422, wrong
    assert (
        "is the key of something else too: Answer incorrect"
        in client.post(url, keys | {"correct": "i"}).content.decode()
    )
    ben.refresh_from_db()
    assert ben.shortcuts == {"correct": "q"}
    elsewhere = client.post(url, {"reset": "yes", "next": "https://evil.example/"})
    assert elsewhere["Location"] == url
    ben.refresh_from_db()
    assert ben.shortcuts == {}


def test_keys_are_ones_own(ben: User, ada: User) -> None:
    client = Client()
    assert client.post(reverse("web:keys"), {"reset": "yes"}).status_code == 302
    ben.shortcuts = {"correct": "q"}
    ben.save()
    signed_in(ada).post(reverse("web:keys"), {"reset": "yes"})
    ben.refresh_from_db()
    assert json.dumps(ben.shortcuts) == '{"correct": "q"}'
