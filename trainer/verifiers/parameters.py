"""Checks of parameters that several verifiers make. Each raises ParameterError, naming the one."""

import dataclasses
from collections.abc import Collection
from typing import Any, TypeVar

from trainer.verifiers.base import ParameterError

_Group = TypeVar("_Group")


def taken(group: type[_Group], verifier: object) -> _Group:
    """The dataclass, made of the verifier's parameters that have its fields' names."""
    names = [field.name for field in dataclasses.fields(group)]  # type: ignore[arg-type]
    return group(**{name: getattr(verifier, name) for name in names})


def whole(name: str, value: Any, *, least: int, most: int) -> None:
    """The value is a whole number in [least, most]."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not least <= value <= most:
        raise ParameterError(f"{name}: must be a whole number from {least} to {most}")


def number(name: str, value: Any, *, least: float, most: float) -> None:
    """The value is a number in [least, most]."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:
        raise ParameterError(f"{name}: must be a number from {least} to {most}")


def seconds(name: str, value: Any) -> None:
    """The value is a duration over zero, of a day at most."""
    number(name, value, least=0, most=86_400)
    if not value:
        raise ParameterError(f"{name}: must be over 0")


def text(name: str, value: Any, *, longest: int = 1_000) -> None:
    """The value is a text that is not blank."""
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        raise ParameterError(f"{name}: must be a text of 1 to {longest} characters")


def one_of(name: str, value: Any, known: Collection[str]) -> None:
    """The value is one of the known words."""
    if not isinstance(value, str) or value not in known:
        raise ParameterError(f"{name}: must be one of {', '.join(sorted(known))}")
