"""Verifiers inside a verifier: each given as {"name": ..., "params": {...}}."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainer.verifiers.base import ParameterError, Verdict, Verifier
from trainer.verifiers.registry import BUILT_IN, UnknownVerifierError, build, listed

# A monitor never enters a reward, and format is a channel of its own.
CHANNELS = frozenset({"correctness", "process"})

# What says which verifier is meant.
_SPEC = frozenset({"name", "params"})

# Of a verifier with verifiers inside, the level of the innermost: 2 = it may hold such a one.
_DEEPEST = 2


def built(spec: Any, at: str) -> Verifier:
    """The verifier that the spec names. `at`: where the spec stands, for the error.

    Raises ParameterError, naming the place, for a spec of another shape, a name that no verifier
    has, a channel that may not enter a verdict of correctness, nesting deeper than two levels, and
    what the verifier itself refuses.
    """
    name, params = _name_and_params(spec, at)
    try:
        channel = listed(name).channel
    except UnknownVerifierError as error:
        raise ParameterError(f"{at}.name: {error}") from None
    if channel not in CHANNELS:
        raise ParameterError(f"{at}.name: {name} is of the channel {channel}, no correctness")
    if _is_deeper(spec, _DEEPEST - 1):
        raise ParameterError(f"{at}: verifiers inside verifiers go {_DEEPEST} levels deep at most")
    try:
        return build(name, **params)
    except ParameterError as error:
        raise ParameterError(f"{at}.params.{error}") from None


def needs_torch(name: str, params: Mapping[str, Any]) -> bool:
    """Whether the verifier, or one inside it, runs only where torch is installed. Loads nothing.

    Raises UnknownVerifierError for the name itself; what is wrong inside is the build's to say.
    """
    inside = (BUILT_IN[inner] for inner in names_inside(params) if inner in BUILT_IN)
    return listed(name).needs_torch or any(inner.needs_torch for inner in inside)


def names_inside(params: Any) -> Iterable[str]:
    """The names of all specs inside, however deep. A criterion's name is none: it has a text."""
    left = [params]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            left += value.values()
            if {"name"} <= set(value) <= _SPEC and isinstance(value["name"], str):
                yield value["name"]
        elif isinstance(value, list | tuple):
            left += value


def _name_and_params(spec: Any, at: str) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(spec, Mapping) or not {"name"} <= set(spec) <= _SPEC:
        raise ParameterError(f"{at}: must be an object of name and params")
    name, params = spec["name"], spec.get("params", {})
    if not isinstance(name, str):
        raise ParameterError(f"{at}.name: must be a verifier's name")
    if not isinstance(params, Mapping) or not all(isinstance(key, str) for key in params):
        raise ParameterError(f"{at}.params: must be an object")
    return name, params


def _is_deeper(spec: Any, levels: int) -> bool:
    """Whether the spec holds verifiers inside verifiers on more levels than these. It looks no
    further than it must: a spec may be nested as deep as JSON allows."""
    inside = list(_specs_inside(spec))
    return bool(inside) and (levels == 0 or any(_is_deeper(inner, levels - 1) for inner in inside))


def _specs_inside(spec: Any) -> Iterable[Any]:
    """The specs in the spec's own parameters, whatever their shape."""
    params = spec.get("params") if isinstance(spec, Mapping) else None
    if not isinstance(params, Mapping):
        return
    if isinstance(params.get("judge"), Mapping):
        yield params["judge"]
    for name in ("members", "criteria"):
        held = params.get(name)
        for entry in held if isinstance(held, Sequence) and not isinstance(held, str) else ():
            if isinstance(entry, Mapping):
                yield entry.get("verifier", entry)


def version_with(base: str, parts: Any, members: Iterable[Verifier]) -> str:
    """The code's version with a digest of what decides: parts, and the members with their
    versions, which hold their parameters."""
    text = json.dumps([parts, [[member.name, member.version] for member in members]])
    return f"{base}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def record_of(member: Verifier, verdict: Verdict) -> dict[str, Any]:
    """What a member said, as JSON holds it."""
    return {
        "verifier": member.name,
        "version": member.version,
        "outcome": str(verdict.outcome),
        "score": verdict.score,
        "path": verdict.path,
        "detail": verdict.detail,
        "record": None if verdict.record is None else dict(verdict.record),
    }
