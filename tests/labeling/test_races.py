"""Many requests at once, on a real PostgreSQL: the rows settle who has what."""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import uuid4

import pytest
from django.db import connection, connections

from review.accounts.models import Project, Role, User
from review.labeling.errors import UndoRefusedError
from review.labeling.models import Answer, Assignment, AssignmentState, Label, Queue
from review.labeling.queries import PENDING_SQL
from review.labeling.services import labels, leases, serving
from review.labeling.services.judgements import NewLabel
from review.labeling.services.reviews import LOCK_SQL
from tests import builders
from tests.labeling import bulk, items, race

ITEMS = 300
THREADS, REVIEWERS = 32, 24

Given = TypeVar("Given")
Answered = TypeVar("Answered")


def at_once(work: Callable[[Given], Answered], given: Sequence[Given]) -> list[Answered]:
    """What the work answers for each argument, in a thread with a connection of its own."""

    def alone(argument: Given) -> Answered:
        try:
            return work(argument)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(given)) as threads:
        return list(threads.map(alone, given))


@pytest.mark.django_db(transaction=True)
def test_no_item_is_served_to_two_lost_or_counted_twice(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections are killed, requests doubled, leases ended; a third is reviewed twice."""
    # The reviewers' marks move at once, not after hundreds of items.
    monkeypatch.setattr(leases, "STRIDE", 3)
    queue = bulk.open_queue(project)
    bulk.make_rollouts(project, ITEMS)
    bulk.fill_queue(queue, ITEMS)
    bulk.fill_queue(queue, ITEMS // 3, slot=2)
    reviewers = [builders.make_user(project, Role.REVIEWER) for _ in range(REVIEWERS)]

    outcome = race.race(queue, reviewers, threads=THREADS)

    assert outcome.kills > 0
    nothing = race.Outcome(0, 0, 0, 0, 0, outcome.kills, outcome.late)
    assert outcome == nothing


@pytest.mark.django_db(transaction=True)
def test_a_reviewers_requests_at_once_get_one_lease(project: Project, ben: User) -> None:
    queue = items.open_queue(project, budget=8, groups=2)
    for _ in range(5):
        taken = at_once(lambda _: leases.take_next(queue=queue, reviewer=ben), range(4))
        assert len({(item.pk, item.lease_token) for item in taken if item}) == 1
        items.commit(items.take(queue, ben), ben)


@pytest.mark.django_db(transaction=True)
def test_of_a_reviewers_undos_at_once_one_is_done(project: Project, ben: User) -> None:
    queue = items.open_queue(project, budget=8, groups=2)
    items.commit(items.take(queue, ben), ben)

    def undo(_: int) -> bool:
        try:
            labels.retract_label(queue=queue, reviewer=ben)
        except UndoRefusedError:
            return False
        return True

    assert sorted(at_once(undo, range(4))) == [False, False, False, True]


@pytest.mark.django_db(transaction=True)
def test_undo_and_take_at_once_leave_one_lease(project: Project, ben: User) -> None:
    queue = items.open_queue(project, budget=8, groups=2)
    for _ in range(5):
        items.commit(items.take(queue, ben), ben)
        at_once(
            lambda is_undo: (
                labels.retract_label(queue=queue, reviewer=ben)
                if is_undo
                else leases.take_next(queue=queue, reviewer=ben)
            ),
            [False, True, False],
        )
        assert Assignment.objects.filter(state=AssignmentState.LEASED).count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_commit_at_once_is_stored_once(project: Project, ben: User) -> None:
    queue = items.open_queue(project, budget=8, groups=2)
    held, key = items.take(queue, ben), uuid4()

    def commit(_: int) -> tuple[int, bool]:
        assert held.lease_token is not None
        label, is_new = labels.commit_label(
            assignment=held,
            reviewer=ben,
            token=held.lease_token,
            client_key=key,
            new=NewLabel(answer=Answer.CORRECT),
        )
        return label.pk, is_new

    answers = at_once(commit, range(4))
    assert len({pk for pk, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1
    assert not Label.objects.get().is_late


def plan_of(sql: str, queue: Queue, reviewer: User) -> str:
    asked = {"queue": queue.pk, "reviewer": reviewer.pk, "token": uuid4(), "seconds": 900}
    others = {"rollout": 0, "passing": [], "wanted": uuid4(), "ended": [uuid4()]}
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}", asked | others)
        return "\n".join(line for (line,) in cursor.fetchall())


def generic_plan_of(sql: str) -> str:
    """As of a statement that is prepared: for no queue and no reviewer in particular."""
    for position, name in enumerate(sorted(set(re.findall(r"%\((\w+)\)s", sql))), start=1):
        sql = sql.replace(f"%({name})s", f"${position}")
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (GENERIC_PLAN) {sql}")
        return "\n".join(line for (line,) in cursor.fetchall())


WALKS = (serving.TAKE_OPEN_SQL, serving.PEEK_OPEN_SQL, serving.MOVE_SQL)


@pytest.mark.django_db
@pytest.mark.usefixtures("_fresh_tables")
@pytest.mark.parametrize("is_analysed", [True, False])
@pytest.mark.parametrize("size", [300, 5_000])
def test_the_next_item_is_looked_for_in_the_order_of_ranks(
    project: Project, ben: User, size: int, is_analysed: bool
) -> None:
    """No sort, no scan over all items of a queue, and past none of those that are done.

    Until PostgreSQL has counted a table for the first time, the index of all ranks looks as good to
    it: done items are walked past then, no more of them than lie behind a reviewer's mark.
    """
    queue = bulk.open_queue(project)
    bulk.make_rollouts(project, size)
    bulk.fill_queue(queue, size)
    bulk.fill_queue(queue, size, slot=2)
    bulk.label_first_slots(queue, ben)
    if is_analysed:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE labeling_assignment, labeling_label, labeling_skip")
    indexes = ["assignment_pending_by_rank"]
    if not is_analysed:
        indexes.append("assignment_rank_once")
    for sql in WALKS:
        for plan in (plan_of(sql, queue, ben), generic_plan_of(sql)):
            (walked,) = re.findall(r"Index Scan using (\w+) on labeling_assignment item", plan)
            assert walked in indexes, plan
            assert "Sort" not in plan, plan
            assert "Seq Scan on labeling_assignment" not in plan, plan
            # Nor past all labels of one reviewer.
            assert "labeling_label_reviewer" not in plan, plan
            assert "label_newest_of_reviewer" not in plan, plan


@pytest.mark.django_db
@pytest.mark.usefixtures("_fresh_tables")
@pytest.mark.parametrize("sql", [PENDING_SQL, LOCK_SQL, serving.OWN_AND_ENDED_SQL])
def test_no_statement_of_a_take_or_a_commit_scans_all_items(project: Project, sql: str) -> None:
    queue = bulk.open_queue(project)
    bulk.make_rollouts(project, 5_000)
    bulk.fill_queue(queue, 5_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE labeling_assignment")
    plan = generic_plan_of(sql)
    assert "Seq Scan" not in plan, plan
    assert "assignment_pending_by_rank" not in plan, plan


@pytest.mark.django_db
@pytest.mark.usefixtures("_fresh_tables")
@pytest.mark.parametrize("sql", [serving.TAKE_ENDED_SQL, serving.TAKE_WANTED_SQL])
def test_an_item_that_is_known_is_not_looked_for(project: Project, ben: User, sql: str) -> None:
    queue = bulk.open_queue(project)
    bulk.make_rollouts(project, 5_000)
    bulk.fill_queue(queue, 5_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE labeling_assignment")
    assert "assignment_pending_by_rank" not in plan_of(sql, queue, ben)
