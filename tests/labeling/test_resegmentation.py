"""A run cut into steps by another rule: labels keep to the steps that were meant."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from review.accounts.models import Project, Role, User
from review.core.models import AuditEvent
from review.flows import ingest, labels, tasks
from review.labeling.models import Answer, Assignment, Draft, Label, Queue
from review.labeling.services import resegmentation
from review.labeling.services.judgements import NewLabel
from review.labeling.services.leases import take_next
from review.labeling.services.resegmentation import change_segmenter, recut
from review.rollouts.models import Rollout
from review.rollouts.queries import rollouts_to_recut, steps_of
from review.runs.errors import StepsClaimedError
from review.runs.models import Run
from review.verifiers.services import purge_rollouts
from tests import builders
from tests.labeling.items import take

TEXT = "First. Then a slip.\nStill there.\n\nSo it is. \\boxed{15}"


@pytest.fixture
def run(project: Project) -> Run:
    run = builders.make_run(project)
    builders.make_prompt(run)
    ingest.store_batch(
        run=run, batch=[builders.make_rollout(TEXT, group=f"g{number}") for number in range(8)]
    )
    return ingest.finish_step(run=run, step=1)


@pytest.fixture
def queue(run: Run) -> Queue:
    return builders.open_audit(run, last_step=1, window_steps=1, budget=8, waves=1).queue


def wrong_step(assignment: Assignment, reviewer: User, number: int) -> Label:
    label, _ = labels.commit_label(
        assignment=assignment,
        reviewer=reviewer,
        token=assignment.lease_token or uuid4(),
        client_key=uuid4(),
        new=NewLabel(answer=Answer.INCORRECT, earliest_wrong_step=number),
    )
    return label


def cut(run: Run, segmenter: str) -> bool:
    return recut(run=change_segmenter(run=run, segmenter=segmenter, actor="test"))


def texts(rollout: Rollout) -> list[str]:
    rollout.refresh_from_db()
    return [step.text for step in steps_of(rollout)]


def test_every_stored_rollout_and_every_new_one_is_cut_by_the_new_rule(run: Run) -> None:
    assert cut(run, "sentence")
    ingest.store_batch(run=run, batch=[builders.make_rollout(TEXT, group="later", step=2)])
    for rollout in run.rollouts.all():
        assert len(texts(rollout)) == 5
    run.refresh_from_db()
    assert rollouts_to_recut(run) == 0
    assert AuditEvent.objects.filter(action="segmenter changed").count() == 1


def test_chunks_meet_and_a_call_that_died_is_taken_up(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resegmentation, "CHUNK", 1)
    change_segmenter(run=run, segmenter="sentence", actor="test")
    first, *_ = run.rollouts.order_by("pk").values_list("pk", flat=True)
    Run.objects.update(recut_after=first)
    assert recut(run=run)
    cut_ones = [len(texts(rollout)) for rollout in run.rollouts.order_by("pk")]
    assert cut_ones == [2, *[5] * 7]


def test_a_label_stays_with_the_text_that_was_meant(run: Run, queue: Queue, ben: User) -> None:
    label = wrong_step(take(queue, ben), ben, 2)
    assert cut(run, "sentence")
    label.refresh_from_db()
    assert label.earliest_wrong_step == 4
    assert texts(label.assignment.rollout)[3] == "So it is."
    assert cut(run, "blank_line")
    label.refresh_from_db()
    assert label.earliest_wrong_step == 2


def test_a_step_within_a_larger_one_is_found_by_its_place_and_comes_back(
    run: Run, queue: Queue, ben: User
) -> None:
    assert cut(run, "sentence")
    label = wrong_step(take(queue, ben), ben, 3)
    said = label.step_id
    assert cut(run, "blank_line")
    label.refresh_from_db()
    assert (label.earliest_wrong_step, label.step_id) == (1, said)
    assert cut(run, "sentence")
    label.refresh_from_db()
    assert label.earliest_wrong_step == 3


def test_a_label_of_before_steps_had_names_gets_its_name_first(
    run: Run, queue: Queue, ben: User
) -> None:
    label = wrong_step(take(queue, ben), ben, 2)
    Label.objects.update(step_id="")
    assert cut(run, "sentence")
    after = Label.objects.get()
    assert (after.earliest_wrong_step, after.step_id) == (4, label.step_id)


def test_decisions_between_labels_follow_their_step_too(
    run: Run, queue: Queue, project: Project, ben: User
) -> None:
    rollout = take(queue, ben).rollout
    decision = rollout.adjudications.create(
        queue=queue,
        decided_by=builders.make_user(project, Role.LEAD),
        reason="r",
        answer=Answer.INCORRECT,
        earliest_wrong_step=2,
        step_id=steps_of(rollout)[1].id,
    )
    Assignment.objects.filter(reviewer=ben).update(lease_expires_at=timezone.now())
    assert cut(run, "sentence")
    decision.refresh_from_db()
    assert decision.earliest_wrong_step == 4


def test_what_a_reviewer_has_on_the_screen_is_cut_when_they_are_done(
    run: Run, queue: Queue, ben: User
) -> None:
    held = take(queue, ben)
    assert not cut(run, "sentence")
    assert [len(texts(rollout)) for rollout in run.rollouts.all()].count(2) == 1
    assert len(texts(held.rollout)) == 2
    run.refresh_from_db()
    assert 0 < rollouts_to_recut(run) <= 8
    label = wrong_step(held, ben, 2)
    tasks.sweep_task()
    assert recut(run=run)
    label.refresh_from_db()
    assert label.earliest_wrong_step == 4


def test_an_expired_hold_ends_and_what_it_still_sends_is_late(
    run: Run, queue: Queue, ben: User
) -> None:
    held = take(queue, ben)
    Assignment.objects.update(lease_expires_at=timezone.now() - timedelta(hours=1))
    assert cut(run, "sentence")
    assert wrong_step(held, ben, 2).is_late


def test_a_draft_forgets_the_step_but_nothing_else(run: Run, queue: Queue, ben: User) -> None:
    held = take(queue, ben)
    body = {"answer": "incorrect", "earliest_wrong_step": "2", "error_category": "logic"}
    Draft.objects.create(assignment=held, reviewer=ben, body=body)
    Assignment.objects.update(lease_expires_at=timezone.now() - timedelta(hours=1))
    assert cut(run, "sentence")
    assert Draft.objects.get().body == {"answer": "incorrect"}


def test_no_item_is_taken_while_it_is_cut(run: Run, queue: Queue, ben: User) -> None:
    """What was taken before the change is another cut; what is taken after it, the new one."""
    assert cut(run, "sentence")
    item = take_next(queue=queue, reviewer=ben)
    assert item is not None
    assert len(steps_of(item.rollout)) == 5


def test_numbers_that_a_process_verifier_has_named_do_not_move(run: Run) -> None:
    said = builders.make_verdict(TEXT)
    uid = run.rollouts.earliest("pk").uid
    judged = msgspec.structs.replace(said, verifier="prm", extracted="2")
    ingest.store_verdicts(run=run, channel="process", verdicts=[(uid, judged)])
    with pytest.raises(StepsClaimedError):
        change_segmenter(run=run, segmenter="sentence", actor="test")


def test_a_process_verifier_that_found_no_wrong_step_stands_in_no_ones_way(run: Run) -> None:
    said = builders.make_verdict(TEXT)
    uid = run.rollouts.earliest("pk").uid
    judged = msgspec.structs.replace(said, verifier="prm", extracted="0")
    ingest.store_verdicts(run=run, channel="process", verdicts=[(uid, judged)])
    assert cut(run, "sentence")


def test_another_rule_while_one_is_at_work_begins_anew(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resegmentation, "CHUNK", 2)
    change_segmenter(run=run, segmenter="sentence", actor="test")
    write = resegmentation.set_steps
    changes = iter(["blank_line"])

    def change_then_write(*, steps: Mapping[int, Sequence[Sequence[int]]]) -> None:
        for segmenter in changes:
            change_segmenter(run=Run.objects.get(), segmenter=segmenter, actor="test")
        write(steps=steps)

    monkeypatch.setattr(resegmentation, "set_steps", change_then_write)
    assert not recut(run=run)
    run.refresh_from_db()
    assert (run.segmenter, run.recut_after) == ("blank_line", 0)
    assert recut(run=run)
    assert {len(texts(rollout)) for rollout in run.rollouts.all()} == {2}


def test_the_run_is_locked_before_its_rollouts_are_read(run: Run) -> None:
    """As a purge does: otherwise each of the two could wait for the other."""
    change_segmenter(run=run, segmenter="sentence", actor="test")
    with CaptureQueriesContext(connection) as said:
        recut(run=run)
    sql = [query["sql"] for query in said]
    locked = [text for text in sql if "FOR NO KEY UPDATE" in text]
    read = next(number for number, text in enumerate(sql) if 'FROM "rollouts_rollout"' in text)
    assert 'FROM "runs_run"' in locked[0]
    assert sql.index(locked[0]) < read


def test_a_rule_that_was_replaced_between_two_chunks_cuts_nothing_more(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_segmenter(run=run, segmenter="sentence", actor="test")
    read = run.refresh_from_db

    def read_then_change() -> None:
        read()
        change_segmenter(run=run, segmenter="blank_line", actor="test")

    monkeypatch.setattr(run, "refresh_from_db", read_then_change)
    assert not recut(run=run)
    assert {len(texts(rollout)) for rollout in run.rollouts.all()} == {2}


def test_a_rollout_purged_while_it_is_cut_keeps_no_steps(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_segmenter(run=run, segmenter="sentence", actor="test")
    purged = run.rollouts.earliest("pk")
    write = resegmentation.set_steps

    def purge_then_write(*, steps: Mapping[int, Sequence[Sequence[int]]]) -> None:
        purge_rollouts(run=run, uids=[purged.uid], actor="test")
        write(steps=steps)

    monkeypatch.setattr(resegmentation, "set_steps", purge_then_write)
    assert recut(run=run)
    purged.refresh_from_db()
    assert purged.steps == []
    assert {len(texts(rollout)) for rollout in run.rollouts.filter(purged_at=None)} == {5}
