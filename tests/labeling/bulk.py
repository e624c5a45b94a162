"""Queues of any size, filled by SQL: thousands of items are there in a moment."""

from django.db import connection, transaction

from review.accounts.models import Project, User
from review.labeling.models import Assignment, Cause, Queue
from review.rollouts.models import Rollout
from review.sampling.models import Wave
from tests.labeling import items


def make_rollouts(project: Project, count: int) -> None:
    """Right ones, each like the first that a run of the project's has stored."""
    like = Rollout.objects.filter(run__project=project).earliest("pk")
    columns = [
        field.column for field in Rollout._meta.concrete_fields if field.name not in {"id", "uid"}
    ]
    names = ", ".join(columns)
    _execute(
        f"INSERT INTO rollouts_rollout (uid, {names}) SELECT 'bulk-' || i, {names}"  # noqa: S608
        " FROM rollouts_rollout, generate_series(1, %(count)s) AS i WHERE id = %(like)s",
        {"count": count, "like": like.pk},
    )


def open_queue(project: Project) -> Queue:
    """A queue with an open wave, and nothing to do in it yet."""
    queue = items.open_queue(project, budget=8, groups=2)
    Assignment.objects.filter(queue=queue).update(state="withdrawn")
    return queue


FILL_SQL = """
INSERT INTO labeling_assignment (id, queue_id, rollout_id, wave_id, cause, slot, rank, state)
SELECT gen_random_uuid(), %(queue)s, id, %(wave)s, %(cause)s, %(slot)s,
       %(start)s + row_number() OVER (ORDER BY id), 'open'
FROM (
    SELECT id FROM rollouts_rollout WHERE uid LIKE 'bulk-%%' ORDER BY id
    LIMIT %(count)s OFFSET %(skip)s
) AS rollout
"""


def fill_queue(queue: Queue, count: int, *, slot: int = 1, skip: int = 0) -> None:
    """Open items of so many rollouts, ranked behind the queue's earlier ones."""
    wave = Wave.objects.get(window__rule__queue=queue)
    start = Assignment.objects.filter(queue=queue).order_by("-rank").values_list("rank", flat=True)
    _execute(
        FILL_SQL,
        {
            "queue": queue.pk,
            "wave": wave.pk,
            "slot": slot,
            "cause": Cause.DRAW if slot == 1 else Cause.RANDOM,
            "start": start[0],
            "count": count,
            "skip": skip,
        },
    )


LABEL_SQL = """
WITH done AS (
    UPDATE labeling_assignment SET state = 'done', reviewer_id = %(reviewer)s
    WHERE queue_id = %(queue)s AND slot = 1 AND state = 'open'
    RETURNING id
)
INSERT INTO labeling_label
    (assignment_id, reviewer_id, client_key, answer, step_id, has_no_wrong_step, error_category,
     hack_kind, problem_fault, criteria, note, is_late, created_at)
SELECT id, %(reviewer)s, gen_random_uuid(), 'correct', '', false, '', '', '', '{}', '', false, now()
FROM done
"""


def label_first_slots(queue: Queue, reviewer: User) -> None:
    """As if the reviewer had answered the first review of every rollout that is open."""
    _execute(LABEL_SQL, {"queue": queue.pk, "reviewer": reviewer.pk})


def _execute(sql: str, parameters: dict[str, object]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        # The rows point at what is there: no need to look it up for each.
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(sql, parameters)
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")
