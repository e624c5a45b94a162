"""Purging: the texts go, all that a count or a weight rests on stays."""

import msgspec
import pytest

from review.accounts.models import Project
from review.core.models import AuditEvent
from review.flows import ingest
from review.rollouts.errors import UnknownRolloutError
from review.rollouts.models import CellCount, Rollout
from review.rollouts.queries import steps_of
from review.rollouts.services import set_answer_classes
from review.runs.models import Run
from review.verifiers.models import Verdict
from review.verifiers.services import purge_rollouts
from tests import builders

SECRET = r"my name is Ada. so \boxed{15}"


@pytest.fixture
def run(project: Project) -> Run:
    run = builders.make_run(project)
    builders.make_prompt(run)
    ingest.store_batch(run=run, batch=[builders.make_rollout(SECRET, uid=uid) for uid in "abc"])
    Verdict.objects.update(detail="found 15 behind my name")
    return run


def test_texts_are_blanked_and_the_row_stays(run: Run) -> None:
    counts = list(CellCount.objects.values())
    before = Rollout.objects.get(uid="a")
    purged = purge_rollouts(run=run, uids=["a", "b", "a"], actor="ada")
    assert purged == list(Rollout.objects.filter(uid__in="ab").values_list("pk", flat=True))
    after = Rollout.objects.get(uid="a")
    assert after.purged_at
    assert "Ada" not in str(after.messages)
    assert (steps_of(after), after.answer_class) == ([], None)
    assert (after.cell, after.length_bin, after.step) == (
        before.cell,
        before.length_bin,
        before.step,
    )
    verdict = after.verdicts.get()
    assert (verdict.outcome, verdict.extracted, verdict.detail) == ("pass", None, "")
    assert list(CellCount.objects.values()) == counts


def test_the_others_stay_as_they_are(run: Run) -> None:
    purge_rollouts(run=run, uids=["a"], actor="ada")
    kept = Rollout.objects.get(uid="b")
    assert (kept.purged_at, kept.answer_class) == (None, "15")
    assert kept.messages[-1]["content"] == SECRET
    assert kept.verdicts.get().extracted == "15"


def test_a_repeat_purges_nothing_and_says_so_once_in_the_audit_trail(run: Run) -> None:
    ids = purge_rollouts(run=run, uids=["a"], actor="ada")
    purged_at = Rollout.objects.get(uid="a").purged_at
    assert purge_rollouts(run=run, uids=["a"], actor="ada") == []
    assert Rollout.objects.get(uid="a").purged_at == purged_at
    event = AuditEvent.objects.get(action="rollouts purged")
    assert (event.actor, event.details) == ("ada", {"rollouts": ids})


def test_an_unknown_uid_is_named_and_nothing_is_purged(run: Run) -> None:
    other = builders.make_run(run.project)
    builders.make_prompt(other)
    ingest.store_batch(run=other, batch=[builders.make_rollout(uid="theirs")])
    for uid in ("nothing", "theirs"):
        with pytest.raises(UnknownRolloutError) as refusal:
            purge_rollouts(run=run, uids=["a", uid], actor="ada")
        assert refusal.value.fields == {"rollouts[1]": uid}
    assert not Rollout.objects.exclude(purged_at=None).exists()


def test_nothing_that_is_sent_again_brings_a_text_back(run: Run) -> None:
    purge_rollouts(run=run, uids=["a"], actor="ada")
    ingest.store_batch(run=run, batch=[builders.make_rollout(SECRET, uid="a")])
    verdict = builders.make_verdict(SECRET)
    late = msgspec.structs.replace(verdict, verifier="late", detail="my name")
    ingest.store_verdicts(run=run, channel="correctness", verdicts=[("a", late), ("b", late)])
    assert Rollout.objects.filter(uid="a").exclude(messages__0__content="").count() == 0
    said = Verdict.objects.filter(verifier__name="late")
    assert sorted(said.values_list("rollout__uid", "outcome", "extracted", "detail")) == [
        ("a", "pass", None, ""),
        ("b", "pass", "15", "my name"),
    ]


def test_a_class_given_from_an_older_reading_does_not_come_back(run: Run) -> None:
    read = dict(run.rollouts.values_list("pk", "answer_class"))
    (purged,) = purge_rollouts(run=run, uids=["a"], actor="ada")
    set_answer_classes(classes=dict.fromkeys(read, "other"))
    classes = dict(run.rollouts.values_list("pk", "answer_class"))
    assert classes == dict.fromkeys(read, "other") | {purged: None}
