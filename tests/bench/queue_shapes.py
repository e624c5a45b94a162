"""What `bench-queue` compares with: the least that PostgreSQL can do, and other tools' queries.

All on the product's own tables, with their indexes and constraints.
"""

from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import psycopg
from django.db import connection

from review.accounts.models import User
from review.labeling.models import Queue
from review.labeling.services.serving import NEXT_SQL, OPEN
from tests.bench.sql_time import SqlTime

FLOOR_TAKE = """
UPDATE labeling_assignment
SET state = 'leased', reviewer_id = %(reviewer)s, lease_token = %(token)s,
    lease_expires_at = now() + interval '15 minutes'
WHERE id = (
    SELECT id FROM labeling_assignment
    WHERE queue_id = %(queue)s AND state = 'open' AND rank > %(behind)s
    ORDER BY rank FOR UPDATE SKIP LOCKED LIMIT 1
)
RETURNING id, rank
"""
FLOOR_LABEL = """
INSERT INTO labeling_label
    (assignment_id, reviewer_id, client_key, answer, step_id, has_no_wrong_step, error_category,
     hack_kind, problem_fault, criteria, note, is_late, created_at)
VALUES (%(item)s, %(reviewer)s, %(key)s, 'correct', '', false, '', '', '', '{}', '', false, now())
"""
FLOOR_DONE = "UPDATE labeling_assignment SET state = 'done' WHERE id = %(item)s"


class Floor:
    """The bare transactions, with psycopg as it comes: it prepares what it is sent often.

    It even knows where it stopped, so that it walks past nothing.
    """

    def __init__(self) -> None:
        self.connection = connect()
        self.time = SqlTime(self.connection)
        self._behind: dict[UUID, int] = {}

    def take(self, queue: Queue, reviewer: User) -> UUID:
        asked = {
            "queue": queue.pk,
            "reviewer": reviewer.pk,
            "token": uuid4(),
            "behind": self._behind.get(queue.pk, -1),
        }
        row = self.connection.execute(FLOOR_TAKE, asked).fetchone()
        self.connection.commit()
        assert row is not None
        item, self._behind[queue.pk] = row
        return UUID(str(item))

    def commit(self, item: UUID, reviewer: User) -> None:
        asked = {"item": item, "reviewer": reviewer.pk, "key": uuid4()}
        self.connection.execute(FLOOR_LABEL, asked)
        self.connection.execute(FLOOR_DONE, asked)
        self.connection.commit()


def connect() -> psycopg.Connection:
    """A connection of its own to the database that Django is connected to."""
    settings = connection.get_connection_params()
    names = ("host", "port", "user", "dbname")
    return psycopg.connect(**{name: settings[name] for name in names if settings.get(name)})


OWN_PICK = NEXT_SQL.format(column="id", condition=OPEN) + " FOR UPDATE SKIP LOCKED"


def own_pick(database: psycopg.Connection, queue: Queue, reviewer: User) -> None:
    database.execute(OWN_PICK, {"queue": queue.pk, "reviewer": reviewer.pk}).fetchone()


# Label Studio 1.23, sequential sampling (its default): every open task's id, without a limit; then
# candidate after candidate is locked, and its locks are counted.
LABEL_STUDIO_IDS = """
SELECT id FROM labeling_assignment AS task
WHERE queue_id = %(queue)s AND state = 'open'
  AND NOT id IN (SELECT assignment_id FROM labeling_label WHERE reviewer_id = %(reviewer)s)
ORDER BY rank
"""
LABEL_STUDIO_LOCK = """
SELECT id FROM labeling_assignment WHERE id = %(item)s FOR UPDATE SKIP LOCKED
"""
LABEL_STUDIO_HAS_LOCK = """
SELECT count(*) FROM labeling_lease AS lease
JOIN labeling_assignment AS task ON task.id = lease.assignment_id
WHERE task.id = %(item)s AND task.lease_expires_at > now()
"""


def label_studio_pick(database: psycopg.Connection, queue: Queue, reviewer: User) -> None:
    asked = {"queue": queue.pk, "reviewer": reviewer.pk}
    for (item,) in database.execute(LABEL_STUDIO_IDS, asked).fetchall():
        if database.execute(LABEL_STUDIO_LOCK, {"item": item}).fetchone() is None:
            continue
        (locks,) = database.execute(LABEL_STUDIO_HAS_LOCK, {"item": item}).fetchall()[0]
        if not locks:
            return


# doccano: the unconfirmed examples are counted for the pager, then one page of them is read.
DOCCANO_EXAMPLES = """
FROM labeling_assignment AS example
LEFT JOIN labeling_label AS state ON state.assignment_id = example.id
WHERE example.queue_id = %(queue)s
GROUP BY example.id HAVING count(state.id) <= 0
"""
DOCCANO_COUNT = f"SELECT count(*) FROM (SELECT example.id {DOCCANO_EXAMPLES}) AS found"  # noqa: S608
DOCCANO_PAGE = f"SELECT example.* {DOCCANO_EXAMPLES} ORDER BY example.rank OFFSET %(page)s LIMIT 1"


def doccano_page(database: psycopg.Connection, queue: Queue, reviewer: User) -> None:
    """The page in the middle."""
    (count,) = database.execute(DOCCANO_COUNT, {"queue": queue.pk}).fetchall()[0]
    database.execute(DOCCANO_PAGE, {"queue": queue.pk, "page": count // 2}).fetchall()


Pick = Callable[[psycopg.Connection, Queue, User], None]
PICKS: Sequence[tuple[str, Pick, int]] = [
    # Name, query, how often.
    ("this one", own_pick, 200),
    ("Label Studio's", label_studio_pick, 3),
    ("doccano's", doccano_page, 3),
]
