"""What the tests of queues share."""

import pytest
from django.db import connection


@pytest.fixture
def _fresh_tables(db: None) -> None:
    """As a new server has them: the planner goes by what other tests left in files and figures."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE labeling_assignment CASCADE")
        cursor.execute(
            "DELETE FROM pg_statistic USING pg_class"
            " WHERE starelid = pg_class.oid AND relname LIKE 'labeling\\_%'"
        )
