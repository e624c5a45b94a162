"""What is said of one answer counts for those that gave the same one."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db.models import F
from pytest_django import DjangoCaptureOnCommitCallbacks

from review.accounts.models import Project, Role, User
from review.calibration.models import Estimate, RewardRule
from review.calibration.queries import settled_answers
from review.calibration.services.tables import build_table
from review.celery import app
from review.flows import audit, classes, ingest, labels, tasks
from review.labeling.errors import QueueInUseError
from review.labeling.models import (
    Answer,
    Assignment,
    AssignmentState,
    Label,
    Queue,
    SettledClass,
    SkipReason,
)
from review.labeling.queries import UNDO_SECONDS, final_answers, has_pending, progress_of
from review.labeling.services.judgements import NewLabel
from review.labeling.services.leases import take_next
from review.labeling.services.queues import change_queue, settings_of
from review.rollouts.models import Rollout
from review.runs.models import Prompt, Run
from review.sampling.models import AuditRule, PickCause, Wave, WindowState
from review.sampling.queries import windows_for_run
from tests import builders
from tests.labeling import items
from trainer.rewards import Cell
from trainer.rewards import RewardTable as TrainerTable

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(project: Project) -> Run:
    return builders.make_stored_run(project, groups=10)


@pytest.fixture
def rule(run: Run, monkeypatch: pytest.MonkeyPatch) -> AuditRule:
    """A queue that asks for correctness alone, none of whose items is looked at twice."""
    return correctness_alone(run, monkeypatch, check_share=0.0)


@pytest.fixture
def at_once() -> Iterator[None]:
    """Tasks run where they are sent."""
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


def correctness_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch, *, check_share: float
) -> AuditRule:
    monkeypatch.setattr("review.labeling.services.classes.CHECK_SHARE", check_share)
    rule = builders.make_audit(run, budget=32, waves=1, reviews_contradictions=check_share > 0)
    Queue.objects.filter(rule=rule).update(questions=[])
    audit.start_audit(rule=rule, actor="ada")
    audit.open_windows(run=run)
    return AuditRule.objects.get(pk=rule.pk)


def settle(rollout: Rollout) -> None:
    assert rollout.answer_class is not None
    classes.settle_class(prompt=rollout.group.prompt, answer_class=rollout.answer_class)


def settle_for_good(rollout: Rollout) -> None:
    """When no label can be taken back any more."""
    age = timedelta(seconds=UNDO_SECONDS + 1)
    Label.objects.update(created_at=F("created_at") - age)
    settle(rollout)


def take_of_class(queue: Queue, reviewer: User, name: str) -> Assignment:
    """The reviewer's next item whose answer is this one; others are answered on the way."""
    while item := take_next(queue=queue, reviewer=reviewer):
        if item.rollout.answer_class == name:
            return item
        items.commit(item, reviewer, Answer.CANNOT_TELL)
    raise AssertionError(f"nothing of class {name} is left")


def settle_the_rest(queue: Queue, reviewer: User) -> None:
    """Label what the queue still holds, each class once."""
    while item := take_next(queue=queue, reviewer=reviewer):
        items.commit(item, reviewer, builders.rubric(item.rollout.messages[-1]["content"]).answer)
        if item.rollout.answer_class is not None:
            settle(item.rollout)


def answered_of_closed_waves(rule: AuditRule) -> int | None:
    """Labels in the newest estimate of the audit's window."""
    newest = Estimate.objects.filter(window__rule=rule, estimand="accuracy").latest("pk")
    return newest.labels


def states(rule: AuditRule, name: str | None) -> set[str]:
    rows = Assignment.objects.filter(queue__rule=rule, rollout__answer_class=name)
    return set(rows.values_list("state", flat=True))


def test_one_label_answers_all_items_with_the_same_answer(rule: AuditRule, ben: User) -> None:
    item = take_of_class(rule.queue, ben, "15")
    items.commit(item, ben)
    settle(item.rollout)
    assert states(rule, "15") == {AssignmentState.DONE, AssignmentState.SETTLED}
    assert AssignmentState.SETTLED not in states(rule, "16") | states(rule, None)
    window = rule.windows.get()
    settled = Assignment.objects.filter(state=AssignmentState.SETTLED)
    answers = final_answers([window])
    assert {answers[rule.pk, each.rollout_id].answer for each in settled} == {Answer.CORRECT}
    assert progress_of(rule.queue).done >= len(settled) + 1


def test_items_that_are_settled_when_their_wave_is_drawn_are_never_served(
    run: Run, rule: AuditRule, ben: User
) -> None:
    item = take_of_class(rule.queue, ben, "15")
    items.commit(item, ben)
    settle(item.rollout)
    later = builders.make_audit(run, name="again", budget=32, waves=1)
    Queue.objects.filter(rule=later).update(questions=[])
    audit.start_audit(rule=later, actor="ada")
    audit.open_windows(run=run)
    assert states(later, "15") == {AssignmentState.SETTLED}


def test_a_label_taken_back_opens_what_it_settled(rule: AuditRule, ben: User) -> None:
    item = take_of_class(rule.queue, ben, "15")
    items.commit(item, ben)
    settle(item.rollout)
    labels.retract_label(queue=rule.queue, reviewer=ben)
    settle(item.rollout)
    assert AssignmentState.SETTLED not in states(rule, "15")
    assert SettledClass.objects.get().withdrawn_at is not None


def test_a_queue_that_asks_for_more_is_labelled_item_by_item(run: Run, ben: User) -> None:
    rule = builders.open_audit(run)
    item = take_of_class(rule.queue, ben, "15")
    items.commit(item, ben)
    settle(item.rollout)
    assert AssignmentState.SETTLED not in states(rule, "15")


def test_a_share_of_the_settled_items_is_labelled_all_the_same(
    project: Project, run: Run, ben: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    builders.make_user(project, Role.REVIEWER)
    rule = correctness_alone(run, monkeypatch, check_share=1.0)
    item = take_of_class(rule.queue, ben, "15")
    items.commit(item, ben)
    settle(item.rollout)
    assert AssignmentState.SETTLED not in states(rule, "15")
    # And one of the members that nobody drew.
    (pick,) = rule.windows.get().picks.all()
    assert (pick.cause, pick.rollout.answer_class) == (PickCause.CLASS_CHECK, "15")


def test_members_labelled_differently_split_their_class(
    run: Run, rule: AuditRule, ben: User
) -> None:
    """15 and 15.0 were one class; a reviewer says that they are not the same."""
    first = take_of_class(rule.queue, ben, "15")
    items.commit(first, ben)
    spelling = first.rollout.messages[-1]["content"]
    other = next(
        item
        for item in iter(lambda: take_of_class(rule.queue, ben, "15"), None)
        if item.rollout.messages[-1]["content"] != spelling or items.commit(item, ben) is None
    )
    settle(first.rollout)
    items.commit(other, ben, Answer.INCORRECT)
    settle_for_good(other.rollout)
    prompt = Prompt.objects.get(run=run)
    mixed = SettledClass.objects.get(answer_class="15")
    assert mixed.mixed_by is not None
    assert mixed.mixed_by.assignment_id == other.pk
    parts = SettledClass.objects.filter(prompt=prompt, mixed_at=None, withdrawn_at=None)
    assert {part.answer for part in parts} == {Answer.CORRECT, Answer.INCORRECT}
    assert not Rollout.objects.filter(run=run, answer_class="15").exists()


def test_a_label_that_can_still_be_taken_back_splits_no_class(
    run: Run, rule: AuditRule, ben: User
) -> None:
    first = take_of_class(rule.queue, ben, "16")
    items.commit(first, ben, Answer.INCORRECT)
    second = take_of_class(rule.queue, ben, "16")
    settle_for_good(first.rollout)
    items.commit(second, ben, Answer.CORRECT)
    settle(second.rollout)
    assert Rollout.objects.filter(run=run, answer_class="16").exists()
    labels.retract_label(queue=rule.queue, reviewer=ben)
    settle_for_good(second.rollout)
    assert SettledClass.objects.get(answer_class="16", mixed_at=None, withdrawn_at=None)
    assert Rollout.objects.filter(run=run, answer_class="16").exists()


def test_a_class_found_mixed_after_its_wave_closed_is_estimated_anew(
    project: Project,
    run: Run,
    rule: AuditRule,
    ben: User,
    at_once: None,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    eve = builders.make_user(project, Role.REVIEWER, name="eve")
    check = take_of_class(rule.queue, eve, "16")
    settle_the_rest(rule.queue, ben)
    items.commit(check, eve, Answer.CORRECT)
    audit.open_windows(run=run)
    assert rule.windows.get().state == WindowState.CLOSED
    stood = answered_of_closed_waves(rule)
    with django_capture_on_commit_callbacks(execute=True):
        settle_for_good(check.rollout)
    reopened = Assignment.objects.filter(queue__rule=rule, state=AssignmentState.OPEN).count()
    assert reopened > 0
    assert answered_of_closed_waves(rule) == stood - reopened


def test_members_spelled_alike_and_labelled_differently_are_in_no_class(
    run: Run, rule: AuditRule, ben: User
) -> None:
    first = take_of_class(rule.queue, ben, "16")
    items.commit(first, ben, Answer.INCORRECT)
    second = take_of_class(rule.queue, ben, "16")
    items.commit(second, ben, Answer.CORRECT)
    settle_for_good(first.rollout)
    first.rollout.refresh_from_db()
    assert first.rollout.answer_class is None
    assert "16" not in settled_answers(run, windows_for_run(run)).get("p1", {})


def test_a_class_once_mixed_stays_unsettled(run: Run, rule: AuditRule, ben: User) -> None:
    first = take_of_class(rule.queue, ben, "16")
    items.commit(first, ben, Answer.INCORRECT)
    items.commit(take_of_class(rule.queue, ben, "16"), ben, Answer.CORRECT)
    settle_for_good(first.rollout)
    builders.store_steps(run, [3], groups=2)
    newer = run.rollouts.filter(step=3, answer_class="16").first()
    assert newer is not None
    settle(newer)
    assert SettledClass.objects.filter(mixed_at=None, withdrawn_at=None).count() == 0


def test_a_class_once_mixed_pays_nobody(run: Run, rule: AuditRule, ben: User) -> None:
    first = take_of_class(rule.queue, ben, "16")
    items.commit(first, ben, Answer.INCORRECT)
    second = take_of_class(rule.queue, ben, "16")
    items.commit(second, ben, Answer.CORRECT)
    settle_for_good(first.rollout)
    # The answer of a rollout that came after the class was split.
    Rollout.objects.filter(pk=second.rollout_id).update(answer_class="16")
    assert "16" not in settled_answers(run, windows_for_run(run)).get("p1", {})


def test_what_has_no_text_any_more_is_not_opened_again(
    run: Run, rule: AuditRule, ben: User
) -> None:
    item = take_of_class(rule.queue, ben, "15")
    items.commit(item, ben)
    settle(item.rollout)
    settled = Assignment.objects.filter(state=AssignmentState.SETTLED)
    gone = [each.rollout for each in settled]
    audit.purge_rollouts(run=run, uids=[rollout.uid for rollout in gone], actor="ada")
    labels.retract_label(queue=rule.queue, reviewer=ben)
    settle(item.rollout)
    reopened = Assignment.objects.filter(rollout__in=gone, slot=1)
    assert {each.state for each in reopened} == {AssignmentState.SKIPPED}


@pytest.fixture
def purged(run: Run, rule: AuditRule, ben: User) -> Assignment:
    """The item whose label settled class 15, when its text is gone."""
    item = take_of_class(rule.queue, ben, "15")
    eve = builders.make_user(run.project, Role.REVIEWER, name="eve")
    take_of_class(rule.queue, eve, "15")
    items.commit(item, ben)
    settle(item.rollout)
    audit.purge_rollouts(run=run, uids=[item.rollout.uid], actor="ada")
    return item


def held_by_eve(queue: Queue) -> Assignment:
    return Assignment.objects.get(
        queue=queue, state=AssignmentState.LEASED, reviewer__username="eve"
    )


def test_a_class_stays_settled_when_the_labelled_text_is_purged(
    rule: AuditRule, purged: Assignment
) -> None:
    held = held_by_eve(rule.queue)
    assert held.reviewer is not None
    assert held.lease_token is not None
    settled = Assignment.objects.filter(state=AssignmentState.SETTLED).count()
    labels.skip_item(
        assignment=held,
        reviewer=held.reviewer,
        token=held.lease_token,
        reason=SkipReason.OTHER,
        note="hard to read",
    )
    settle(held.rollout)
    assert Assignment.objects.filter(state=AssignmentState.SETTLED).count() >= settled > 0


def test_a_member_labelled_otherwise_than_a_purged_one_splits_the_class(
    rule: AuditRule, purged: Assignment
) -> None:
    held = held_by_eve(rule.queue)
    assert held.reviewer is not None
    items.commit(held, held.reviewer, Answer.INCORRECT)
    settle_for_good(held.rollout)
    mixed = SettledClass.objects.get(answer_class="15")
    assert mixed.label.assignment_id == purged.pk
    assert mixed.mixed_by is not None
    assert mixed.mixed_by.assignment_id == held.pk


def test_a_label_of_a_purged_text_taken_back_opens_what_it_settled(
    rule: AuditRule,
    ben: User,
    purged: Assignment,
    at_once: None,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        labels.retract_label(queue=rule.queue, reviewer=ben)
    assert not Assignment.objects.filter(state=AssignmentState.SETTLED).exists()
    assert SettledClass.objects.get().withdrawn_at is not None


def test_a_queue_that_a_class_has_answered_asks_nothing_else(
    run: Run, rule: AuditRule, ben: User
) -> None:
    item = take_of_class(rule.queue, ben, "15")
    items.commit(item, ben)
    settle(item.rollout)
    later = builders.make_audit(run, name="again", budget=32, waves=1)
    Queue.objects.filter(rule=later).update(questions=[])
    audit.start_audit(rule=later, actor="ada")
    audit.open_windows(run=run)
    queue = Queue.objects.get(rule=later)
    asking = replace(settings_of(queue), questions=("hack",))
    with pytest.raises(QueueInUseError):
        change_queue(queue=queue, settings=asking, actor="ada")


def test_another_normaliser_withdraws_what_classes_had_settled(
    run: Run, rule: AuditRule, ben: User
) -> None:
    item = take_of_class(rule.queue, ben, "15")
    items.commit(item, ben)
    settle(item.rollout)
    ingest.change_run(run=run, completed_step=None, status=None, normaliser="squad-1", actor="ada")
    assert not Assignment.objects.filter(state=AssignmentState.SETTLED).exists()


def test_labels_settle_the_classes_of_another_normaliser(
    run: Run,
    rule: AuditRule,
    ben: User,
    at_once: None,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """By it 15.0 is 150: what nobody labelled of the one class is open, of the other settled."""
    item = take_of_class(rule.queue, ben, "15")
    spelling = item.rollout.messages[-1]["content"]
    items.commit(item, ben)
    settle(item.rollout)
    settle_the_rest(rule.queue, ben)
    audit.open_windows(run=run)
    stood = answered_of_closed_waves(rule)
    with django_capture_on_commit_callbacks(execute=True):
        ingest.change_run(
            run=run, completed_step=None, status=None, normaliser="squad-1", actor="ada"
        )
    item.rollout.refresh_from_db()
    mine, other = ("15", "150") if r"{15}" in spelling else ("150", "15")
    assert item.rollout.answer_class == mine
    assert states(rule, mine) <= {AssignmentState.DONE, AssignmentState.SETTLED}
    assert states(rule, other) == {AssignmentState.OPEN}
    reopened = Assignment.objects.filter(queue__rule=rule, state=AssignmentState.OPEN).count()
    assert answered_of_closed_waves(rule) == stood - reopened


def test_a_new_classing_is_settled_a_chunk_at_a_time(
    run: Run, rule: AuditRule, ben: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_the_rest(rule.queue, ben)
    ingest.change_run(run=run, completed_step=None, status=None, normaliser="squad-1", actor="ada")
    sent: list[tuple[object, ...]] = []
    monkeypatch.setattr(tasks.settle_run_task, "delay", lambda *asked: sent.append(asked))
    monkeypatch.setattr(classes, "CHUNK", 1)
    tasks.settle_run_task(str(run.pk))
    ((run_id, last),) = sent
    assert run_id == str(run.pk)
    assert last in Label.objects.values_list("assignment__rollout", flat=True)
    assert SettledClass.objects.filter(withdrawn_at=None).count() == 1


def test_a_wave_ends_with_its_settled_items(rule: AuditRule, ben: User) -> None:
    settle_the_rest(rule.queue, ben)
    wave = Wave.objects.get(window__rule=rule)
    assert not has_pending(wave)
    # One label for each of the two answers; hedges have no class.
    labelled = Assignment.objects.filter(
        queue__rule=rule, state=AssignmentState.DONE, rollout__answer_class__isnull=False
    )
    assert len(labelled) == 2


def test_a_reward_table_pays_the_settled_answers_of_a_prompt(run: Run, ben: User) -> None:
    rule = builders.open_audit(run, budget=48, waves=1)
    builders.label_audit(rule, ben)
    table = build_table(
        run=run,
        rule=RewardRule.DEMOTE_OR_ABSTAIN,
        valid_from_step=3,
        valid_to_step=9,
        actor="ada",
    )
    paid = TrainerTable.from_json(table.body)
    odd = Cell("fail/boxed/decimal/1", None, None, probe=False, domain="arithmetic")
    assert paid.reward(odd, prompt="p1", answer_class="15").value == 1.0
    assert paid.reward(odd, prompt="p1", answer_class="16").value == 0.0
    assert paid.reward(odd, prompt="p2", answer_class="15").level != "class"
    assert table.preview["rollouts_settled"] > 0.5


def test_two_reviewers_of_one_class_at_once_settle_it_once(
    rule: AuditRule, project: Project, ben: User
) -> None:
    eve = builders.make_user(project, Role.REVIEWER, name="eve")
    mine, theirs = take_of_class(rule.queue, ben, "15"), take_of_class(rule.queue, eve, "15")
    items.commit(mine, ben)
    settle(mine.rollout)
    labels.commit_label(
        assignment=theirs,
        reviewer=eve,
        token=theirs.lease_token or theirs.pk,
        client_key=theirs.pk,
        new=NewLabel(answer=Answer.CORRECT),
    )
    settle(theirs.rollout)
    assert SettledClass.objects.count() == 1
