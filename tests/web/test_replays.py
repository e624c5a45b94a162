"""A lead adds a verifier: its parameters, what it costs, its progress, what it leads to."""

import re
from uuid import uuid4

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from review.accounts.models import Project, User
from review.flows.replays import add_verifier, go_on
from review.runs.models import Run
from review.verifiers.models import Replay, VerifierVersion
from tests import builders
from tests.verifiers import toys
from tests.web.rules import signed_in
from trainer.verifiers import BUILT_IN

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, "contains", toys.contains())


@pytest.fixture
def run(project: Project) -> Run:
    return builders.make_stored_run(project, groups=3)


@pytest.fixture
def lead(ada: User) -> Client:
    return signed_in(ada)


def text_of(response: HttpResponse) -> str:
    return response.content.decode()


def new_url(run: Run) -> str:
    return reverse("web:replay-new", args=[run.pk])


def page_of(replay: Replay, name: str = "replay") -> str:
    return reverse(f"web:{name}", args=[replay.pk])


def post(lead: Client, run: Run, **params: str) -> HttpResponse:
    sent = {f"param-{name}": value for name, value in params.items()}
    return lead.post(new_url(run), {"verifier": "contains", **sent})


def test_a_field_stands_for_every_parameter_with_its_value(lead: Client, run: Run) -> None:
    assert "exact-match" in text_of(lead.get(new_url(run)))
    chosen = {"verifier": "contains"}
    page = text_of(lead.get(new_url(run), chosen, headers={"HX-Request": "true"}))
    assert page.strip().startswith('<div id="parameters"')
    assert 'name="param-text" value="\\boxed{15"' in page
    assert 'name="param-most" value="100"' in page
    assert 'type="checkbox" name="param-strict"' in page
    assert re.search(r'<textarea name="param-words"[^>]*>\s*\[\]</textarea>', page)
    post(lead, run, words="[]", most="100", text=r"\boxed{15")
    # What is as it comes is no choice.
    assert str(Replay.objects.get().verifier) == f"contains@{toys.Contains().version}"


def test_from_choosing_to_its_verdicts(lead: Client, run: Run) -> None:
    answer = post(lead, run, text="16", least="0.5", words='["a", "b"]', strict="on", most="")
    replay = Replay.objects.get()
    assert answer.headers["Location"] == page_of(replay)
    params = replay.verifier.params
    assert params is not None
    assert (params["text"], params["words"], params["most"]) == ("16", ["a", "b"], 100)
    assert "is being measured" in text_of(lead.get(page_of(replay)))
    assert go_on(replay=replay)
    page = text_of(lead.get(page_of(replay, "replay-live")))
    assert "What it costs" in page
    assert "every 1s" not in page

    lead.post(page_of(replay, "replay-start"))
    assert "every 1s" in text_of(lead.get(page_of(replay)))
    replay.refresh_from_db()
    assert go_on(replay=replay)
    page = text_of(lead.get(page_of(replay)))
    assert reverse("web:scorecard", args=[run.pk]) in page
    assert "second=" in page
    builders.store_steps(run, [3], groups=1)
    assert "4 rollouts have come since" in text_of(lead.get(page_of(replay)))
    again = lead.post(page_of(replay, "replay-again")).headers["Location"]
    assert again != page_of(replay)
    assert text_of(lead.get(new_url(run))).count("contains@1-") == 2


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"least": "2"}, "is between 0 and 1"),
        ({"least": "much"}, "Enter a number."),
        ({"most": "1.5"}, "Enter a whole number."),
        ({"words": "[broken"}, "Write it as JSON."),
        ({"words": '["a", "bad"]'}, "words[1]: is a bad one"),
        ({"url": "http://10.0.0.1/v1"}, "10.0.0.1 is no host that this server may call"),
        ({"text": "a\0b"}, "Null characters are not allowed."),
    ],
)
def test_what_does_not_fit_is_said_at_its_field_and_nothing_is_registered(
    lead: Client, run: Run, params: dict[str, str], says: str
) -> None:
    answer = post(lead, run, **params)
    assert answer.status_code == 422
    field = text_of(answer).split(f'name="param-{next(iter(params))}"')[1].split("</div>")[0]
    assert says in field
    assert not VerifierVersion.objects.filter(name="contains").exists()


def test_an_unknown_verifier_is_no_choice(lead: Client, run: Run) -> None:
    answer = lead.post(new_url(run), {"verifier": "nowhere"})
    assert answer.status_code == 422
    assert "nowhere is not one of the available choices" in text_of(answer)
    assert lead.get(new_url(run), {"verifier": "<script>"}).status_code == 200


def test_it_can_be_cancelled_once(lead: Client, run: Run) -> None:
    post(lead, run)
    replay = Replay.objects.get()
    lead.post(page_of(replay, "replay-cancel"))
    replay.refresh_from_db()
    assert replay.state == "cancelled"
    assert lead.post(page_of(replay, "replay-cancel")).status_code == 409
    assert lead.post(page_of(replay, "replay-start")).status_code == 409


def test_markup_in_a_problem_or_a_parameter_is_text(lead: Client, run: Run) -> None:
    script = "<script>alert(1)</script>"
    post(lead, run, text=script)
    replay = Replay.objects.get()
    Replay.objects.update(state="failed", problem=script)
    assert script not in text_of(lead.get(page_of(replay)))
    assert script not in text_of(lead.get(reverse("web:verifier", args=[replay.verifier_id])))


def test_many_replays_cost_as_many_queries_as_few(lead: Client, run: Run) -> None:
    costs = []
    for texts in (("1", "2"), tuple("3456789")):
        for text in texts:
            add_verifier(run=run, name="contains", params={"text": text}, actor="ada")
        with CaptureQueriesContext(connection) as queries:
            lead.get(new_url(run))
            lead.get(reverse("web:verifiers", args=[run.project.slug]))
        costs.append(len(queries))
    assert costs[0] == costs[1]


def test_only_a_lead_of_the_project_comes_near(run: Run, ben: User, cyd: User) -> None:
    replay = add_verifier(run=run, name="contains", params={}, actor="ada")
    for other in (ben, cyd):
        client = signed_in(other)
        assert client.get(new_url(run)).status_code == 404
        assert post(client, run).status_code == 404
        for name in ("replay", "replay-live"):
            assert client.get(page_of(replay, name)).status_code == 404
        for name in ("replay-start", "replay-cancel", "replay-again"):
            assert client.post(page_of(replay, name)).status_code == 404


def test_an_unknown_replay_does_not_exist(lead: Client) -> None:
    assert lead.get(reverse("web:replay", args=[uuid4()])).status_code == 404
