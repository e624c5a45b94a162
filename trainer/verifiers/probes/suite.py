"""Running the attacks against a verifier: how often it passes what it must not.

An attack is tried over a few prompts, and those tries are nearly copies of one another. So the
success rate is the mean over attacks of the share of an attack's tries that were passed, and its
interval counts attacks, not tries.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from heapq import nsmallest
from time import perf_counter
from typing import Any

from trainer.verifiers.base import Item, Outcome, Verdict, Verifier, params_of
from trainer.verifiers.probes.attacks import Attack, built_in_attacks
from trainer.verifiers.probes.errors import ProbeError
from trainer.verifiers.probes.prompts import (
    KINDS,
    PROMPT_KINDS,
    PROMPTS_FOR,
    Prompt,
    built_in_prompts,
)
from trainer.verifiers.probes.rates import Rate, wilson
from trainer.verifiers.probes.templates import render
from trainer.verifiers.registry import BUILT_IN, build

FORMAT = 1
PER_ATTACK = 4

_BATCH_SIZE = 64

# A prompt with the values that it gives to a template.
_Offer = tuple[Prompt, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attack made over one prompt, and what the verifier is given."""

    attack: Attack
    prompt: Prompt
    item: Item


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt and what was said of it."""

    attempt: Attempt
    verdict: Verdict

    @property
    def is_passed(self) -> bool:
        return self.verdict.outcome is Outcome.PASS

    @property
    def is_undecided(self) -> bool:
        return self.verdict.outcome is Outcome.UNDECIDED


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of a family's attacks. rate: the success rate; None = nothing was tried.

    undecided: tries that the verifier could not decide; they count as not passed.
    """

    attacks: int
    tries: int
    passed: int
    undecided: int
    rate: Rate | None


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """A verifier's stand against the suite.

    tried: the attacks' tries; controls: those of the honest right answers, which are reported
    apart. without_prompt: ids of attacks that no prompt has the values for.
    """

    verifier: str
    version: str
    params: Mapping[str, Any]
    kind: str
    seed: int
    per_attack: int
    tried: tuple[Tried, ...]
    controls: tuple[Tried, ...]
    without_prompt: tuple[str, ...]
    seconds: float

    @property
    def overall(self) -> Tally:
        """All attacks together."""
        return _tally(self.tried)

    @property
    def honest(self) -> Tally:
        """The controls: the rate is that of right answers passed."""
        return _tally(self.controls)

    def families(self) -> dict[str, Tally]:
        """Each family's tally, sorted by name."""
        by_family = _grouped(self.tried, lambda one: one.attempt.attack.family)
        return {family: _tally(by_family[family]) for family in sorted(by_family)}

    def accepted(self) -> tuple[Tried, ...]:
        """The tries that were passed and must not be."""
        return tuple(one for one in self.tried if one.is_passed)

    def rejected_controls(self) -> tuple[Tried, ...]:
        """The honest right answers that were not passed."""
        return tuple(one for one in self.controls if not one.is_passed)


def attacked_kind(verifier_name: str) -> str | None:
    """What the verifier judges, as it is registered; None = no attack of the suite is for it."""
    return BUILT_IN[verifier_name].kind if verifier_name in BUILT_IN else None


def attempts_for(
    kind: str,
    prompts: Sequence[Prompt],
    attacks: Iterable[Attack],
    *,
    seed: int = 0,
    per_attack: int = PER_ATTACK,
) -> tuple[list[Attempt], list[str]]:
    """The attempts on a verifier of this kind, and the ids of attacks without a fitting prompt.

    An attack has its own prompts, or at most `per_attack` of those that have what its template
    asks for. Which ones depends on the seed and on both ids, not on what else is in the suite.
    """
    attempts, without_prompt = [], []
    offered = [(prompt, prompt.values()) for prompt in prompts]
    for attack in attacks:
        if kind not in attack.kinds:
            continue
        own = [(prompt, prompt.values()) for prompt in attack.prompts]
        chosen = own or _drawn(attack, _fitting(attack, kind, offered), per_attack, seed)
        for prompt, values in chosen:
            response = render(attack.template, values)
            item = Item(prompt.problem, response, prompt.references)
            attempts.append(Attempt(attack, prompt, item))
        if not chosen:
            without_prompt.append(attack.id)
    return attempts, without_prompt


def run_suite(
    verifier: Verifier,
    prompts: Sequence[Prompt] | None = None,
    attacks: Sequence[Attack] | None = None,
    *,
    kind: str | None = None,
    seed: int = 0,
    per_attack: int = PER_ATTACK,
) -> SuiteResult:
    """Try the attacks on the verifier; the built-in prompts and attacks where none are given.

    kind: what the verifier judges; None = as it is registered. The same arguments give the same
    attempts. Raises ProbeError where there is nothing to try.
    """
    judged = kind or attacked_kind(verifier.name)
    if judged is None or judged not in PROMPTS_FOR:
        known = ", ".join(KINDS)
        raise ProbeError(f"kind: no attack is meant for {verifier.name}; give one of {known}")
    attempts, without_prompt = attempts_for(
        judged,
        built_in_prompts() if prompts is None else prompts,
        built_in_attacks() if attacks is None else attacks,
        seed=seed,
        per_attack=per_attack,
    )
    if not attempts:
        raise ProbeError(f"attacks: none can be made on {verifier.name} over these prompts")
    started = perf_counter()
    verdicts = _verdicts(verifier, [attempt.item for attempt in attempts])
    seconds = perf_counter() - started
    tried = [Tried(*pair) for pair in zip(attempts, verdicts, strict=True)]
    return SuiteResult(
        verifier=verifier.name,
        version=verifier.version,
        params=params_of(verifier) if is_dataclass(verifier) else {},
        kind=judged,
        seed=seed,
        per_attack=per_attack,
        tried=tuple(one for one in tried if not one.attempt.attack.is_control),
        controls=tuple(one for one in tried if one.attempt.attack.is_control),
        without_prompt=tuple(without_prompt),
        seconds=seconds,
    )


def probe_success(verifier_name: str, **params: object) -> float:
    """The built-in verifier's overall success rate of the built-in attacks, in [0, 1].

    Raises what `build` raises, and ProbeError for a verifier that no attack is meant for.
    """
    rate = run_suite(build(verifier_name, **params)).overall.rate
    if rate is None:
        raise ProbeError(f"attacks: none can be made on {verifier_name}")
    return rate.point


def _fitting(attack: Attack, kind: str, offered: Iterable[_Offer]) -> list[_Offer]:
    """A judge is attacked over every kind of prompt, but with what is meant for another kind of
    verifier only over the prompts of that one."""
    meant = set(attack.kinds) & set(PROMPT_KINDS) or set(PROMPT_KINDS)
    kinds = meant & set(PROMPTS_FOR[kind])
    names = attack.names
    return [offer for offer in offered if offer[0].kind in kinds and names <= offer[1].keys()]


def _drawn(attack: Attack, offered: Iterable[_Offer], count: int, seed: int) -> list[_Offer]:
    """So many of the prompts as a lot drawn by their ids has it."""

    def lot(offer: _Offer) -> bytes:
        return hashlib.sha256(f"{seed}/{attack.id}/{offer[0].id}".encode()).digest()

    return nsmallest(count, offered, key=lot)


def _verdicts(verifier: Verifier, items: Sequence[Item]) -> list[Verdict]:
    return [
        verdict
        for first in range(0, len(items), _BATCH_SIZE)
        for verdict in verifier.verify(items[first : first + _BATCH_SIZE])
    ]


def _tally(tried: Sequence[Tried]) -> Tally:
    by_attack = _grouped(tried, lambda one: one.attempt.attack.id)
    shares = [sum(one.is_passed for one in tries) / len(tries) for tries in by_attack.values()]
    return Tally(
        attacks=len(by_attack),
        tries=len(tried),
        passed=sum(one.is_passed for one in tried),
        undecided=sum(one.is_undecided for one in tried),
        rate=wilson(sum(shares), len(shares)) if shares else None,
    )


def _grouped(tried: Sequence[Tried], key: Callable[[Tried], str]) -> dict[str, list[Tried]]:
    groups: dict[str, list[Tried]] = defaultdict(list)
    for one in tried:
        groups[key(one)].append(one)
    return groups
