"""A run's way to the server through the disk: training goes on while the server is away.

What is sent is first a numbered file; a thread sends the files in order and deletes each once
the server has acknowledged it. After a crash between the two the file is sent again, which the
server treats as a repeat. So nothing is lost and nothing is stored twice.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainer.client import (
    REGISTER_RUN,
    SEND_PROMPTS,
    SEND_ROLLOUTS,
    UPDATE_RUN,
    AssayClient,
    AssayError,
    AssayUnavailable,
    Call,
    NoRewardTable,
    encoded,
    json_text,
)
from trainer.outbox import Outbox, SpoolError, write_durably
from trainer.wire import PromptPayload, RolloutPayload, RunPayload, RunStatus, TableAnswer

__all__ = ["MAX_BATCH_BYTES", "MAX_BATCH_ITEMS", "RunLink", "SpoolError"]

MAX_BATCH_ITEMS = 1_000
MAX_BATCH_BYTES = 8 * 2**20
_WRAPPING_BYTES = 16  # {"rollouts":[]}

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_TABLE_TIMEOUT_S = 2.0
_JOIN_S = 1.0

# The token was refused, not the batch: another token lets it through.
_ABOUT_THE_TOKEN = frozenset({401, 403})

_CALLS: dict[str, Call[Any]] = {
    "run": REGISTER_RUN,
    "prompts": SEND_PROMPTS,
    "rollouts": SEND_ROLLOUTS,
    "update": UPDATE_RUN,
}


class RunLink:
    """What a training loop talks to. Waits for the network, a little, where it asks for something.

    Each `send_*`, `complete_step` and `finish` is on disk when it returns and reaches the server
    in that order, each batch once. `warn` gets one line for people, from either thread.
    """

    def __init__(
        self,
        client: AssayClient,
        run: RunPayload,
        directory: Path,
        *,
        warn: Callable[[str], None],
    ) -> None:
        """Open the run's directory and send what an earlier link has left there.

        Raises SpoolError when the directory is another run's or another process has it open.
        """
        self._client = client
        self._warn = warn
        self._outbox = Outbox(directory)
        self._identity = directory / "run.json"
        self._uid = run.uid
        self._table = _KeptTable(directory)
        self._changed = threading.Condition()  # guards the spool and the flags below
        self._is_over = False  # the sender takes no further entry
        self._is_closed = False  # the directory may be another link's by now
        self._is_away = False
        self._is_table_away = False
        self._is_signal_away = False
        self._signal_etag: str | None = None
        self._hold_reasons: str | None = None
        self._sent = 0
        self._refused = 0
        try:
            self._run_id = self._opened(run)
        except BaseException:
            self._outbox.close()
            raise
        self._sender = threading.Thread(target=self._send_all, name="assay-sender", daemon=True)
        self._sender.start()

    @property
    def run_id(self) -> str | None:
        """The run's id on the server; None until it has been registered."""
        return self._run_id

    @property
    def sent(self) -> int:
        """Batches that the server has acknowledged to this link."""
        return self._sent

    @property
    def unsent(self) -> int:
        """Batches that are still on disk only."""
        return len(self._outbox)

    @property
    def is_away(self) -> bool:
        """Whether the server did not answer when something was last sent."""
        return self._is_away

    @property
    def refused(self) -> int:
        """Batches that the server has refused to this link; they lie in refused/."""
        return self._refused

    def send_prompts(self, prompts: Iterable[PromptPayload]) -> None:
        """Queue prompts; they must come before their rollouts."""
        for batch in _batches([[json_text(prompt.to_json())] for prompt in prompts]):
            self._put("prompts", f'{{"prompts":[{",".join(batch)}]}}')

    def send_rollouts(self, rollouts: Iterable[RolloutPayload]) -> None:
        """Queue rollouts; all rollouts of a group must be in one call."""
        groups: dict[str, list[str]] = {}
        for rollout in rollouts:
            groups.setdefault(rollout.group, []).append(json_text(rollout.to_json()))
        for batch in _batches(list(groups.values())):
            self._put("rollouts", f'{{"rollouts":[{",".join(batch)}]}}')

    def complete_step(self, step: int) -> None:
        """Queue the word that every rollout of the steps up to this one has been sent."""
        self._put("update", json_text({"completed_step": step}))

    def finish(self, status: RunStatus) -> None:
        """Queue the word that the run has ended."""
        self._put("update", json_text({"status": status}))

    def latest_table(self) -> str | None:
        """The current reward table's JSON; the last good one, with a warning, when the server is
        away; None while there is none."""
        if self._run_id is None:
            return self._table.text
        try:
            answer = self._client.reward_table(
                self._run_id, etag=self._table.etag, timeout_s=_TABLE_TIMEOUT_S
            )
        except NoRewardTable:
            self._is_table_away = False
        except AssayError as error:
            self._warn_of_old_table(error)
        else:
            self._is_table_away = False
            self._table.keep(answer)
        return self._table.text

    def has_table_for(self, step: int) -> bool:
        """Whether the latest table is meant for this step."""
        return self._table.is_valid_at(step)

    def hold_reasons(self) -> str | None:
        """Why the run should stop and be looked at, in words; None while it need not.

        A server that is away changes nothing: the last signal stands.
        """
        if self._run_id is not None:
            try:
                signal = self._client.signal(
                    self._run_id, etag=self._signal_etag, timeout_s=_TABLE_TIMEOUT_S
                )
            except AssayError as error:
                self._warn_of_old_signal(error)
            else:
                self._is_signal_away = False
                self._signal_etag = signal.etag
                if signal.state is not None:
                    said = "; ".join(reason.text for reason in signal.reasons)
                    self._hold_reasons = said if signal.state == "hold" else None
        return self._hold_reasons

    def close(self, timeout_s: float) -> int:
        """Wait until all is sent, at most this long; answers how many batches remain unsent.

        They stay on disk, and the next link of this directory sends them.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or not self._outbox, timeout_s)
            self._is_over = True
            self._changed.notify_all()
        self._sender.join(_JOIN_S)
        with self._changed:
            if not self._is_closed:
                self._is_closed = True
                self._outbox.close()
            return len(self._outbox)

    def _opened(self, run: RunPayload) -> str | None:
        """The id this directory already knows; queues the registration when there is none."""
        known = json.loads(self._identity.read_bytes()) if self._identity.exists() else {}
        if known.get("uid", run.uid) != run.uid:
            raise SpoolError(f"the directory belongs to run {known['uid']!r}, not {run.uid!r}")
        run_id: str | None = known.get("id")
        if run_id is None:
            self._keep_identity(None)
            self._outbox.put_first("run", encoded(json_text(run.to_json())))
        return run_id

    def _keep_identity(self, run_id: str | None) -> None:
        identity = {"uid": self._uid, "id": run_id}
        write_durably(self._identity, json_text(identity).encode("ascii"))

    def _put(self, kind: str, text: str) -> None:
        body = encoded(text)
        with self._changed:
            if self._is_closed:
                raise SpoolError("the link is closed")
            self._outbox.put(kind, body)
            self._changed.notify_all()

    def _warn_of_old_table(self, error: AssayError) -> None:
        if not self._is_table_away:
            kept = "the last one is used" if self._table.text else "there is none yet"
            self._warn(f"the reward table cannot be refreshed ({error}): {kept}")
        self._is_table_away = True

    def _warn_of_old_signal(self, error: AssayError) -> None:
        if not self._is_signal_away:
            self._warn(f"the server's signal cannot be read ({error}): the last one stands")
        self._is_signal_away = True

    # The sender's thread

    def _send_all(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while self._has_entry():
            try:
                self._send_oldest()
            except (AssayError, OSError) as error:
                self._warn_of_outage(error)
                with self._changed:
                    self._changed.wait_for(lambda: self._is_over, pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            else:
                self._is_away = False
                pause_s = _FIRST_PAUSE_S

    def _has_entry(self) -> bool:
        """Waits for an entry; False when the link is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._outbox)
            return not self._is_over

    def _send_oldest(self) -> None:
        """Raises AssayError or OSError when the entry is to be tried again later."""
        name, kind, body = self._outbox.oldest()
        try:
            answer = self._client.send_encoded(_CALLS[kind], body, run=self._run_id or "")
        except AssayError as error:
            if isinstance(error, AssayUnavailable) or error.status in _ABOUT_THE_TOKEN:
                raise
            self._put_aside(name, kind, error)
        else:
            self._acknowledge(name, kind, answer)

    def _acknowledge(self, name: str, kind: str, answer: object) -> None:
        with self._changed:
            if self._is_closed:
                return  # the next link sends it once more
            self._outbox.discard(name)
            if kind == "run":
                self._run_id = str(answer)
                # Where the disk is full, the next link registers the run once more.
                with suppress(OSError):
                    self._keep_identity(self._run_id)
            self._sent += 1
            self._changed.notify_all()

    def _put_aside(self, name: str, kind: str, error: AssayError) -> None:
        with self._changed:
            if self._is_closed:
                return
            aside = self._outbox.refuse(name, error)
            self._refused += 1
            self._is_over = self._is_over or kind == "run"
            self._changed.notify_all()
        self._warn(f"the server refused a batch ({error}); it is kept as {aside}")
        if kind == "run":
            self._warn("without its run registered nothing can be sent: all stays on disk")

    def _warn_of_outage(self, error: Exception) -> None:
        if not self._is_away:
            self._warn(f"nothing can be sent now ({error}); batches wait on disk")
        self._is_away = True


class _KeptTable:
    """The last good reward table, on disk too, so that a restart has it."""

    def __init__(self, directory: Path) -> None:
        self._text_file = directory / "table.json"
        self._etag_file = directory / "table.etag"
        self.text = self._text_file.read_text("utf-8") if self._text_file.exists() else None
        has_etag = self.text is not None and self._etag_file.exists()
        self.etag = self._etag_file.read_text("utf-8") or None if has_etag else None
        self._valid_steps = _valid_steps(self.text)

    def keep(self, answer: TableAnswer) -> None:
        """Keep a pulled table, if it is a new one."""
        if answer.text is None:
            return
        # The ETag last: beside an older text it would hide the new one for good.
        write_durably(self._text_file, answer.text.encode("utf-8"))
        write_durably(self._etag_file, (answer.etag or "").encode("utf-8"))
        self.text, self.etag = answer.text, answer.etag
        self._valid_steps = _valid_steps(answer.text)

    def is_valid_at(self, step: int) -> bool:
        """Whether there is a table that is meant for this step."""
        return step in self._valid_steps


def _valid_steps(text: str | None) -> range:
    table = json.loads(text) if text else {}
    first, last = table.get("valid_from_step"), table.get("valid_to_step")
    if isinstance(first, int) and isinstance(last, int):
        return range(first, last + 1)
    return range(0)


def _batches(groups: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """Groups of JSON texts in as few batches as the limits allow, in order, none split."""
    batch: list[str] = []
    size = _WRAPPING_BYTES
    for group in groups:
        group_size = sum(len(text) + 1 for text in group)
        is_full = len(batch) + len(group) > MAX_BATCH_ITEMS or size + group_size > MAX_BATCH_BYTES
        if batch and is_full:
            yield batch
            batch, size = [], _WRAPPING_BYTES
        batch.extend(group)
        size += group_size
    if batch:
        yield batch
