"""Which reward table each step of a run uses."""

from collections.abc import Callable

from trainer.config import RewardConfig
from trainer.rewards import RewardTable, TableError
from trainer.spool import RunLink


class TableFeed:
    """The reward table of each step, pulled between steps."""

    def __init__(
        self, config: RewardConfig, link: RunLink | None, *, warn: Callable[[str], None]
    ) -> None:
        self._config, self._warn = config, warn
        self._link = link if config.source == "table" else None
        self._text: str | None = None
        self._table: RewardTable | None = None
        self._is_overdue = False  # one wait in vain is enough: go on until a newer table comes

    def at_step(self, step: int) -> RewardTable | None:
        """The table to use; None = raw verdicts, during the warm-up and while there is no table.

        It waits for a table that is valid at this step, and goes on with the last good one.
        """
        if self._link is None or step <= self._config.warm_up_steps:
            return None
        if self._is_overdue:
            text = self._link.latest_table()
        else:
            text = self._link.wait_for_table(valid_at_step=step, timeout_s=self._config.wait_s)
        if text is not None and text != self._text:
            self._read(text)
        self._is_overdue = self._table is None or step > self._table.valid_to_step
        return self._table

    def _read(self, text: str) -> None:
        self._text = text
        try:
            self._table = RewardTable.from_json(text)
        except TableError as error:
            self._warn(f"the reward table is not used ({error})")
