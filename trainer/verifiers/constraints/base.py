"""What an instruction is: a check of the response, and the arguments that it takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.verifiers.texts import visible

# Reads an argument as JSON holds it; raises ArgumentError.
Reader = Callable[[object], Any]

_MOST = 1_000_000


class ArgumentError(ValueError):
    """An instruction's argument cannot be used; the text is the rule that it breaks."""


class CannotTellError(ValueError):
    """The response gives no way to tell whether it follows the instruction; the text says why."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """A kind of verifiable instruction.

    check: called with the response and the arguments, in the order in which they stand here;
    says whether the response follows. It is linear in the response, and raises nothing but
    CannotTellError. arguments: by the names that the benchmarks give them.
    """

    check: Callable[..., bool]
    arguments: Mapping[str, Reader] = field(default_factory=dict)


def count(value: object) -> int:
    """A whole number of at least 0; data sets write some as 5.0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ArgumentError(f"must be a whole number from 0 to {_MOST}")
    return value


def position(value: object) -> int:
    """A place in a row, from 1."""
    number = count(value)
    if number < 1:
        raise ArgumentError("must be at least 1: places are counted from 1")
    return number


def percentage(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise ArgumentError("must be a number from 0 to 100")
    return float(value)


def text(value: object) -> str:
    """A text that is not blank, without the blanks around it, as the response is read."""
    found = visible(value).strip() if isinstance(value, str) else ""
    if not found:
        raise ArgumentError("must be a text that is not blank")
    return found


def texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ArgumentError("must be a list of at least one text")
    return tuple(map(text, value))


def character(value: object) -> str:
    if not isinstance(value, str) or len(value.strip()) != 1:
        raise ArgumentError("must be one character")
    return value.strip()


# What the benchmarks' relations say of a number found and the number asked for.
_RELATIONS: Mapping[str, Callable[[int, int], bool]] = {
    "less than": int.__lt__,
    "at least": int.__ge__,
}


def relation(value: object) -> Callable[[int, int], bool]:
    """The comparison of the number found with the number asked for."""
    if not isinstance(value, str) or value not in _RELATIONS:
        raise ArgumentError(f"must be one of: {', '.join(_RELATIONS)}")
    return _RELATIONS[value]
