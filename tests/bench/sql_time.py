from collections.abc import Callable, Generator
from time import perf_counter
from typing import Any

import psycopg


class SqlTime:
    """The time that a connection waits for the database, and how often.

    psycopg sends every statement, BEGIN and COMMIT too, and reads its answer in `wait`.
    """

    def __init__(self, database: psycopg.Connection) -> None:
        self.seconds, self.statements = 0.0, 0
        wait = database.wait

        def timed(generator: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
            started = perf_counter()
            try:
                return wait(generator, *args, **kwargs)
            finally:
                self.seconds += perf_counter() - started
                self.statements += 1

        database.wait = timed  # type: ignore[method-assign]

    def of(self, work: Callable[[], object]) -> float:
        before = self.seconds
        work()
        return self.seconds - before
