"""The built-in verifiers by name."""

from collections.abc import Callable

from trainer.verifiers.base import Verifier
from trainer.verifiers.math import BoxedAny
from trainer.verifiers.short_answer import AliasContained, ExactMatch

_BUILDERS: dict[str, Callable[..., Verifier]] = {
    "alias-contained": AliasContained,
    "boxed-any": BoxedAny,
    "exact-match": ExactMatch,
}


class UnknownVerifierError(ValueError):
    """No verifier has this name."""


def known_names() -> tuple[str, ...]:
    """The names that `build` accepts, sorted."""
    return tuple(sorted(_BUILDERS))


def build(name: str, **params: object) -> Verifier:
    """The verifier of this name.

    Raises UnknownVerifierError (its text names the known ones), and TypeError for parameters
    that the verifier does not take.
    """
    if name not in _BUILDERS:
        known = ", ".join(known_names())
        raise UnknownVerifierError(f"unknown verifier {name!r}; known verifiers: {known}")
    return _BUILDERS[name](**params)
