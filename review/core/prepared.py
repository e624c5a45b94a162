"""Statements that the server plans once for each connection, and keeps.

For those that a person waits for after every keystroke: to plan one takes longer than to run it.
Django's own statements are planned anew each time.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db import connection
from django.db.models import Model
from psycopg import Cursor
from psycopg.rows import dict_row

Row = TypeVar("Row", bound=Model)


def prepared_rows(sql: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
    """The parameters are typed by the SQL: %(name)s::bigint."""
    with connection.cursor() as cursor:
        database = cursor.connection
    # None, as Django sets it, would prepare nothing. Its own cursors never do.
    database.prepare_threshold = 0
    with connection.wrap_database_errors, Cursor(database, row_factory=dict_row) as prepared:
        return prepared.execute(sql, parameters).fetchall()


def instance_of(model: type[Row], row: Mapping[str, Any]) -> Row:
    """Of a row that has all of the model's columns."""
    names = [field.attname for field in model._meta.concrete_fields]
    return model.from_db(connection.alias, names, [row[name] for name in names])
