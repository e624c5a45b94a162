"""Verifiers: programs that judge a rollout. Free of torch and of Django at import time."""

from trainer.verifiers.base import (
    Item,
    Outcome,
    ParameterError,
    Verdict,
    VerdictError,
    Verifier,
    params_of,
    undecided,
    version_of,
)
from trainer.verifiers.registry import (
    BUILT_IN,
    UnknownVerifierError,
    build,
    known_names,
    listed,
    parameters_of,
)

__all__ = [
    "BUILT_IN",
    "Item",
    "Outcome",
    "ParameterError",
    "UnknownVerifierError",
    "Verdict",
    "VerdictError",
    "Verifier",
    "build",
    "known_names",
    "listed",
    "parameters_of",
    "params_of",
    "undecided",
    "version_of",
]
