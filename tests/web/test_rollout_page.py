"""A lead reads one rollout: text, verdicts, labels; and marks its answer as known."""

from django.urls import reverse

from review.accounts.models import Project, Role, User
from review.labeling.models import GoldItem, Label
from review.runs.models import Run
from tests import builders
from tests.web.rules import signed_in


def test_it_shows_text_verdicts_and_labels(run: Run, ada: User, ben: User) -> None:
    rule = builders.open_audit(run, budget=32, waves=1)
    builders.label_wave(rule, ben)
    label = Label.objects.select_related("assignment__rollout").earliest("pk")
    rollout = label.assignment.rollout
    url = reverse("web:rollout", args=[run.pk, rollout.pk])
    page = signed_in(ada).get(url).content.decode()
    assert "7 + 8" in page
    assert "boxed-any@1" in page
    assert "<strong>ben</strong>" in page


def test_an_answer_is_marked_as_known_once(run: Run, ada: User, ben: User) -> None:
    client, rollout = signed_in(ada), run.rollouts.earliest("pk")
    url = reverse("web:rollout", args=[run.pk, rollout.pk])
    gold_url = reverse("web:rollout-gold", args=[run.pk, rollout.pk])
    assert gold_url not in client.get(url).content.decode()
    rule = builders.open_audit(run, budget=32, waves=1)
    builders.label_wave(rule, ben)
    labelled = Label.objects.earliest("pk").assignment.rollout_id
    gold_url = reverse("web:rollout-gold", args=[run.pk, labelled])
    assert client.post(gold_url, {"answer": "cannot_tell"}).status_code == 422
    assert client.post(gold_url, {"answer": "correct"}).status_code == 302
    gold = GoldItem.objects.get()
    assert (gold.answer, gold.set_by) == ("correct", "ada")
    page = client.get(reverse("web:rollout", args=[run.pk, labelled])).content.decode()
    assert "Known to be correct" in page
    assert gold_url not in page


def test_it_is_asked_again_with_a_reason_and_its_history_tells(
    run: Run, ada: User, ben: User, project: Project
) -> None:
    builders.make_user(project, Role.REVIEWER, name="eve")
    rule = builders.open_audit(run, budget=32, waves=1)
    builders.answer_queue(rule, ben)
    rollout = Label.objects.earliest("pk").assignment.rollout_id
    client, url = signed_in(ada), reverse("web:rollout", args=[run.pk, rollout])
    again = reverse("web:rollout-requeue", args=[run.pk, rollout, rule.queue.pk])
    assert again in client.get(url).content.decode()
    assert client.post(again, {"reason": ""}).status_code == 422
    assert signed_in(ben).post(again, {"reason": "so"}).status_code == 404
    assert client.post(again, {"reason": "odd spelling"}).status_code == 302
    page = client.get(url).content.decode()
    assert again not in page
    told = ["was served it", "labelled it", "asked for another look", "“odd spelling”"]
    places = [page.index(each) for each in told]
    assert places == sorted(places)
    twice = client.post(again, {"reason": "odd spelling"}, follow=True)
    assert "still to come" in twice.content.decode()


def test_a_known_answer_can_be_for_practice(run: Run, ada: User, ben: User) -> None:
    rule = builders.open_audit(run, budget=32, waves=1)
    builders.label_wave(rule, ben)
    rollout = Label.objects.earliest("pk").assignment.rollout_id
    client = signed_in(ada)
    said = {"answer": "correct", "is_practice": "on", "explanation": "15.0 is 15"}
    client.post(reverse("web:rollout-gold", args=[run.pk, rollout]), said)
    assert (GoldItem.objects.get().is_practice, GoldItem.objects.get().explanation) == (
        True,
        "15.0 is 15",
    )
    page = client.get(reverse("web:rollout", args=[run.pk, rollout])).content.decode()
    assert "It is for practice" in page


def test_a_rollout_of_another_run_is_not_there(run: Run, ada: User) -> None:
    other = builders.make_run(run.project)
    rollout = run.rollouts.earliest("pk")
    url = reverse("web:rollout", args=[other.pk, rollout.pk])
    assert signed_in(ada).get(url).status_code == 404
