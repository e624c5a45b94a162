"""What a run does when the server says that its reward has stopped meaning correctness."""

import time
from collections.abc import Callable

from trainer.ranks import Ranks
from trainer.spool import RunLink

_POLL_S = 2.0


class HoldError(Exception):
    """The run stops, as its recipe says it should on a hold."""


class Hold:
    """Asked between steps, by all processes at once; the first alone has the link."""

    def __init__(
        self,
        link: RunLink | None,
        *,
        on_hold: str,
        ranks: Ranks,
        warn: Callable[[str], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        """on_hold: "go on", "pause" or "stop". is_stopping: ends a pause."""
        self._link, self._on_hold, self._ranks, self._warn = link, on_hold, ranks, warn
        self._is_stopping = is_stopping
        self._is_said = False

    def before_step(self, step: int) -> None:
        """Come back at once, when the hold is over, or not: raises HoldError."""
        while True:
            # Each look is everybody's: who only waited for the first would run into a timeout.
            found = (self._reasons(step), self._is_stopping())
            reasons, is_stopping = self._ranks.from_first(found)
            if reasons is None or self._on_hold != "pause" or is_stopping:
                break
            time.sleep(_POLL_S)
        if reasons is not None and self._on_hold == "stop":
            raise HoldError(
                f"stopped before step {step}: the server says hold ({reasons}). Look at the"
                ' run\'s page; --resume goes on once the signal is ok, and run.on_hold = "go on"'
                " trains all the same"
            )

    def _reasons(self, step: int) -> str | None:
        """Why the server says hold now."""
        reasons = None if self._link is None else self._link.hold_reasons()
        if reasons is None:
            self._is_said = False
        else:
            self._say(f"the server says hold before step {step}: {reasons}")
        return reasons

    def _say(self, text: str) -> None:
        if not self._is_said:
            self._warn(text)
        self._is_said = True
