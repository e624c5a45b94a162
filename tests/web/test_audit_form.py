"""Writing a rule: its defaults, what is refused, what it would cost, its versions."""

import re

import pytest
from django.urls import reverse

from review.accounts.models import Project, Role, User
from review.flows import ingest
from review.rollouts.services import create_slice
from review.runs.models import Run
from review.runs.services import NewRun
from review.sampling.models import AuditRule
from review.verifiers.services import NewVerifier
from tests import builders
from tests.web.rules import RULE, SETTINGS, signed_in, write_rule


def page_of(user: User, url: str) -> str:
    return signed_in(user).get(url).content.decode()


def test_second_reviews_are_off_where_there_is_no_second_reviewer(
    run: Run, project: Project, ada: User, ben: User
) -> None:
    url = reverse("web:audit-new", args=[run.pk])
    alone = page_of(ada, url)
    assert "Off: the project has no second reviewer to ask." in alone
    assert not re.search(r'name="reviews_contradictions"[^>]*checked', alone)
    builders.make_user(project, Role.REVIEWER, name="dan")
    together = page_of(ada, url)
    assert "no second reviewer" not in together
    assert re.search(r'name="reviews_contradictions"[^>]*checked', together)
    assert re.search(r'name="second_review_share" value="10"', together)


def test_what_cannot_be_chosen_is_not_asked(run: Run, project: Project, ada: User) -> None:
    url = reverse("web:audit-new", args=[run.pk])
    bare = page_of(ada, url)
    for name in ("verifiers", "slices", "reviewers"):
        assert f'name="{name}"' not in bare
    assert "Which verifier is better" not in bare
    conditions = [{"field": "domain", "op": "is", "value": "arithmetic"}]
    create_slice(project=project, name="sums", conditions=conditions, actor="test")
    assert 'name="slices"' in page_of(ada, url)


def test_verifiers_are_chosen_and_ranked_where_there_are_several(
    project: Project, ada: User
) -> None:
    run = make_run_of_two_verifiers(project)
    client, url = signed_in(ada), reverse("web:audit-new", args=[run.pk])
    page = client.get(url).content.decode()
    assert "boxed-any@1, whose verdict is the reward" in page
    assert "Which verifier is better" in page
    first, second = (str(row.pk) for row in run.run_verifiers.all())
    alone = client.post(url, RULE | {"focus": "ranking", "verifiers": [first]})
    assert alone.status_code == 422
    assert "A ranking needs at least two." in alone.content.decode()
    client.post(url, RULE | {"focus": "ranking", "verifiers": [first, second]})
    assert AuditRule.objects.get(run=run).current.is_ranking


def make_run_of_two_verifiers(project: Project) -> Run:
    new = {"name": "two", "seed": 0, "config": {}, "group_size": 4, "normaliser": "number-1"}
    run, _ = ingest.open_run(
        project=project,
        new=NewRun(uid="two", step_block=1, **new),
        verifiers=[
            NewVerifier(name=name, version="1", channel="correctness", weight=1.0)
            for name in ("boxed-any", "boxed-last")
        ],
        actor="test",
    )
    return run


@pytest.mark.parametrize("budget", ["8", "40", "5000"])
def test_any_budget_has_a_preview(run: Run, ada: User, budget: str) -> None:
    url = reverse("web:audit-new-preview", args=[run.pk])
    answer = signed_in(ada).post(url, RULE | {"budget": budget}, headers={"HX-Request": "true"})
    page = answer.content.decode()
    assert "cannot be met" not in page
    assert ("±" in page) == (budget != "8")


def test_a_rule_is_saved_with_its_settings(run: Run, ada: User) -> None:
    client = signed_in(ada)
    changes = {"focus": "own", "weight_recall": "2", "weight_fpr": "0.5", "gold_share": "5"}
    rule = write_rule(client, run, **changes)
    version = rule.current
    assert version.focus == {"recall": 2.0, "fpr": 0.5, "accuracy": 0.0, "hack_rate": 0.0}
    assert (version.budget, version.waves, version.floor) == (64, 2, 0.15)
    assert version.gold_share == 0.05
    assert version.created_by == "ada"
    again = client.get(reverse("web:audit-edit", args=[rule.pk])).content.decode()
    assert '<option value="own" selected>' in again
    assert 'name="gold_share" value="5"' in again


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"last_step": "0"}, "last_step", "The last step comes before the first."),
        ({"last_step": "9999999999"}, "last_step", "less than or equal to 1000000000"),
        ({"window_steps": "9999999999"}, "window_steps", "less than or equal to 1000000"),
        ({"budget": "3"}, "budget", "greater than or equal to 8"),
        ({"gold_share": "80"}, "gold_share", "less than or equal to 50"),
        ({"focus": "own", "weight_recall": "0"}, "focus", "at least one of the weights"),
        ({"reviews_contradictions": "on"}, "reviews_contradictions", "at least two reviewers"),
        ({"first_step": "0", "last_step": "0"}, "first_step", "no rollouts in these steps"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(
    run: Run, ada: User, changes: dict[str, str], field: str, reason: str
) -> None:
    response = signed_in(ada).post(reverse("web:audit-new", args=[run.pk]), RULE | changes)
    assert response.status_code == 422
    page = response.content.decode()
    wrong = re.findall(r'<div class="field[^"]*field-wrong">.*?</p>\s*</div>', page, re.DOTALL)
    assert len(wrong) == 1
    assert f'name="{field}"' in wrong[0]
    assert reason in wrong[0]
    # A screen reader finds the reason by this id, which the field itself names.
    assert f'id="id_{field}_error"' in wrong[0]
    assert not AuditRule.objects.exists()


def test_the_preview_says_what_a_budget_costs_and_tells(run: Run, ada: User) -> None:
    client, url = signed_in(ada), reverse("web:audit-new-preview", args=[run.pk])
    htmx = {"HX-Request": "true"}
    # A name is not needed yet.
    small = client.post(url, RULE | {"name": ""}, headers=htmx).content.decode()
    large = client.post(url, RULE | {"budget": "128"}, headers=htmx).content.decode()
    assert small.lstrip().startswith('<div id="preview"')
    assert "160" in small
    for budget in ("32", "64", "128"):
        assert f'<td class="number">{budget}</td>' in small
    assert "±" in small
    assert "That is assumed" in small
    assert small != large


def test_a_rule_that_cannot_be_met_has_reasons_and_no_numbers(run: Run, ada: User) -> None:
    client, url = signed_in(ada), reverse("web:audit-new-preview", args=[run.pk])
    for changes in ({"last_step": "0"}, {"first_step": "7", "last_step": "8"}, {"budget": ""}):
        if "first_step" in changes:
            run.status = "finished"
            run.save()
        page = client.post(url, RULE | changes, headers={"HX-Request": "true"}).content.decode()
        assert "cannot be met as it stands" in page
        assert "±" not in page


def test_steps_to_come_have_a_stand_in(run: Run, ada: User) -> None:
    url = reverse("web:audit-new-preview", args=[run.pk])
    answer = signed_in(ada).post(
        url, RULE | {"first_step": "9", "last_step": ""}, headers={"HX-Request": "true"}
    )
    assert "stand in for them" in answer.content.decode()


def test_a_run_without_rollouts_can_be_audited_but_not_previewed(
    project: Project, ada: User
) -> None:
    run = builders.make_run(project)
    url = reverse("web:audit-new-preview", args=[run.pk])
    answer = signed_in(ada).post(url, RULE, headers={"HX-Request": "true"})
    assert "no rollouts yet" in answer.content.decode()


def test_without_a_script_the_preview_is_the_whole_page_with_what_was_written(
    run: Run, ada: User
) -> None:
    url = reverse("web:audit-new-preview", args=[run.pk])
    page = signed_in(ada).post(url, RULE).content.decode()
    assert "<h1>New audit</h1>" in page
    assert "±" in page
    assert 'name="name" value="mine"' in page


def test_a_change_is_a_new_version(run: Run, ada: User) -> None:
    client = signed_in(ada)
    rule = write_rule(client, run)
    url = reverse("web:audit-edit", args=[rule.pk])
    assert "You write version 2." in client.get(url).content.decode()
    preview = reverse("web:audit-edit-preview", args=[rule.pk])
    changed = SETTINGS | {"budget": "96"}
    assert "±" in client.post(preview, changed, headers={"HX-Request": "true"}).content.decode()
    client.post(url, changed)
    assert [version.budget for version in rule.versions.all()] == [64, 96]
    page = client.get(reverse("web:audit", args=[rule.pk])).content.decode()
    assert "Labels: 64 per window, in 2 waves → 96 per window, in 2 waves" in page
