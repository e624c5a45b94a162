"""Two verifiers beside each other: counts, the paired difference, and the rollouts."""

import re
from collections import Counter

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from review.accounts.models import Project, User
from review.flows.replays import add_verifier, go_on, start_replay
from review.runs.models import Run
from review.verifiers.models import Outcome, Verdict, VerifierVersion
from review.verifiers.queries import outcome_pairs
from tests import builders
from tests.verifiers import toys
from tests.web.rules import signed_in
from trainer.verifiers import BUILT_IN

pytestmark = pytest.mark.django_db

# What stands where nobody has labelled.
NONE = "\N{EN DASH}"


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, "contains", toys.contains())
    monkeypatch.setitem(BUILT_IN, "steps", toys.steps())


@pytest.fixture
def lead(ada: User) -> Client:
    return signed_in(ada)


def replayed(run: Run, name: str = "contains", **params: object) -> VerifierVersion:
    replay = add_verifier(run=run, name=name, params=params, actor="ada")
    assert go_on(replay=replay)
    assert go_on(replay=start_replay(replay=replay, actor="ada"))
    return replay.verifier


@pytest.fixture
def run(project: Project) -> Run:
    return builders.make_stored_run(project, groups=5)


def own(run: Run) -> VerifierVersion:
    return run.run_verifiers.get().verifier


def page(lead: Client, run: Run, *pair: VerifierVersion, **chosen: object) -> str:
    names = dict(zip(("first", "second"), (each.pk for each in pair), strict=False))
    answer: HttpResponse = lead.get(reverse("web:disagreements", args=[run.pk]), names | chosen)
    assert answer.status_code == 200
    return answer.content.decode()


def counted(run: Run, first: VerifierVersion, second: VerifierVersion) -> Counter[object]:
    said = {
        verifier: dict(
            Verdict.objects.filter(rollout__run=run, verifier=verifier).values_list(
                "rollout", "outcome"
            )
        )
        for verifier in (first, second)
    }
    both = said[first].keys() & said[second].keys()
    return Counter((Outcome(said[first][pk]), Outcome(said[second][pk])) for pk in both)


def test_the_counts_are_those_of_the_verdicts_whoever_judged_when(run: Run) -> None:
    late = [replayed(run), replayed(run, text="16"), replayed(run, "steps", text="16")]
    builders.store_steps(run, [3], groups=2)
    for first in (own(run), *late):
        for second in (own(run), *late):
            assert outcome_pairs(run, first, second) == counted(run, first, second)


def test_the_rollouts_are_listed_by_what_the_two_say(lead: Client, run: Run) -> None:
    late = replayed(run)
    shown = page(lead, run, own(run), late)
    # The lenient one passes what is spelled oddly, which the run's own rejects.
    assert "Both have judged 40 rollouts; they disagree on 10." in shown
    assert len(re.findall(r'<th scope="row"><a href="/runs/', shown)) == 10
    assert "said=fail-pass" in shown
    assert "said=pass-fail" not in shown
    assert shown.count(">fail<") == 10 + 2
    none = page(lead, run, own(run), late, said="pass-fail")
    assert "There is no rollout on which the two disagree like this." in none
    assert page(lead, run, own(run), late, said="pass-<script>").count("<script>") == 0


def test_what_people_have_labelled_comes_first_with_its_answer(
    lead: Client, run: Run, ben: User
) -> None:
    late = replayed(run)
    builders.label_audit(builders.open_audit(run, budget=12, waves=1), ben)
    shown = page(lead, run, own(run), late)
    answers = re.findall(f"<td>(correct|incorrect|{NONE})", shown)
    labelled = sum(answer != NONE for answer in answers)
    assert labelled > 0
    assert all(answer != NONE for answer in answers[:labelled])
    assert set(answers[labelled:]) <= {NONE}


def test_any_two_are_compared_on_the_same_labels(lead: Client, project: Project, ben: User) -> None:
    run = builders.make_stored_run(project)
    builders.label_audit(builders.open_audit(run, budget=80, waves=2), ben)
    lenient, strict = replayed(run, text=r"so \boxed{15"), replayed(run, text="nowhere")
    for first, second in ((lenient, own(run)), (own(run), lenient), (lenient, strict)):
        shown = page(lead, run, first, second)
        recall = shown.split('id="differences"')[1].split("<strong>")[1].split("<")[0]
        assert (float(recall) > 0) == (first == lenient)
    # The lenient one passes every right answer, the strict one none.
    assert "<strong>+100.0</strong>" in page(lead, run, lenient, strict)


def test_verifiers_of_steps_are_counted_and_not_compared(lead: Client, run: Run) -> None:
    late = replayed(run, "steps", text="16")
    shown = page(lead, run, own(run), late)
    assert "Both have judged 40 rollouts" in shown
    assert "by the same labels" not in shown


def test_what_is_no_pair_is_said(lead: Client, run: Run) -> None:
    assert "One verifier only" in page(lead, run)
    replayed(run)
    assert "Both have judged" in page(lead, run)
    assert "Choose another one." in page(lead, run, own(run), own(run))
    assert "is not one of the available choices" in page(lead, run, first="x")
    theirs = builders.make_stored_run(builders.make_project(), groups=1)
    assert "is not one of the available choices" in page(lead, run, own(run), own(theirs))


def test_a_page_costs_the_same_however_many_disagree(
    lead: Client, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = replayed(run)
    monkeypatch.setattr("review.web.disagreements.ROWS_A_PAGE", 4)
    costs, seen = [], []
    for number in (1, 2, 3):
        with CaptureQueriesContext(connection) as queries:
            shown = page(lead, run, own(run), late, page=number)
        costs.append(len(queries))
        seen += re.findall(r'<th scope="row"><a href="(/runs/[^"]+)"', shown)
    assert len(set(costs)) == 1
    assert len(seen) == len(set(seen)) == 10
