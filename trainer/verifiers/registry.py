"""The built-in verifiers by name. None is imported before it is built: some pull in much."""

import dataclasses
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from trainer.verifiers.base import ParameterError, Verifier


@dataclass(frozen=True, slots=True)
class Listed:
    """A built-in verifier: "module:class" of a dataclass whose fields are its parameters.

    needs_torch: it is built only where torch and transformers are installed.
    kind: what it judges, "math", "short-answer", "code" or "judge", by which the probe suite
    attacks it; None = no attack of the suite is meant for it.
    """

    path: str
    channel: str = "correctness"
    needs_torch: bool = False
    kind: str | None = None

    def load(self) -> type[Any]:
        """The class. Raises ImportError where what it needs is not installed."""
        module, _, name = self.path.partition(":")
        kind: type[Any] = getattr(import_module(f"trainer.verifiers.{module}"), name)
        return kind


BUILT_IN: dict[str, Listed] = {
    "alias-contained": Listed("short_answer:AliasContained", kind="short-answer"),
    "boxed-any": Listed("math.boxed:BoxedAny", kind="math"),
    "code": Listed("code:Code", kind="code"),
    "constraints": Listed("constraints:Constraints"),
    "contains-reference": Listed("math.naive:ContainsReference", kind="math"),
    "exact-match": Listed("short_answer:ExactMatch", kind="short-answer"),
    "first-boxed": Listed("math.naive:FirstBoxed", kind="math"),
    "format": Listed("format:Format", channel="format"),
    "hybrid": Listed("combined.hybrid:Hybrid"),
    "judge": Listed("judges.remote:Judge", kind="judge"),
    "judge-local": Listed("judges.local:LocalJudge", needs_torch=True, kind="judge"),
    "last-number": Listed("math.naive:LastNumber", kind="math"),
    "learned": Listed("models.learned:Learned", needs_torch=True),
    "math": Listed("math.verifier:Mathematics", kind="math"),
    "monitor": Listed("monitor:Monitor", channel="monitor"),
    "probe": Listed("probes.detector:ProbeDetector", channel="probe"),
    "process": Listed("models.process:Process", channel="process", needs_torch=True),
    "rubric": Listed("combined.rubric:Rubric"),
}


class UnknownVerifierError(ValueError):
    """No verifier has this name."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a verifier, with the value that it has where none is given."""

    name: str
    default: Any


def known_names() -> tuple[str, ...]:
    """The names that `build` accepts, sorted."""
    return tuple(sorted(BUILT_IN))


def listed(name: str) -> Listed:
    """What is known of the verifier without loading it. Raises UnknownVerifierError."""
    if name not in BUILT_IN:
        known = ", ".join(known_names())
        raise UnknownVerifierError(f"unknown verifier {name!r}; known verifiers: {known}")
    return BUILT_IN[name]


def parameters_of(name: str) -> tuple[Parameter, ...]:
    """The parameters that decide the verifier's verdicts. Raises UnknownVerifierError."""
    fields = dataclasses.fields(listed(name).load())
    return tuple(Parameter(field.name, field.default) for field in fields if field.compare)


def build(name: str, **params: object) -> Verifier:
    """The verifier of this name with these parameters.

    Raises UnknownVerifierError (its text names the known ones), and ParameterError, naming the
    parameter, for one that the verifier does not take or whose value is out of range.
    """
    kind = listed(name).load()
    taken = [field.name for field in dataclasses.fields(kind) if field.init]
    for given in params:
        if given not in taken:
            known = ", ".join(taken) or "none"
            raise ParameterError(f"{given}: {name} takes no such parameter; it takes: {known}")
    verifier: Verifier = kind(**params)
    return verifier
