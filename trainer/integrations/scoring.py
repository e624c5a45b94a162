"""What the hooks of other trainers share: judge, find the cell, look the reward up.

Where a framework calls a plain function it is set up by the environment: see `Settings`.
"""

import json
import os
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from trainer.client import AssayClient, AssayError, NoRewardTable
from trainer.rewards import GroupRollout, RewardTable, Scored, score_group
from trainer.verifiers import Item, Outcome, Verdict, Verifier, build

DEFAULT_DOMAIN = "general"
_REFRESH_S = 30.0
_TABLE_TIMEOUT_S = 5.0


class SettingsError(ValueError):
    """A hook cannot work as it is set up; the text names the setting and the way out."""


class Tables(Protocol):
    """Where the current reward table comes from."""

    def current(self) -> RewardTable | None:
        """The table to use now; None = none is published, rewards are raw verdicts."""
        ...


@dataclass(frozen=True, slots=True)
class Completion:
    """A rollout to score. prompt: the prompt's uid, None = not known here."""

    item: Item
    prompt: str | None = None
    domain: str = DEFAULT_DOMAIN
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """What the verifiers say of a completion, the primary first, and what else its cell needs."""

    verdicts: tuple[Verdict, ...]
    truncated: bool
    probe: bool


@dataclass(frozen=True, slots=True)
class Scorer:
    """Verifiers, the primary first, and where the table comes from.

    detector: the verifier whose fail is a probe hit; None = no rollout is looked at.
    """

    verifiers: tuple[Verifier, ...]
    tables: Tables
    detector: Verifier | None = None

    def judge(self, completions: Sequence[Completion]) -> list[Judged]:
        """What the verifiers say of each completion, in order."""
        items = [completion.item for completion in completions]
        said = zip(*(verifier.verify(items) for verifier in self.verifiers), strict=True)
        hits = [False] * len(items)
        if self.detector is not None:
            hits = [verdict.outcome is Outcome.FAIL for verdict in self.detector.verify(items)]
        return [
            Judged(verdicts, completion.truncated, is_hit)
            for completion, verdicts, is_hit in zip(completions, said, hits, strict=True)
        ]

    def reward(self, completions: Sequence[Completion], judged: Sequence[Judged]) -> list[Scored]:
        """Rewards of one prompt's rollouts, which are a whole group, or a single one whose group
        is not at hand. Raises SettingsError when the table is for other verifiers."""
        table = self.table()
        return score_group(
            [GroupRollout(one.verdicts, one.truncated, one.probe) for one in judged],
            normaliser=self.verifiers[0].normaliser if table is None else table.normaliser,
            domain=completions[0].domain,
            prompt=completions[0].prompt,
            table=table,
        )

    def score(self, completion: Completion) -> Scored:
        """The reward of a rollout whose group is not at hand."""
        return self.reward([completion], self.judge([completion]))[0]

    def score_group(self, completions: Sequence[Completion]) -> list[Scored]:
        """The rewards of the rollouts of one prompt at one step."""
        return self.reward(completions, self.judge(completions))

    def table(self) -> RewardTable | None:
        """The table to use now. Raises SettingsError when it is for other verifiers."""
        table = self.tables.current()
        if table is not None:
            refuse_foreign(table, self.verifiers)
        return table


def refuse_foreign(table: RewardTable, verifiers: Iterable[Verifier]) -> None:
    """Raises SettingsError when the table is for other verifiers than these."""
    used = tuple(f"{verifier.name}@{verifier.version}" for verifier in verifiers)
    if table.verifiers != used:
        raise SettingsError(
            f"the reward table {table.version} is for {', '.join(table.verifiers)}, and"
            f" {', '.join(used)} judges here: use the verifiers that the run is registered with"
        )


class NoTables:
    """No table: rewards are raw verdicts."""

    def current(self) -> RewardTable | None:
        return None


class TableFile:
    """A table in a file, as `GET runs/{id}/reward-table` gives it; read once."""

    def __init__(self, path: Path) -> None:
        """Raises TableError for a file that holds no table."""
        self._table = RewardTable.from_json(path.read_text("utf-8"))

    def current(self) -> RewardTable | None:
        return self._table


class PulledTables:
    """A run's newest table, asked for by ETag at most once in `refresh_s` seconds.

    The last good one stays, with a warning, while the server is away. Threads may share it.
    """

    def __init__(self, client: AssayClient, run: str, *, refresh_s: float = _REFRESH_S) -> None:
        self._client, self._run, self._refresh_s = client, run, refresh_s
        self._lock = threading.Lock()
        self._table: RewardTable | None = None
        self._etag: str | None = None
        self._next_pull_at = 0.0
        self._is_away = False

    def current(self) -> RewardTable | None:
        """Raises SettingsError when there was never an answer: training on raw verdicts because
        of a typing error in an address would go unnoticed."""
        with self._lock:
            if monotonic() >= self._next_pull_at:
                self._pull()
                self._next_pull_at = monotonic() + self._refresh_s
            return self._table

    def _pull(self) -> None:
        try:
            answer = self._client.reward_table(
                self._run, etag=self._etag, timeout_s=_TABLE_TIMEOUT_S
            )
            if answer.text is not None:
                self._table = RewardTable.from_json(answer.text)
                self._etag = answer.etag
        except NoRewardTable:
            pass
        except (AssayError, ValueError) as error:
            if self._next_pull_at == 0.0:
                raise SettingsError(f"ASSAY_URL, ASSAY_TOKEN, ASSAY_RUN: {error}") from error
            self._warn(error)
            return
        self._is_away = False

    def _warn(self, error: Exception) -> None:
        if not self._is_away:
            warn(f"the reward table cannot be refreshed ({error}): the last one is used")
        self._is_away = True


@dataclass(frozen=True, slots=True)
class Settings:
    """How the plain functions are set up, each field by a variable of the environment.

    ASSAY_VERIFIER: the verifier's name, or {"name": ..., "params": {...}}, or a list of these, the
    primary first. ASSAY_URL, ASSAY_TOKEN, ASSAY_RUN: where the run's table is pulled from (the
    token's scope is `table`); or ASSAY_TABLE: a table's file. With neither, rewards are raw
    verdicts. ASSAY_DOMAIN: the domain of prompts that name none. ASSAY_PROBE=1: look for known
    hacks, as a run with `probe = true` does.
    """

    verifier: str
    url: str = ""
    token: str = field(default="", repr=False)
    run: str = ""
    table: str = ""
    domain: str = DEFAULT_DOMAIN
    probe: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Raises SettingsError, naming the variable."""

        def get(name: str) -> str:
            return environment.get(f"ASSAY_{name}", "").strip()

        served = [get(name) for name in ("URL", "TOKEN", "RUN")]
        if any(served) and not all(served):
            raise SettingsError("ASSAY_URL, ASSAY_TOKEN, ASSAY_RUN: set all three, or none")
        if any(served) and get("TABLE"):
            raise SettingsError("ASSAY_TABLE: leave it out where the table is pulled (ASSAY_RUN)")
        if get("PROBE") not in {"", "0", "1"}:
            raise SettingsError("ASSAY_PROBE: is 0 or 1")
        return cls(
            verifier=get("VERIFIER"),
            url=served[0],
            token=served[1],
            run=served[2],
            table=get("TABLE"),
            domain=get("DOMAIN") or DEFAULT_DOMAIN,
            probe=get("PROBE") == "1",
        )


@cache
def settings() -> Settings:
    """The settings of this process."""
    return Settings.from_environment(os.environ)


@cache
def server() -> AssayClient:
    """The server of this process's settings."""
    return AssayClient(settings().url, settings().token)


@cache
def scorer() -> Scorer:
    """The scorer of this process, made from its environment at the first call.

    Raises SettingsError, TableError, and whatever `trainer.verifiers.build` raises.
    """
    chosen = settings()
    if not chosen.verifier:
        raise SettingsError('ASSAY_VERIFIER: name the verifier, such as "math"')
    return Scorer(
        verifiers=tuple(_built(spec) for spec in _specs(chosen.verifier)),
        tables=_tables(chosen),
        detector=build("probe") if chosen.probe else None,
    )


def references_in(value: Any) -> tuple[str, ...]:
    """A data set's reference answers: a text, a number, a list of these, or nothing.

    Raises SettingsError for anything else: the text of an object is no answer.
    """
    if value is None:
        return ()
    if isinstance(value, list | tuple):
        return tuple(text for part in value for text in references_in(part))
    if isinstance(value, str | int | float):
        return (str(value),)
    raise SettingsError(f"a reference must be a text, a number or a list, not {type(value)}")


def text_of(value: Any) -> str:
    """A prompt or completion as text: itself, or the last message's content."""
    if isinstance(value, str):
        return value
    content = value[-1]["content"] if value else ""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def log_fields(scored: Scored) -> dict[str, str | int | float]:
    """What to log beside a reward, so that rates can be estimated again later: numbers and texts
    alone, the same fields for every rollout. table_version: 0 = no table."""
    return {
        "verdict": str(scored.cell.outcome),
        "cell": scored.cell.key,
        "table_version": scored.table_version or 0,
        "level": scored.reward.level,
        "abstained": int(scored.reward.value is None),
    }


def raw_value(scored: Scored) -> float | None:
    """The raw verdict as a number: 1 passed, 0 failed, None undecided."""
    if scored.cell.outcome is Outcome.UNDECIDED:
        return None
    return float(scored.cell.is_accepted)


def verdict_fields(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON holds it; `verdict_from` reads it again."""
    return {**asdict(verdict), "outcome": str(verdict.outcome)}


def verdict_from(fields: Mapping[str, Any]) -> Verdict:
    """Raises TypeError or ValueError for what `verdict_fields` did not write."""
    return Verdict(**{**fields, "outcome": Outcome(fields["outcome"])})


def warn(message: str) -> None:
    """One line for people."""
    sys.stderr.write(f"assay: {message}\n")


def _tables(chosen: Settings) -> Tables:
    if chosen.run:
        return PulledTables(server(), chosen.run)
    return TableFile(Path(chosen.table)) if chosen.table else NoTables()


def _specs(text: str) -> list[Any]:
    if not text.startswith(("{", "[")):
        return [text]
    try:
        specs = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"ASSAY_VERIFIER: not JSON ({error})") from error
    return specs if isinstance(specs, list) else [specs]


def _built(spec: Any) -> Verifier:
    if isinstance(spec, str):
        return build(spec)
    if not isinstance(spec, dict) or not {"name"} <= spec.keys() <= {"name", "params"}:
        raise SettingsError("ASSAY_VERIFIER: a verifier is a name, or an object of name and params")
    return build(spec["name"], **spec.get("params", {}))
