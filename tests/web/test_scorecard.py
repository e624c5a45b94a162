"""The scorecard, and the rollouts behind its numbers."""

import re
from html import unescape
from uuid import uuid4

import pytest
from django.urls import reverse

from review.accounts.models import User
from review.calibration.models import Estimand, Estimate
from review.calibration.queries import scorecard
from review.calibration.services.scorecard import refresh_run
from review.flows import audit
from review.flows.labels import commit_label
from review.flows.replays import add_verifier, go_on, start_replay
from review.labeling.models import Answer
from review.labeling.services.judgements import NewLabel
from review.labeling.services.leases import take_next
from review.rollouts.services import create_slice
from review.runs.models import Run
from review.verifiers.services import purge_rollouts
from tests import builders
from tests.calibration.test_purged import judge_the_rest
from tests.calibration.test_scorecard import judge_all
from tests.verifiers import toys
from tests.web.rules import signed_in
from trainer.verifiers import BUILT_IN


@pytest.fixture
def scored(run: Run, ben: User) -> Run:
    conditions = [{"field": "outcome", "op": "is", "value": "fail"}]
    create_slice(project=run.project, name="rejected", conditions=conditions, actor="test")
    builders.label_audit(builders.open_audit(run, budget=64, waves=2), ben)
    refresh_run(run=run)
    return run


def test_an_unaudited_run_has_an_empty_scorecard(run: Run, ada: User) -> None:
    page = signed_in(ada).get(reverse("web:scorecard", args=[run.pk])).content.decode()
    assert "Nothing is estimated yet" in page


def test_it_has_a_row_for_each_part_with_intervals_and_labels(scored: Run, ada: User) -> None:
    Estimate.objects.filter(estimand=Estimand.ACCURACY).update(effective_labels=71.2)
    page = signed_in(ada).get(reverse("web:scorecard", args=[scored.pk])).content.decode()
    assert "every rollout" in page
    assert "verdict is fail" in page
    assert "by the part's definition" in unescape(page)
    assert "worth 71" in page
    assert "estimand=recall" in page


def test_a_part_whose_every_rollout_is_labelled_is_no_definition(
    run: Run, ada: User, ben: User
) -> None:
    builders.label_audit(builders.open_audit(run, budget=run.rollouts.count(), waves=1), ben)
    refresh_run(run=run)
    page = signed_in(ada).get(reverse("web:scorecard", args=[run.pk])).content.decode()
    assert "50.0 to 50.0 %" in page
    assert "definition" not in unescape(page)


def test_it_is_sorted_by_a_link(scored: Run, ada: User) -> None:
    client, url = signed_in(ada), reverse("web:scorecard", args=[scored.pk])

    def parts(**query: str) -> list[str]:
        page = client.get(url, query).content.decode()
        return re.findall(r"<td>(every rollout|rejected)", page)

    assert parts(sort="recall") == ["rejected", "every rollout"]
    assert parts(sort="recall", order="last") == ["every rollout", "rejected"]
    assert len(parts(sort="nonsense")) == 2
    page = client.get(url, {"sort": "fpr"}).content.decode()
    assert 'aria-sort="descending"' in page
    assert "sort=fpr&amp;order=last" in page


def test_few_labels_show_their_interval_alone(scored: Run, ada: User) -> None:
    whole = {"run": scored, "window": None, "slice": None, "estimand": Estimand.RECALL}
    Estimate.objects.filter(**whole).update(labels=9, point=0.123, low=0.1, high=0.2)
    page = signed_in(ada).get(reverse("web:scorecard", args=[scored.pk])).content.decode()
    assert "10.0 to 20.0 %" in page
    assert "12.3 %" not in page


def test_a_number_opens_the_labelled_rollouts_behind_it(scored: Run, ada: User) -> None:
    client = signed_in(ada)
    page = client.get(reverse("web:scorecard", args=[scored.pk])).content.decode()
    url = reverse("web:labelled", args=[scored.pk])
    links = [link.replace("&amp;", "&") for link in re.findall(rf'href="({url}[^"]+)"', page)]
    assert links
    for link in links:
        assert client.get(link).status_code == 200
    behind = client.get(url, {"estimand": "accuracy"}).content.decode()
    assert "64 labelled rollouts" in behind
    assert "Page 1 of 3" in behind
    second = client.get(url, {"estimand": "accuracy", "page": "2"}).content.decode()
    assert "Page 2 of 3" in second
    (rollout, *_) = re.findall(r'href="(/runs/[^"]+/rollouts/\d+/)"', behind)
    assert client.get(rollout).status_code == 200
    recalled = client.get(url, {"estimand": "recall"}).content.decode()
    assert "of them right, but rejected" in recalled


def test_a_number_that_is_not_there_is_not_found(scored: Run, ada: User) -> None:
    client, url = signed_in(ada), reverse("web:labelled", args=[scored.pk])
    for query in ({}, {"estimand": "beauty"}, {"estimand": "recall", "slice": "x"}):
        assert client.get(url, query).status_code == 404


def test_another_verifier_is_held_against_the_one_that_gives_the_reward(
    scored: Run, ada: User
) -> None:
    url = reverse("web:scorecard", args=[scored.pk])
    assert "Against the verifier" not in signed_in(ada).get(url).content.decode()
    judge_all(scored, until=3)
    assert "It has not judged every rollout" in signed_in(ada).get(url).content.decode()
    judge_all(scored)
    page = signed_in(ada).get(url).content.decode()
    assert "boxed-any@2" in page
    assert re.search(r"<strong>\+\d+\.\d</strong><span class=\"under\">\+\d+\.\d to", page)


def test_what_was_purged_before_a_verifier_came_is_said_beside_its_labels(
    scored: Run, ada: User
) -> None:
    uids = list(scored.rollouts.order_by("pk").values_list("uid", flat=True)[:3])
    purge_rollouts(run=scored, uids=uids, actor="ada")
    judge_the_rest(scored, "2", builders.RESPONSES[:1])
    refresh_run(run=scored)
    page = signed_in(ada).get(reverse("web:scorecard", args=[scored.pk])).content.decode()
    assert "later-correctness@2" in page
    assert "without 3 purged" in page
    assert page.count("purged") == 2  # on every rollout, and on the slice


def test_what_steps_say_is_shown_once_they_are_labelled(
    run: Run, ben: User, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = builders.open_audit(run, budget=64, waves=1)
    while item := take_next(queue=rule.queue, reviewer=ben):
        assert item.lease_token
        commit_label(
            assignment=item,
            reviewer=ben,
            token=item.lease_token,
            client_key=uuid4(),
            new=NewLabel(answer=Answer.CORRECT, has_no_wrong_step=True),
        )
    audit.advance_window(window=rule.windows.get())
    refresh_run(run=run)
    page = signed_in(ada).get(reverse("web:scorecard", args=[run.pk])).content.decode()
    assert "Right answer, wrong process" in page
    assert "As the policy gets stronger" in page

    # A verifier of steps that comes later is measured by the same labels.
    monkeypatch.setitem(BUILT_IN, "steps", toys.steps())
    replay = add_verifier(run=run, name="steps", params={"text": "nowhere"}, actor="ada")
    assert go_on(replay=replay)
    replay = start_replay(replay=replay, actor="ada")
    assert go_on(replay=replay)
    refresh_run(run=run)
    said = {row.estimand: row for row in scorecard(run) if row.verifier == replay.verifier}
    # It finds no wrong step, and there is none.
    assert said["faultless_passed"].point == pytest.approx(1.0)
    assert said["process_f1"].reason
