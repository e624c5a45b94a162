"""What travels between a trainer and the server: payloads out, answers in.

Payloads hold what the API names, in its words; `to_json` gives the request's JSON. Texts of a
model or a problem go out as `storable` text, so that one stray character cannot refuse a batch.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

RunStatus = Literal["finished", "failed"]
LabelAnswer = Literal["correct", "incorrect", "cannot_tell"]
SignalState = Literal["ok", "watch", "hold"]

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """The text with NUL and lone surrogates, which no database text can hold, as U+FFFD."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def storable_json(value: Any) -> Any:
    """The JSON value with every text in it storable."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(str(key)): storable_json(part) for key, part in value.items()}
    return [storable_json(part) for part in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True)
class VerifierPayload:
    """A verifier of a run, with the channel it speaks on and its weight in the reward.

    weight: None is 1, of a monitor 0; a monitor is refused with any other.
    """

    name: str
    version: str
    channel: str = "correctness"
    weight: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON of the API."""
        usual = 0.0 if self.channel == "monitor" else 1.0
        return {
            "name": self.name,
            "version": self.version,
            "channel": self.channel,
            "weight": usual if self.weight is None else self.weight,
        }


@dataclass(frozen=True, slots=True)
class RunPayload:
    """A run to register. The uid names it for good: registering it again answers the same run.

    step_block: how many steps are counted together in the server's statistics.
    """

    uid: str
    name: str
    seed: int
    verifiers: tuple[VerifierPayload, ...]
    normaliser: str
    group_size: int
    config: Mapping[str, Any]
    step_block: int = 1

    def to_json(self) -> dict[str, Any]:
        """The JSON of the API."""
        return {
            "uid": self.uid,
            "name": self.name,
            "seed": self.seed,
            "config": dict(self.config),
            "group_size": self.group_size,
            "normaliser": self.normaliser,
            "step_block": self.step_block,
            "verifiers": [verifier.to_json() for verifier in self.verifiers],
        }


@dataclass(frozen=True, slots=True)
class PromptPayload:
    """A problem with its reference answers.

    difficulty: the source's own level, 0 to 100; None = it gives none.
    """

    uid: str
    text: str
    references: tuple[str, ...]
    domain: str
    source: str
    split: str = "train"
    difficulty: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON of the API."""
        return {
            "uid": self.uid,
            "text": storable(self.text),
            "references": [storable(reference) for reference in self.references],
            "domain": self.domain,
            "source": self.source,
            "split": self.split,
            "difficulty": self.difficulty,
        }


@dataclass(frozen=True, slots=True)
class ToolCallPayload:
    """A call of a tool by the policy. arguments: as it wrote them, mostly the text of an object."""

    name: str
    arguments: str
    id: str = ""

    def to_json(self) -> dict[str, Any]:
        """The JSON of the API."""
        return {"name": self.name, "arguments": storable(self.arguments), "id": self.id}


@dataclass(frozen=True, slots=True)
class MessagePayload:
    """One message of a rollout. name: of the tool that answers, call_id: of the call it answers."""

    role: str
    content: str
    name: str = ""
    tool_calls: tuple[ToolCallPayload, ...] = ()
    call_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """The JSON of the API; fields that say nothing are left out."""
        said = {
            "name": self.name,
            "tool_calls": [call.to_json() for call in self.tool_calls],
            "call_id": self.call_id,
        }
        words = {"role": self.role, "content": storable(self.content)}
        return words | {name: value for name, value in said.items() if value}


@dataclass(frozen=True, slots=True)
class VerdictPayload:
    """One verifier's judgement of a rollout.

    seconds: the time it took. record: what a judge was asked and said, left out where nothing was.
    """

    verifier: str
    version: str
    outcome: str
    score: float | None
    extracted: str | None
    path: str
    form: str
    candidates: int
    seconds: float
    detail: str = ""
    record: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON of the API."""
        return {
            "verifier": self.verifier,
            "version": self.version,
            "outcome": str(self.outcome),
            "score": self.score,
            "extracted": None if self.extracted is None else storable(self.extracted),
            "path": self.path,
            "form": self.form,
            "candidates": self.candidates,
            "seconds": self.seconds,
            "detail": storable(self.detail),
            **({} if self.record is None else {"record": storable_json(self.record)}),
        }


@dataclass(frozen=True, slots=True)
class RolloutPayload:
    """One completion with its verdicts.

    prompt, group: uids. reward: what training used; None = left out of its group.
    table_version: the reward table it came from; None = the raw verdict. steps: the source's own
    steps, which make up all that the assistant wrote; None = the server cuts the text.
    """

    uid: str
    prompt: str
    group: str
    step: int
    policy: str
    messages: tuple[MessagePayload, ...]
    tokens: int
    truncated: bool
    probe: bool
    reward: float | None
    table_version: int | None
    verdicts: tuple[VerdictPayload, ...]
    steps: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON of the API."""
        own_steps = {} if self.steps is None else {"steps": list(map(storable, self.steps))}
        return own_steps | {
            "uid": self.uid,
            "prompt": self.prompt,
            "group": self.group,
            "step": self.step,
            "policy": self.policy,
            "messages": [message.to_json() for message in self.messages],
            "tokens": self.tokens,
            "truncated": self.truncated,
            "probe": self.probe,
            "reward": self.reward,
            "table_version": self.table_version,
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
        }


@dataclass(frozen=True, slots=True)
class AuditPayload:
    """An audit rule: which steps, how many labels, in how many waves, and what to be sure of.

    last_step: None = to the end of the run. window_steps: steps per window. budget: labels per
    window. focus: weights of the estimands. shows_reference: whether reviewers see the answer.
    reviews_contradictions: a label that contradicts the verdict gets a second review, as do
    second_review_share of all; labels that disagree get a third.
    """

    name: str
    first_step: int
    last_step: int | None
    window_steps: int
    budget: int
    waves: int
    focus: Mapping[str, float]
    shows_reference: bool = True
    reviews_contradictions: bool = False
    second_review_share: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The JSON of the API."""
        return {
            "name": self.name,
            "first_step": self.first_step,
            "last_step": self.last_step,
            "window_steps": self.window_steps,
            "budget": self.budget,
            "waves": self.waves,
            "focus": dict(self.focus),
            "shows_reference": self.shows_reference,
            "second_reviews": {
                "contradictions": self.reviews_contradictions,
                "share": self.second_review_share,
            },
        }


@dataclass(frozen=True, slots=True)
class LabelPayload:
    """A reviewer's label of one rollout; client_key (a UUID) makes sending it again harmless."""

    client_key: str
    answer: LabelAnswer
    earliest_wrong_step: int | None = None
    no_wrong_step: bool = False
    is_hack: bool = False
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The JSON of the API, without the lease's token."""
        return {
            "client_key": self.client_key,
            "answer": self.answer,
            "earliest_wrong_step": self.earliest_wrong_step,
            "no_wrong_step": self.no_wrong_step,
            "is_hack": self.is_hack,
            "note": storable(self.note),
        }


@dataclass(frozen=True, slots=True)
class TableAnswer:
    """A pulled reward table. text: its JSON, None when it has not changed (304)."""

    text: str | None
    etag: str | None
    version: int | None


@dataclass(frozen=True, slots=True)
class SignalReason:
    """One thing that was seen, how grave it is, and in words."""

    code: str
    state: SignalState
    text: str

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for another shape."""
        return cls(str(answer["code"]), _signal_state(answer["state"]), str(answer["text"]))


@dataclass(frozen=True, slots=True)
class Signal:
    """Whether reward still means correctness: hold says stop and look, watch look soon.

    reasons: the gravest first. at: ISO 8601; None = nothing is audited. state: None when it has
    not changed (304).
    """

    state: SignalState | None
    reasons: tuple[SignalReason, ...]
    at: str | None
    etag: str | None

    @classmethod
    def from_json(cls, answer: Mapping[str, Any], *, etag: str | None) -> Self:
        """Raises KeyError, TypeError or ValueError for another shape."""
        return cls(
            state=_signal_state(answer["state"]),
            reasons=tuple(map(SignalReason.from_json, answer["reasons"])),
            at=None if answer["at"] is None else str(answer["at"]),
            etag=etag,
        )


def _signal_state(state: object) -> SignalState:
    if state == "ok" or state == "watch" or state == "hold":
        return state
    raise ValueError("not the state of a signal")


@dataclass(frozen=True, slots=True)
class AuditWave:
    """One draw of a window: labels planned, made and skipped; open, closed or cancelled."""

    number: int
    planned: int
    labelled: int
    skipped: int
    state: str

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for another shape."""
        return cls(
            number=int(answer["number"]),
            planned=int(answer["planned"]),
            labelled=int(answer["labelled"]),
            skipped=int(answer["skipped"]),
            state=str(answer["state"]),
        )


@dataclass(frozen=True, slots=True)
class AuditWindow:
    """A step range of an audit; last_step is included. collecting, open or closed."""

    id: str
    first_step: int
    last_step: int
    state: str
    frame_size: int
    waves: tuple[AuditWave, ...]

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for another shape."""
        return cls(
            id=str(answer["id"]),
            first_step=int(answer["first_step"]),
            last_step=int(answer["last_step"]),
            state=str(answer["state"]),
            frame_size=int(answer["frame_size"] or 0),
            waves=tuple(map(AuditWave.from_json, answer["waves"])),
        )


@dataclass(frozen=True, slots=True)
class Audit:
    """An audit as it stands, with the queue that its draws go to."""

    id: str
    queue: str
    state: str
    windows: tuple[AuditWindow, ...]

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for another shape."""
        windows = tuple(map(AuditWindow.from_json, answer.get("windows", ())))
        return cls(str(answer["id"]), str(answer["queue"]), str(answer["state"]), windows)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A rollout to label, held under a lease (token, until expires_at, ISO 8601).

    references: None when the queue does not show them. steps: (number, text), numbered from 1.
    """

    id: str
    token: str
    expires_at: str
    problem: str
    references: tuple[str, ...] | None
    steps: tuple[tuple[int, str], ...]
    answer: str | None

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for another shape."""
        references = answer["references"]
        return cls(
            id=str(answer["id"]),
            token=str(answer["lease"]["token"]),
            expires_at=str(answer["lease"]["expires_at"]),
            problem=answer["problem"],
            references=None if references is None else tuple(references),
            steps=tuple((int(step["number"]), step["text"]) for step in answer["steps"]),
            answer=answer["answer"],
        )


@dataclass(frozen=True, slots=True)
class LabelReceipt:
    """A stored label; is_late: it came after the lease had passed on, and is kept as such."""

    id: str
    is_late: bool


@dataclass(frozen=True, slots=True)
class TableDraft:
    """A built reward table, not yet published; preview: what it would change."""

    id: str
    version: int
    state: str
    preview: Mapping[str, Any]

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for another shape."""
        preview = answer.get("preview") or {}
        return cls(str(answer["id"]), int(answer["version"]), str(answer["state"]), preview)


@dataclass(frozen=True, slots=True)
class EstimateAnswer:
    """An estimate with its interval; without enough data point is None and reason says why.

    window: None = the whole run. level: the interval's confidence. n: labels; n_eff: effective.
    """

    estimand: str
    window: str | None
    point: float | None
    low: float | None
    high: float | None
    level: float
    method: str
    n: int
    n_eff: float | None
    reason: str | None

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Self:
        """Raises KeyError for another shape."""
        return cls(**{name: answer[name] for name in cls.__slots__})
