"""Weighted criteria, each judged by a verifier of its own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar

from trainer.verifiers import parameters
from trainer.verifiers.base import Item, Outcome, ParameterError, Verdict, Verifier
from trainer.verifiers.combined.members import built, record_of, version_with

# Those that take a criterion as their question.
_JUDGES = ("judge", "judge-local")
_MOST_CRITERIA = 32
_COMBINATIONS = ("all", "any", "mean")
_NAME = re.compile(r"[a-z0-9-]{1,24}")
_KEYS = frozenset({"name", "text", "weight", "verifier"})


@dataclass(frozen=True, slots=True)
class Criterion:
    """What is asked of a response. weight: its share of the weighted mean, before division."""

    name: str
    text: str
    weight: float
    verifier: Verifier


@dataclass(frozen=True, slots=True)
class Rubric:
    """Judges each criterion by itself and combines their outcomes.

    criteria: [{"name": "polite", "text": "It is polite.", "weight": 2, "verifier": {...}}, ...];
    weight is 1 where it is not given. verifier: {"name", "params"} of the verifier that judges the
    criterion; where it is not given, `judge`, of the same shape, does. A judge is asked for the
    criterion's text, by the prompt criterion-1, unless its params name a prompt. A judge's budget
    is for each criterion.

    combine: "mean" passes where the weights of the criteria that pass are at least pass_mark of
    all, "all" where every one passes, "any" where one does. A criterion that is undecided leaves
    the whole undecided, unless it could change nothing. score is the weighted mean; None where a
    criterion is undecided. The record holds each criterion's outcome.
    """

    criteria: Sequence[Any] = ()
    judge: Mapping[str, Any] | None = None
    combine: str = "mean"
    pass_mark: float = 0.5
    _criteria: tuple[Criterion, ...] = field(init=False, compare=False, repr=False)

    name: ClassVar[str] = "rubric"
    channel: ClassVar[str] = "correctness"
    normaliser: ClassVar[str] = "squad-1"

    def __post_init__(self) -> None:
        parameters.one_of("combine", self.combine, _COMBINATIONS)
        parameters.number("pass_mark", self.pass_mark, least=0, most=1)
        listed = self.criteria
        if not isinstance(listed, list | tuple) or not 1 <= len(listed) <= _MOST_CRITERIA:
            raise ParameterError(f"criteria: must be a list of 1 to {_MOST_CRITERIA}")
        criteria = tuple(self._criterion(entry, f"criteria[{i}]") for i, entry in enumerate(listed))
        if len({criterion.name for criterion in criteria}) < len(criteria):
            raise ParameterError("criteria: their names must differ")
        object.__setattr__(self, "_criteria", criteria)

    def _criterion(self, entry: Any, at: str) -> Criterion:
        if not isinstance(entry, Mapping) or not {"name", "text"} <= set(entry) <= _KEYS:
            raise ParameterError(f"{at}: must have name and text, and may have weight and verifier")
        if not isinstance(entry["name"], str) or not _NAME.fullmatch(entry["name"]):
            raise ParameterError(f"{at}.name: must be 1 to 24 of a-z, 0-9 and -")
        parameters.text(f"{at}.text", entry["text"], longest=10_000)
        weight = entry.get("weight", 1)
        parameters.number(f"{at}.weight", weight, least=0, most=1_000_000)
        if not weight:
            raise ParameterError(f"{at}.weight: must be over 0")
        if "verifier" in entry:
            verifier = built(_asking_for(entry["text"], entry["verifier"]), f"{at}.verifier")
        elif self.judge is not None:
            verifier = built(_asking_for(entry["text"], self.judge), "judge")
        else:
            raise ParameterError(f"{at}.verifier: is needed where the rubric has no judge")
        return Criterion(entry["name"], entry["text"], float(weight), verifier)

    @property
    def version(self) -> str:
        parts = [[criterion.name, criterion.text, criterion.weight] for criterion in self._criteria]
        verifiers = [criterion.verifier for criterion in self._criteria]
        return version_with("1", [self.combine, self.pass_mark, parts], verifiers)

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order, by every criterion."""
        said = zip(*(criterion.verifier.verify(batch) for criterion in self._criteria), strict=True)
        return [self._combined(verdicts) for verdicts in said]

    def _combined(self, told: Sequence[Verdict]) -> Verdict:
        outcome = self._outcome(told)
        unsure = [
            criterion.name
            for criterion, verdict in zip(self._criteria, told, strict=True)
            if verdict.outcome is Outcome.UNDECIDED
        ]
        return Verdict(
            outcome=outcome,
            score=None if unsure else self._share([v.outcome is Outcome.PASS for v in told]),
            extracted=None,
            path=self.combine,
            form="none",
            candidates=0,
            seconds=sum(verdict.seconds for verdict in told),
            detail=f"undecided: {', '.join(unsure)}" if outcome is Outcome.UNDECIDED else "",
            record={
                "combine": self.combine,
                "pass_mark": self.pass_mark,
                "criteria": [
                    {
                        "name": criterion.name,
                        "weight": criterion.weight,
                        **record_of(criterion.verifier, verdict),
                    }
                    for criterion, verdict in zip(self._criteria, told, strict=True)
                ],
            },
        )

    def _outcome(self, told: Sequence[Verdict]) -> Outcome:
        """The outcome that holds whatever the undecided criteria would have said."""
        passed = [verdict.outcome is Outcome.PASS for verdict in told]
        not_failed = [verdict.outcome is not Outcome.FAIL for verdict in told]
        if self._is_enough(passed):
            return Outcome.PASS
        return Outcome.UNDECIDED if self._is_enough(not_failed) else Outcome.FAIL

    def _is_enough(self, met: Sequence[bool]) -> bool:
        if self.combine == "all":
            return all(met)
        if self.combine == "any":
            return any(met)
        return self._share(met) >= self.pass_mark

    def _share(self, met: Sequence[bool]) -> float:
        """The share of the weights whose criterion is met, in [0, 1]. In decimals, as the
        weights are written: 0.7 and 0.2 of 1 are not under 0.9."""
        weights = [Fraction(str(criterion.weight)) for criterion in self._criteria]
        held = sum(weight for weight, is_met in zip(weights, met, strict=True) if is_met)
        return float(held / sum(weights))


def _asking_for(text: str, spec: Any) -> Any:
    """The spec, with the criterion as its question where it names a judge and no prompt."""
    if not isinstance(spec, Mapping) or spec.get("name") not in _JUDGES:
        return spec
    params = spec.get("params", {})
    if not isinstance(params, Mapping) or "prompt" in params:
        return spec
    return {**spec, "params": {**params, "prompt": "criterion-1", "question": text}}
