"""Several verifiers as one: a cascade, a vote, or rules beside a judge."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from trainer.verifiers import parameters
from trainer.verifiers.base import Item, Outcome, ParameterError, Verdict, Verifier, undecided
from trainer.verifiers.combined.members import built, record_of, version_with

_MOST_MEMBERS = 8
_MODES = ("cascade", "split", "vote")
_DISAGREEMENTS = {
    "accept": Outcome.PASS,
    "reject": Outcome.FAIL,
    "undecided": Outcome.UNDECIDED,
}


@dataclass(frozen=True, slots=True)
class Hybrid:
    """Verifiers asked one after the other, or together.

    members: [{"name": "math", "params": {}}, ...], two at least.
    mode "cascade": one that passes ends it; one that fails or is undecided hands the item on to the
    next. A pass after an earlier fail is a disagreement: `on_disagreement` is "undecided", "accept"
    or "reject". It fails where the last one fails, and is undecided where the last one is: a
    rejection that nobody could confirm is none.
    mode "vote": every member judges every item; more than half of all members decide, and nothing
    less does.
    mode "split" (VerIF, arXiv:2506.09942): two members, for instructions. The reference is one JSON
    object with the hard constraints, which the first member takes, and beside them "soft": a list
    of texts, which the second, a judge with the prompt instructions-1, holds the response
    against. Both must pass; where the first fails the second is not asked.

    A monitor or a verifier of format cannot be a member. Answers are the first member's: the
    normaliser is its own.
    """

    members: Sequence[Any] = ()
    mode: str = "cascade"
    on_disagreement: str = "undecided"
    _members: tuple[Verifier, ...] = field(init=False, compare=False, repr=False)

    name: ClassVar[str] = "hybrid"
    channel: ClassVar[str] = "correctness"

    def __post_init__(self) -> None:
        parameters.one_of("mode", self.mode, _MODES)
        parameters.one_of("on_disagreement", self.on_disagreement, _DISAGREEMENTS)
        if (
            not isinstance(self.members, list | tuple)
            or not 2 <= len(self.members) <= _MOST_MEMBERS
        ):
            raise ParameterError(f"members: must be a list of 2 to {_MOST_MEMBERS} verifiers")
        members = tuple(built(spec, f"members[{i}]") for i, spec in enumerate(self.members))
        if self.mode == "split":
            _check_split(members)
        object.__setattr__(self, "_members", members)

    @property
    def version(self) -> str:
        return version_with("1", [self.mode, self.on_disagreement], self._members)

    @property
    def normaliser(self) -> str:
        return self._members[0].normaliser

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; a member sees only the items that need it."""
        if self.mode == "split":
            return _split(batch, *self._members)
        if self.mode == "vote":
            said = zip(*(_asked(member, batch) for member in self._members), strict=True)
            return [self._voted(verdicts) for verdicts in said]
        return [self._cascaded(verdicts) for verdicts in self._handed_on(batch)]

    def _handed_on(self, batch: Sequence[Item]) -> list[list[Verdict]]:
        """What each item was told by the members that it came to."""
        said: list[list[Verdict]] = [[] for _ in batch]
        for member in self._members:
            rows = [row for row, told in enumerate(said) if not _is_passed(told)]
            verdicts = _asked(member, [batch[row] for row in rows])
            for row, verdict in zip(rows, verdicts, strict=True):
                said[row].append(verdict)
        return said

    def _cascaded(self, told: Sequence[Verdict]) -> Verdict:
        last = told[-1]
        was_rejected = any(verdict.outcome is Outcome.FAIL for verdict in told[:-1])
        if was_rejected and last.outcome is Outcome.PASS:
            outcome, path = _DISAGREEMENTS[self.on_disagreement], "disagreement"
            detail = "a member passes what an earlier one fails"
        elif last.outcome is Outcome.UNDECIDED:
            outcome, path = Outcome.UNDECIDED, "none"
            detail = "rejected, and not confirmed" if was_rejected else last.detail
        else:
            outcome, path, detail = last.outcome, f"member-{len(told)}", ""
        score = None if path in {"disagreement", "none"} else last.score
        return self._verdict(told, outcome, path, detail, score)

    def _voted(self, told: Sequence[Verdict]) -> Verdict:
        outcomes = [verdict.outcome for verdict in told]
        passes, fails = outcomes.count(Outcome.PASS), outcomes.count(Outcome.FAIL)
        detail = ""
        if passes * 2 > len(told):
            outcome = Outcome.PASS
        elif fails * 2 > len(told):
            outcome = Outcome.FAIL
        else:
            outcome = Outcome.UNDECIDED
            detail = f"no majority: {passes} pass, {fails} fail of {len(told)}"
        score = None if outcome is Outcome.UNDECIDED else passes / (passes + fails)
        return self._verdict(told, outcome, "vote", detail, score)

    def _verdict(
        self,
        told: Sequence[Verdict],
        outcome: Outcome,
        path: str,
        detail: str,
        score: float | None,
    ) -> Verdict:
        answer = told[0]
        # Told apart by their form are only what the first member settles: cells are to be few.
        is_first_s = path in {"member-1", "vote"}
        return Verdict(
            outcome=outcome,
            score=score,
            extracted=answer.extracted,
            path=path,
            form=answer.form if is_first_s else "none",
            candidates=answer.candidates,
            seconds=sum(verdict.seconds for verdict in told),
            detail=detail,
            record={"members": list(map(record_of, self._members, told))},
        )


def _asked(member: Verifier, items: Sequence[Item]) -> list[Verdict]:
    return member.verify(items) if items else []


def _is_passed(told: Sequence[Verdict]) -> bool:
    return bool(told) and told[-1].outcome is Outcome.PASS


# Rules for the hard part of an instruction, a judge for the soft one


def _check_split(members: Sequence[Verifier]) -> None:
    if len(members) != 2:
        raise ParameterError("members: the mode split has two, the rules and the judge")
    if getattr(members[1], "prompt", None) != "instructions-1":
        raise ParameterError("members[1]: must be a judge with the prompt instructions-1")


@dataclass(frozen=True, slots=True)
class _Parts:
    """One item as each of the two members takes it; None = nothing for it to judge."""

    hard: Item | None
    soft: Item | None


class _ReferenceError(ValueError):
    """The reference is no instruction; the text names the field and the rule."""


def _parts_of(item: Item) -> _Parts:
    if len(item.references) != 1:
        raise _ReferenceError("the reference must be one JSON object")
    try:
        reference = json.loads(item.references[0])
    except (ValueError, RecursionError):
        raise _ReferenceError("the reference is not JSON") from None
    if not isinstance(reference, dict):
        raise _ReferenceError("the reference must be one JSON object")
    soft = reference.pop("soft", [])
    is_list = isinstance(soft, list)
    if not is_list or not all(isinstance(text, str) and text.strip() for text in soft):
        raise _ReferenceError("soft: must be a list of texts")
    has_hard = reference.get("instruction_id_list", []) != []
    if not has_hard and not soft:
        raise _ReferenceError("the reference has neither instruction_id_list nor soft")
    return _Parts(
        hard=replace(item, references=(json.dumps(reference),)) if has_hard else None,
        soft=replace(item, references=tuple(soft)) if soft else None,
    )


def _split(batch: Sequence[Item], rules: Verifier, judge: Verifier) -> list[Verdict]:
    verdicts: dict[int, Verdict] = {}
    parts: dict[int, _Parts] = {}
    for row, item in enumerate(batch):
        try:
            parts[row] = _parts_of(item)
        except _ReferenceError as error:
            verdicts[row] = undecided(str(error))
    hard = _asked_rows(rules, {row: part.hard for row, part in parts.items()})
    failed = {row for row, verdict in hard.items() if verdict.outcome is Outcome.FAIL}
    left = {row: part.soft for row, part in parts.items() if row not in failed}
    soft = _asked_rows(judge, left)
    for row in parts:
        told = [
            (kind, member, answers[row])
            for kind, member, answers in (("hard", rules, hard), ("soft", judge, soft))
            if row in answers
        ]
        verdicts[row] = _joined(told)
    return [verdicts[row] for row in range(len(batch))]


def _asked_rows(member: Verifier, items: dict[int, Item | None]) -> dict[int, Verdict]:
    asked = {row: item for row, item in items.items() if item is not None}
    return dict(zip(asked, _asked(member, list(asked.values())), strict=True))


def _joined(told: Sequence[tuple[str, Verifier, Verdict]]) -> Verdict:
    """Passes where every part passes, and fails where one fails."""
    by_outcome = {verdict.outcome: (kind, verdict) for kind, _, verdict in reversed(told)}
    detail = ""
    if Outcome.FAIL in by_outcome:
        outcome, path = Outcome.FAIL, by_outcome[Outcome.FAIL][0]
    elif Outcome.UNDECIDED in by_outcome:
        kind, verdict = by_outcome[Outcome.UNDECIDED]
        outcome, path, detail = Outcome.UNDECIDED, kind, verdict.detail
    else:
        outcome, path = Outcome.PASS, told[0][0] if len(told) == 1 else "both"
    return Verdict(
        outcome=outcome,
        score=None,
        extracted=None,
        path=path,
        form="none",
        candidates=0,
        seconds=sum(verdict.seconds for _, _, verdict in told),
        detail=detail,
        record={"members": [record_of(member, verdict) for _, member, verdict in told]},
    )
