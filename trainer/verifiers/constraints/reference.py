"""What a prompt's reference asks: its instructions, read from JSON as IFEval has it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trainer.verifiers.constraints import (
    counts,
    custom,
    detectable,
    keywords,
    layout,
    length,
    ratios,
    repeats,
    single_sentences,
    single_words,
    whole,
)
from trainer.verifiers.constraints.base import ArgumentError, Instruction

_FAMILIES = (
    counts,
    custom,
    detectable,
    keywords,
    layout,
    length,
    ratios,
    repeats,
    single_sentences,
    single_words,
    whole,
)
# By the identifiers of IFEval and IFBench.
INSTRUCTIONS: Mapping[str, Instruction] = {
    name: instruction for family in _FAMILIES for name, instruction in family.INSTRUCTIONS.items()
}


class BadReferenceError(ValueError):
    """A reference names no instructions that can be checked; the text names the field."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An instruction with its arguments, as one prompt asks it."""

    name: str
    instruction: Instruction
    arguments: tuple[Any, ...]

    def is_followed(self, response: str) -> bool:
        """Raises CannotTellError. A blank response follows nothing."""
        return bool(response.strip()) and self.instruction.check(response, *self.arguments)


# The rollouts of a group share one reference.
@lru_cache(maxsize=1024)
def instructions_of(reference: str) -> tuple[Asked, ...]:
    """The instructions of `{"instruction_id_list": [...], "kwargs": [{...}, ...]}`.

    Arguments that are null are not given. Raises BadReferenceError, naming the field.
    """
    try:
        data = json.loads(reference)
    except (ValueError, RecursionError):
        raise BadReferenceError("reference: must be JSON") from None
    if not isinstance(data, dict):
        raise BadReferenceError("reference: must be a JSON object")
    names, kwargs = data.get("instruction_id_list"), data.get("kwargs")
    if not isinstance(names, list) or not names:
        raise BadReferenceError("instruction_id_list: must be a list of at least one instruction")
    if not isinstance(kwargs, list) or len(kwargs) != len(names):
        raise BadReferenceError(f"kwargs: must be a list of {len(names)} objects")
    return tuple(_asked(names, kwargs))


def _asked(names: list[Any], kwargs: list[Any]) -> Iterator[Asked]:
    for index, (name, given) in enumerate(zip(names, kwargs, strict=True)):
        if not isinstance(name, str) or name not in INSTRUCTIONS:
            raise BadReferenceError(
                f"instruction_id_list[{index}]: unknown instruction {str(name)[:80]!r}"
            )
        if not isinstance(given, dict | None):
            raise BadReferenceError(f"kwargs[{index}]: must be an object")
        instruction = INSTRUCTIONS[name]
        yield Asked(name, instruction, _arguments(instruction, given or {}, at=f"kwargs[{index}]"))


def _arguments(instruction: Instruction, given: Mapping[str, Any], *, at: str) -> tuple[Any, ...]:
    for name, value in given.items():
        if value is not None and name not in instruction.arguments:
            raise BadReferenceError(f"{at}.{name[:80]}: the instruction takes no such argument")
    arguments = []
    for name, read in instruction.arguments.items():
        if given.get(name) is None:
            raise BadReferenceError(f"{at}.{name}: is missing")
        try:
            arguments.append(read(given[name]))
        except ArgumentError as error:
            raise BadReferenceError(f"{at}.{name}: {error}") from None
    return tuple(arguments)
