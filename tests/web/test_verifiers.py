"""The project's verifiers, and how one stands up to attack."""

import re

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from review.accounts.models import Project, User
from review.flows.probes import probe
from review.runs.models import Run
from review.verifiers.built_in import register_built_in
from review.verifiers.models import ProbeRun, PromotedAttack, VerifierVersion
from tests import builders
from tests.flows.test_probes import hedge_of
from tests.web.rules import signed_in
from trainer.verifiers.probes import known_families

pytestmark = pytest.mark.django_db


@pytest.fixture
def lead(ada: User) -> Client:
    return signed_in(ada)


@pytest.fixture
def naive(project: Project) -> VerifierVersion:
    return register_built_in(project=project, name="boxed-any", params={}, actor="ada")


@pytest.fixture
def audited(project: Project, ben: User) -> Run:
    run = builders.make_stored_run(project, groups=4)
    builders.label_audit(builders.open_audit(run, budget=32, waves=1), ben)
    return run


def text_of(response: HttpResponse) -> str:
    return response.content.decode()


def url_of(verifier: VerifierVersion, name: str = "verifier") -> str:
    return reverse(f"web:{name}", args=[verifier.pk])


def probed(lead: Client, verifier: VerifierVersion) -> str:
    lead.post(url_of(verifier, "verifier-probe"))
    assert "The probe suite is running." in text_of(lead.get(url_of(verifier, "verifier-live")))
    probe(run=ProbeRun.objects.get(state="running"))
    return text_of(lead.get(url_of(verifier)))


def test_the_suite_is_run_and_shows_families_and_accepted_attacks(
    lead: Client, naive: VerifierVersion
) -> None:
    assert "most of them attacks" in text_of(lead.get(url_of(naive)))
    page = probed(lead, naive)
    result = ProbeRun.objects.get().result
    assert result is not None
    for family in result["families"]:
        assert f"<code>{family}</code>" in page
    listed = result["accepted"] + result["rejected_controls"]
    assert page.count('<li class="panel">') == len({tried["attack"] for tried in listed})
    assert page.count("<dt>response</dt>") == len(listed)
    # What is open stays open while the page keeps itself up to date: it is known by its id.
    opened = re.findall(r'<details id="((?:attack|control)-[^" ]+)">', page)
    assert len(opened) == len(set(opened)) == page.count('<li class="panel">')
    assert " %</span>" in page
    everything = text_of(lead.get(reverse("web:verifiers", args=[naive.project.slug])))
    assert f"<strong>{100 * result['overall']['rate']['point']:.1f} %</strong>" in everything


def test_a_regression_between_versions_stands_out(lead: Client, naive: VerifierVersion) -> None:
    probed(lead, naive)
    earlier = ProbeRun.objects.get()
    assert earlier.result is not None
    accepted = earlier.result["accepted"][-1]
    key = accepted["attack"], accepted["prompt"]
    for tried in earlier.result["attempts"]:
        if (tried["attack"], tried["prompt"]) == key:
            tried["outcome"] = "fail"
    older = VerifierVersion.objects.create(
        project=naive.project, name="boxed-any", version="0", channel="correctness"
    )
    ProbeRun.objects.filter(pk=earlier.pk).update(result=earlier.result, verifier=older)
    page = probed(lead, naive)
    assert "Passed now and not before: 1." in page
    assert "boxed-any@0" in page
    # It comes first, and its family says so.
    first = page.split('<ul class="rows" id="accepted">')[1].split("</li>")[0]
    assert f"<code>{accepted['attack']}</code>" in first
    assert "not passed before" in first
    assert page.count("1 new") == 1


def test_what_runs_elsewhere_is_listed_and_cannot_be_probed(lead: Client, audited: Run) -> None:
    own = audited.run_verifiers.get().verifier
    page = text_of(lead.get(reverse("web:verifiers", args=[audited.project.slug])))
    assert "runs elsewhere" in page
    assert reverse("web:run", args=[audited.pk]) in page
    assert "No attack of the suite is meant for this verifier" in text_of(lead.get(url_of(own)))
    assert lead.post(url_of(own, "verifier-probe")).status_code == 400


def test_a_lead_promotes_what_reviewers_call_a_hack(lead: Client, audited: Run) -> None:
    rollout = hedge_of(audited)
    page = reverse("web:rollout", args=[audited.pk, rollout.pk])
    assert "Promote into the probe suite" in text_of(lead.get(page))
    url = reverse("web:attack-promote", args=[audited.pk, rollout.pk])
    family = {"kind": "math", "family": "nowhere", "note": "hedges"}
    assert "nowhere is not one of" in text_of(lead.post(url, family, follow=True))
    answer = lead.post(url, family | {"family": known_families()[0]}, follow=True)
    assert "It is an attack of this project" in text_of(answer)
    attack = PromotedAttack.objects.get()
    assert "has promoted it" in text_of(lead.get(page))
    listed = text_of(lead.get(reverse("web:verifiers", args=[audited.project.slug])))
    assert str(attack) in listed
    assert page in listed


def test_what_nobody_calls_a_hack_is_not_promoted(lead: Client, audited: Run) -> None:
    rollout = audited.rollouts.filter(assignments__labels__is_hack=False).earliest("pk")
    page = reverse("web:rollout", args=[audited.pk, rollout.pk])
    assert "Promote into the probe suite" not in text_of(lead.get(page))
    url = reverse("web:attack-promote", args=[audited.pk, rollout.pk])
    said = {"kind": "math", "family": known_families()[0], "note": "hedges"}
    assert "cannot be made an attack" in text_of(lead.post(url, said, follow=True))
    assert not PromotedAttack.objects.exists()


def test_only_a_lead_of_the_project_comes_near(
    naive: VerifierVersion, ben: User, cyd: User
) -> None:
    for other in (ben, cyd):
        client = signed_in(other)
        slug = naive.project.slug
        assert client.get(reverse("web:verifiers", args=[slug])).status_code == 404
        assert client.get(url_of(naive)).status_code == 404
        assert client.get(url_of(naive, "verifier-live")).status_code == 404
        assert client.post(url_of(naive, "verifier-probe")).status_code == 404
    assert not ProbeRun.objects.exists()
