"""Verifiers that the server runs itself: the trainer's own, built from what a lead asks for."""

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction

from review.accounts.models import Project
from review.core.models import record_event
from review.core.texts import is_deeper_than
from review.verifiers.errors import (
    NotWhileWaitingError,
    UnusableVerifierError,
    VerifierElsewhereError,
)
from review.verifiers.models import VerifierVersion
from review.verifiers.services import known_version
from trainer.verifiers import (
    ParameterError,
    UnknownVerifierError,
    Verifier,
    build,
    known_names,
    listed,
    parameters_of,
    params_of,
)
from trainer.verifiers.combined import members

# The queue of the workers that have torch; the others' is Celery's own.
TORCH_QUEUE = "verify-torch"
ORDINARY_QUEUE = "celery"
# The environment variable with the key that judges send; no lead names another one.
KEY_VARIABLE = "ASSAY_JUDGE_API_KEY"
MOST_BYTES, MOST_LEVELS = 64 * 1024, 20

# Whatever else an address may hold, such as a name and a password before the host, is refused: two
# readers of it might not see the same host.
ADDRESS = re.compile(
    r"https?://(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?:/[\w.~/-]*)?",
    re.IGNORECASE | re.ASCII,
)
LOOKS_LIKE_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
NAMES_OF_ADDRESSES = ("url", "endpoint")


def build_verifier(name: str, params: Mapping[str, Any]) -> Verifier:
    """The built-in verifier with these parameters, as JSON holds them.

    Raises UnusableVerifierError, naming "verifier" or the parameter.
    """
    _refuse_unknown(name)
    _refuse_large(params)
    given = _typed(name, params)
    try:
        # Nothing is called, loaded or run before it judges.
        verifier: Any = build(name, **given, **_of_the_operator(name))
    except ParameterError as error:
        parameter, _, rule = str(error).partition(": ")
        raise UnusableVerifierError(fields={f"params.{parameter}": rule}) from None
    except (TypeError, ValueError) as error:
        raise UnusableVerifierError(fields={"params": str(error)}) from None
    except (ImportError, OSError, RuntimeError) as error:
        raise UnusableVerifierError(fields={"verifier": f"does not run here: {error}"}) from None
    # Also of what was not given: a parameter has a value as it comes.
    _refuse_what_the_operator_forbids(params_of(verifier))
    built: Verifier = verifier
    return built


def _of_the_operator(name: str) -> dict[str, Any]:
    """What only whoever runs the server may say: the name of the variable with the judges' key."""
    fields = {field.name for field in dataclasses.fields(listed(name).load())}
    return (
        {"api_key_env": KEY_VARIABLE} if settings.JUDGE_API_KEY and "api_key_env" in fields else {}
    )


def _refuse_unknown(name: str) -> None:
    try:
        listed(name)
    except UnknownVerifierError:
        known = ", ".join(known_names())
        raise UnusableVerifierError(fields={"verifier": f"is one of {known}"}) from None


def _refuse_large(params: Mapping[str, Any]) -> None:
    if is_deeper_than(MOST_LEVELS, params):
        raise UnusableVerifierError(fields={"params": f"at most {MOST_LEVELS} levels deep"})
    if len(msgspec.json.encode(params)) > MOST_BYTES:
        raise UnusableVerifierError(fields={"params": f"at most {MOST_BYTES} bytes"})


def _typed(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The values in the types of their defaults. Only what decides verdicts is a lead's to set."""
    defaults = {parameter.name: parameter.default for parameter in parameters_of(name)}
    given = {}
    for parameter, value in params.items():
        at = f"params.{parameter}"
        if parameter not in defaults:
            known = ", ".join(defaults) or "none"
            raise UnusableVerifierError(fields={at: f"is no parameter of {name}; it has: {known}"})
        default = defaults[parameter]
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if default is not None and type(default) in KINDS and type(value) is not type(default):
            raise UnusableVerifierError(fields={at: KINDS[type(default)]})
        given[parameter] = _frozen(value)
    return given


KINDS = {
    bool: "is true or false",
    int: "is a whole number",
    float: "is a number",
    str: "is a text",
}


def _frozen(value: Any) -> Any:
    """Lists as the tuples that they were before JSON."""
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    if isinstance(value, dict):
        return {key: _frozen(part) for key, part in value.items()}
    return value


def _refuse_what_the_operator_forbids(params: Mapping[str, Any]) -> None:
    for name, address in addresses_in(params):
        _refuse_foreign_host(name, address)
    for parameter, name, value in _leaves(params):
        if name in FORBIDDEN and value not in FORBIDDEN[name][0]:
            raise UnusableVerifierError(fields={f"params.{parameter}": FORBIDDEN[name][1]})


# Of verifiers within verifiers too: which values alone a lead may give, and why.
FORBIDDEN: Mapping[str, tuple[Collection[Any], str]] = {
    "unsandboxed": ([False], "programs run in a sandbox on this server, or not at all"),
    "api_key_env": (["", KEY_VARIABLE], f"is {KEY_VARIABLE} on this server, or nothing"),
}


def _refuse_foreign_host(name: str, address: str) -> None:
    found = ADDRESS.fullmatch(address)
    if not found:
        rule = "is no plain http:// or https:// address"
        raise UnusableVerifierError(fields={f"params.{name}": rule})
    host = found["host"].lower()
    if {host, f"{host}:{found['port']}"}.isdisjoint(settings.JUDGE_HOSTS):
        rule = f"{host} is no host that this server may call (ASSAY_JUDGE_HOSTS)"
        raise UnusableVerifierError(fields={f"params.{name}": rule})


def addresses_in(params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The addresses among the parameters, however deep, by the parameter that they are in."""
    for parameter, name, value in _leaves(params):
        if isinstance(value, str) and value and _is_address(name, value):
            yield parameter, value


def _is_address(name: str, value: str) -> bool:
    return name.endswith(NAMES_OF_ADDRESSES) or LOOKS_LIKE_ADDRESS.match(value) is not None


def _leaves(params: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Every single value: the parameter that it is in, its own name there, and itself."""
    for parameter, value in params.items():
        yield from ((parameter, name, leaf) for name, leaf in _leaves_of(parameter, value))


def _leaves_of(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in _in_full(value).items():
            yield from _leaves_of(str(key), part)
    elif isinstance(value, (list, tuple)):
        # A pair of a name and a value is as good as a mapping.
        is_pair = len(value) == 2 and isinstance(value[0], str)
        for part in value:
            yield from _leaves_of(value[0] if is_pair else name, part)
    elif (inside := _json_inside(value)) is not None:
        yield from _leaves_of(name, inside)
    else:
        yield name, value


def _in_full(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """A verifier within a verifier with the values that its parameters have as they come.

    What has more to say than name and params is none: a criterion may be called "judge".
    """
    name, given = value.get("name"), value.get("params", {})
    is_spec = set(value) <= {"name", "params"} and isinstance(given, Mapping)
    if not is_spec or name not in known_names():
        return value
    defaults = {parameter.name: parameter.default for parameter in parameters_of(name)}
    return {**value, "params": defaults | dict(given)}


def _json_inside(value: Any) -> Any:
    """The object or list that a text holds as JSON, as nested verifiers may be written."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return None
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return None


@transaction.atomic
def register_built_in(
    *, project: Project, name: str, params: Mapping[str, Any], actor: object
) -> VerifierVersion:
    """The project's version of the built-in verifier with these parameters, made if it is new.

    Built first: what cannot be built is not registered.
    """
    verifier: Any = build_verifier(name, params)
    version = known_version(
        project=project, name=verifier.name, version=verifier.version, channel=verifier.channel
    )
    if version.params is None:
        version.params = params_of(verifier)
        version.save(update_fields=["params"])
        record_event(actor=actor, action="verifier added", subject=version, verifier=str(version))
    return version


def rebuilt(version: VerifierVersion) -> Verifier:
    """The verifier itself, in a worker.

    Raises VerifierElsewhereError where this worker does not run it, UnusableVerifierError where it
    cannot be built any more.
    """
    if version.params is None:
        raise VerifierElsewhereError("This verifier runs elsewhere: its verdicts are sent.")
    if needs_torch(version) and find_spec("torch") is None:
        raise VerifierElsewhereError(
            f"{version.name} needs torch: only a worker of the queue {TORCH_QUEUE} runs it, with "
            "the trainer's packages installed."
        )
    verifier = build_verifier(version.name, version.params)
    if verifier.version != version.version:
        raise VerifierElsewhereError(
            f"This server has {verifier.name}@{verifier.version} by now: add that one."
        )
    return verifier


def needs_torch(version: VerifierVersion) -> bool:
    """Whether it, or a verifier within it, does. Not of one that runs elsewhere."""
    if version.params is None or version.name not in known_names():
        return False
    return members.needs_torch(version.name, version.params)


def queue_of(version: VerifierVersion) -> str:
    """The queue whose workers run the verifier."""
    return TORCH_QUEUE if needs_torch(version) else ORDINARY_QUEUE


# What judges while a caller waits: quick, bounded in time, and none that calls a network, loads a
# model or runs programs. A hybrid or a rubric of these alone is one too.
QUICK = frozenset(
    {
        *("alias-contained", "boxed-any", "constraints", "contains-reference", "exact-match"),
        *("first-boxed", "last-number", "math"),
    }
)
QUICK_IN_WHOLE = frozenset({"hybrid", "rubric"})
LONGEST_TIMEOUT_S = 5.0
WAY_OUT = "run it beside the trainer: see trainer/integrations"


def quick_verifier(version: VerifierVersion) -> Verifier:
    """The verifier itself, to judge with while a caller waits.

    Raises NotWhileWaitingError, naming the verifier and the way out.
    """
    _refuse_slow(version)
    if version.params is not None:
        try:
            return rebuilt(version)
        except (UnusableVerifierError, VerifierElsewhereError) as error:
            raise NotWhileWaitingError(fields={str(version): error.message}) from None
    verifier = build_verifier(version.name, {})
    if verifier.version != version.version:
        rule = "its parameters are not known here: a lead adds it with them on the run's page"
        raise NotWhileWaitingError(fields={str(version): rule})
    return verifier


def _refuse_slow(version: VerifierVersion) -> None:
    params = version.params or {}
    inside = set(members.names_inside(params))
    is_quick = version.name in QUICK or (version.name in QUICK_IN_WHOLE and inside)
    if not is_quick or not inside <= QUICK | QUICK_IN_WHOLE or any(addresses_in(params)):
        raise NotWhileWaitingError(
            fields={str(version): f"only {', '.join(sorted(QUICK))} are; {WAY_OUT}"}
        )
    for parameter, name, value in _leaves(params):
        if name == "timeout_s" and value > LONGEST_TIMEOUT_S:
            rule = f"params.{parameter} is above {LONGEST_TIMEOUT_S:g} s; {WAY_OUT}"
            raise NotWhileWaitingError(fields={str(version): rule})
