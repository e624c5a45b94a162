"""Which item a reviewer is served next: the statements that find it, and where they start.

A watermark says up to which rank of a queue no open item is left for its reviewer: those that they
have answered in another slot, or passed on, are not walked again by each take. Their own takes move
it, now and then. The database lowers it when an item is opened again or a label is taken back
(migration 0004), so that nothing is missed whoever does that. Its row keeps the two apart: who
moves it waits for who opens items, and sees them.

Leased items are no business of the marks. Those whose lease has ended are served first; there are
at most as many as reviewers.
"""

from django.db import connection, transaction

from review.accounts.models import User
from review.labeling.models import Assignment, Queue, Watermark

# A mark is moved when a take has left it so many ranks behind: what lies between is walked again
# by every take, and moving it costs about as much as one.
STRIDE = 200

# By name: a prepared `*` would fail once a migration adds a column.
COLUMNS = ", ".join(str(field.column) for field in Assignment._meta.concrete_fields)

# What this reviewer holds of a queue, and those whose leases have ended.
OWN_AND_ENDED_SQL = f"""
SELECT {COLUMNS} FROM labeling_assignment
WHERE queue_id = %(queue)s::uuid AND state = 'leased'
  AND (reviewer_id = %(reviewer)s::bigint OR lease_expires_at <= now())
"""  # noqa: S608 - names of columns

# Where this reviewer's mark stands.
MARK_SQL = """
coalesce((
    SELECT mark.rank FROM labeling_watermark AS mark
    WHERE mark.queue_id = %(queue)s::uuid AND mark.reviewer_id = %(reviewer)s::bigint
), -1)
"""

# The lowest rank of some items that this reviewer has neither skipped nor answered in another slot,
# and that the wave's version gives to this reviewer. They are to be looked at one by one in the
# order of their ranks. So: counts, not EXISTS, which the planner would turn into joins over the
# whole queue; and one CASE, of which it thinks that it holds for half of them, where it would
# expect `= 0` of hardly any, and sort all. `+ 0`: labels are found by their items, never by their
# reviewer, who may have any number of them.
NEXT_SQL = """
SELECT item.{column} FROM labeling_assignment AS item
WHERE item.queue_id = %(queue)s::uuid AND {condition}
  AND CASE
      WHEN 0 < (
          SELECT count(*) FROM labeling_skip AS skip
          WHERE skip.assignment_id = item.id AND skip.reviewer_id = %(reviewer)s::bigint
      ) THEN false
      WHEN 0 < (
          SELECT count(*) FROM labeling_assignment AS other
          JOIN labeling_label AS label ON label.assignment_id = other.id
          LEFT JOIN labeling_retraction AS taken_back ON taken_back.label_id = label.id
          WHERE other.queue_id = item.queue_id AND other.rollout_id = item.rollout_id
            AND other.id <> item.id AND label.reviewer_id + 0 = %(reviewer)s::bigint
            AND taken_back.id IS NULL
      ) THEN false
      ELSE (
          SELECT count(*) = 0 OR bool_or(named.user_id = %(reviewer)s::bigint)
          FROM sampling_wave AS wave
          JOIN sampling_ruleversion_reviewers AS named ON named.ruleversion_id = wave.version_id
          WHERE wave.id = item.wave_id
      )
  END
ORDER BY item.rank LIMIT 1
"""

OPEN = f"item.state = 'open' AND item.rank > {MARK_SQL}"
ENDED = """
item.id = ANY(%(ended)s::uuid[])
AND item.state = 'leased' AND item.lease_expires_at <= now()
"""

# Rows that another take holds are passed over, so that takers never wait for one another.
_TAKE_SQL = """
WITH taken AS (
    UPDATE labeling_assignment
    SET state = 'leased', reviewer_id = %(reviewer)s::bigint, lease_token = %(token)s::uuid,
        lease_expires_at = now() + make_interval(secs => %(seconds)s::int)
    WHERE id = ({next} FOR UPDATE SKIP LOCKED)
    RETURNING {columns}
), lease AS (
    INSERT INTO labeling_lease (assignment_id, reviewer_id, token)
    SELECT id, reviewer_id, lease_token FROM taken
)
SELECT taken.*, {mark} AS mark FROM taken
"""


def _take_sql(condition: str) -> str:
    pick = NEXT_SQL.format(column="id", condition=condition)
    return _TAKE_SQL.format(next=pick, columns=COLUMNS, mark=MARK_SQL)


TAKE_OPEN_SQL = _take_sql(OPEN)
TAKE_ENDED_SQL = _take_sql(ENDED)

# The one that the reviewer's page has prepared, if nobody has taken it since.
WANTED = """
item.id = %(wanted)s::uuid
AND (item.state = 'open' OR (item.state = 'leased' AND item.lease_expires_at <= now()))
"""
TAKE_WANTED_SQL = _take_sql(WANTED)

# The next one of another rollout than the one that is being answered.
_PEEK = """
AND item.rollout_id IS DISTINCT FROM %(rollout)s::bigint AND item.id <> ALL(%(passing)s::uuid[])
"""
PEEK_OPEN_SQL = NEXT_SQL.format(column="id", condition=OPEN + _PEEK)
PEEK_ENDED_SQL = NEXT_SQL.format(column="id", condition=ENDED + _PEEK)

_MOVE_SQL = """
UPDATE labeling_watermark SET rank = coalesce(
    ({next}) - 1,
    (SELECT max(rank) FROM labeling_assignment WHERE queue_id = %(queue)s::uuid),
    rank
)
WHERE queue_id = %(queue)s::uuid AND reviewer_id = %(reviewer)s::bigint
"""
MOVE_SQL = _MOVE_SQL.format(next=NEXT_SQL.format(column="rank", condition=OPEN))


@transaction.atomic
def move_watermark(*, queue: Queue, reviewer: User) -> None:
    """Up to the first open item that is left for the reviewer; to the end, if there is none."""
    marks = Watermark.objects.filter(queue=queue, reviewer=reviewer)
    if not marks.select_for_update(no_key=True):
        _make_watermark(queue, reviewer)
        return
    # A statement of its own: it sees what was opened before the mark was locked.
    with connection.cursor() as cursor:
        cursor.execute(MOVE_SQL, {"queue": queue.pk, "reviewer": reviewer.pk})


def _make_watermark(queue: Queue, reviewer: User) -> None:
    """At the start; a later take moves it.

    While somebody opens items they may not see the new mark, and share the queue's row: then it is
    made another time.
    """
    if Queue.objects.select_for_update(skip_locked=True).filter(pk=queue.pk).first():
        mark = Watermark(queue=queue, reviewer=reviewer, rank=-1)
        Watermark.objects.bulk_create([mark], ignore_conflicts=True)
