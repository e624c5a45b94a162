"""The scorecard's table of a rubric's criteria."""

import re

import pytest
from django.urls import reverse

from review.accounts.models import User
from review.calibration.models import Estimand, Estimate
from review.calibration.services.scorecard import refresh_run
from review.runs.models import Run
from tests import builders
from tests.calibration.criteria import judge_by_criteria, make_criteria_run
from tests.web.rules import signed_in


@pytest.fixture
def judged(run: Run, ben: User) -> Run:
    """The project has another run, of which a rubric of the same name says something else."""
    run = make_criteria_run(builders.make_run(run.project), ben)
    judge_by_criteria(run)
    refresh_run(run=run)
    return run


def table(client_of: User, run: Run) -> str:
    page = signed_in(client_of).get(reverse("web:scorecard", args=[run.pk])).content.decode()
    found = re.search(r'id="criteria".*?</table>', page, re.DOTALL)
    return found[0] if found else ""


def test_each_criterion_has_recall_and_fpr_and_its_undecided_share(judged: Run, ada: User) -> None:
    shown = table(ada, judged)
    row = re.search(r'<th scope="row">commits.*?</tr>', shown, re.DOTALL)
    assert row
    assert re.findall(r"<strong>([^<]+)", row[0]) == ["33.3 %", "100.0 %", "25.0 %"]
    assert "rubric@1" in row[0]


def test_what_has_no_partner_is_named_last(judged: Run, ada: User) -> None:
    names = re.findall(r'<th scope="row">([^<]+)', table(ada, judged))
    assert names == ["commits", "Is kind"]
    assert "the verifier judges no criterion of this name" in table(ada, judged)


def test_the_weakest_come_first(judged: Run, ada: User) -> None:
    known = Estimate.objects.filter(criterion="commits")
    for name, recall, fpr in (("better", 0.9, 0.2), ("worse", 0.3, 0.2), ("worst", 0.9, 0.95)):
        for row in known:
            row.pk, row.criterion = None, name
            row.point = recall if row.estimand == Estimand.CRITERION_RECALL else fpr
            row.save()
    Estimate.objects.filter(criterion="commits").delete()
    names = re.findall(r'<th scope="row">([^<]+)', table(ada, judged))
    assert names == ["worst", "worse", "better", "Is kind"]


def test_without_criteria_there_is_no_table(judged: Run, ada: User) -> None:
    other = builders.make_stored_run(judged.project, groups=2)
    assert table(ada, other) == ""


def test_a_name_is_shown_as_text(judged: Run, ada: User) -> None:
    judge_by_criteria(judged, name="<script>alert(1)</script>")
    Estimate.objects.filter(criterion="commits").update(criterion="<b>commits</b>")
    assert "&lt;b&gt;commits&lt;/b&gt;" in table(ada, judged)


def test_nobody_else_sees_it(judged: Run, ben: User, cyd: User) -> None:
    url = reverse("web:scorecard", args=[judged.pk])
    for user in (ben, cyd):
        assert signed_in(user).get(url).status_code in (403, 404)
