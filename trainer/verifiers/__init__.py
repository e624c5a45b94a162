"""Verifiers: programs that judge a rollout. Free of torch and of Django at import time."""

from trainer.verifiers.base import Item, Outcome, Verdict, VerdictError, Verifier
from trainer.verifiers.registry import UnknownVerifierError, build, known_names

__all__ = [
    "Item",
    "Outcome",
    "UnknownVerifierError",
    "Verdict",
    "VerdictError",
    "Verifier",
    "build",
    "known_names",
]
