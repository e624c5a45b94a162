"""Which reward table each step of a run uses."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from trainer.config import ConfigError, RewardConfig
from trainer.outbox import write_durably
from trainer.ranks import Ranks
from trainer.rewards import RewardTable, TableError
from trainer.spool import RunLink

USED_FILE = "used.json"

_FIRST_POLL_S = 0.25
_LONGEST_POLL_S = 1.0


class TableFeed:
    """The reward table of each step, pulled between steps and pinned to the step on disk.

    A step that is made again, after a crash, gets the table that it had. Asked by all processes at
    once; the first alone has the link and the disk.
    """

    def __init__(
        self,
        config: RewardConfig,
        link: RunLink | None,
        folder: Path,
        *,
        verifier: str,
        wants_probabilities: bool,
        ranks: Ranks,
        warn: Callable[[str], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        """verifier: "name@version" of the run's own; a table that was fitted for others is not
        used. wants_probabilities: nor is one whose values may lie outside of [0, 1].
        is_stopping: ends a wait; the step is not made then, and nothing is pinned to it."""
        self._config, self._ranks, self._warn, self._folder = config, ranks, warn, folder
        self._verifier, self._wants_probabilities = verifier, wants_probabilities
        self._is_stopping = is_stopping
        self._link = link if config.source == "table" else None
        self._latest: str | None = None
        self._text: str | None = None
        self._table: RewardTable | None = None
        self._is_overdue = False  # nobody waits until a newer table comes
        used = folder / USED_FILE
        known = json.loads(used.read_text("utf-8")) if used.exists() else {}
        self._used: dict[str, int | None] = known

    def at_step(self, step: int) -> RewardTable | None:
        """The table to use; None = raw verdicts, during the warm-up and while there is no table.

        It waits for a table that is valid at this step, and goes on with the last good one.
        """
        if step <= self._config.warm_up_steps:
            return None
        deadline = time.monotonic() + self._config.wait_s
        pause_s = _FIRST_POLL_S
        # Each look is everybody's: who only waited for the first would run into a timeout.
        while self._ranks.from_first(self._is_to_wait(step, deadline)):
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LONGEST_POLL_S)
        return self._ranks.from_first(self._taken(step))

    def _is_to_wait(self, step: int, deadline: float) -> bool:
        """Look for the step's table; whether to look again. One wait in vain is enough."""
        if self._link is None or str(step) in self._used:
            return False
        self._latest = self._link.latest_table()
        if self._is_overdue or self._link.has_table_for(step) or self._is_stopping():
            return False
        if time.monotonic() < deadline:
            return True
        what = "there is no reward table" if self._latest is None else "the reward table is stale"
        self._warn(f"{what} at step {step} after waiting {self._config.wait_s:g} s")
        return False

    def _taken(self, step: int) -> RewardTable | None:
        """What the looks have found, pinned to the step."""
        if self._link is None:
            return None
        if str(step) in self._used:
            return self._pinned(self._used[str(step)])
        if self._is_stopping():
            return self._table
        if self._latest is not None and self._latest != self._text:
            self._read(self._latest)
        self._is_overdue = self._table is None or step > self._table.valid_to_step
        self._pin(step)
        return self._table

    def check(self) -> None:
        """Raises ConfigError when the table there is now is for other verifiers."""
        text = None if self._link is None else self._link.latest_table()
        if text is not None:
            try:
                self._checked(text)
            except TableError as error:
                raise ConfigError(f"reward.verifier: {error}") from error

    def _read(self, text: str) -> None:
        self._text = text
        try:
            self._table = self._checked(text)
        except TableError as error:
            self._warn(f"the reward table is not used ({error})")

    def _checked(self, text: str) -> RewardTable:
        table = RewardTable.from_json(text)
        if self._verifier not in table.verifiers:
            raise TableError(
                f"verifiers: the table is for {', '.join(table.verifiers) or 'none'}, and this"
                f" run's is {self._verifier}; build a table for this run, or name that verifier"
            )
        if self._wants_probabilities and table.rule == "unbiased":
            raise TableError(
                'rule: "unbiased" values are no probabilities, which objective.advantage "expected"'
                " wants; publish a table of another rule, or take another advantage"
            )
        return table

    def _pin(self, step: int) -> None:
        version = None if self._table is None else self._table.version
        self._folder.mkdir(parents=True, exist_ok=True)
        if version is not None and not self._file(version).exists():
            write_durably(self._file(version), (self._text or "").encode("utf-8"))
        self._used[str(step)] = version
        write_durably(self._folder / USED_FILE, json.dumps(self._used).encode("ascii"))

    def _pinned(self, version: int | None) -> RewardTable | None:
        if version is None:
            return None
        return RewardTable.from_json(self._file(version).read_text("utf-8"))

    def _file(self, version: int) -> Path:
        return self._folder / f"table-{version}.json"
