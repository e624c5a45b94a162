"""IFEval's instructions on words that must, or must not, occur."""

from collections.abc import Callable, Sequence

from trainer.verifiers.constraints.base import (
    Instruction,
    character,
    count,
    relation,
    text,
    texts,
)
from trainer.verifiers.constraints.text import has_word

Relation = Callable[[int, int], bool]


def _has_all(response: str, keywords: Sequence[str]) -> bool:
    lowered = response.lower()
    return all(keyword.lower() in lowered for keyword in keywords)


def _has_as_often(response: str, keyword: str, wanted: int, compare: Relation) -> bool:
    return compare(response.lower().count(keyword.lower()), wanted)


def _has_none(response: str, forbidden: Sequence[str]) -> bool:
    return not any(has_word(response, word) for word in forbidden)


INSTRUCTIONS = {
    "keywords:existence": Instruction(_has_all, {"keywords": texts}),
    "keywords:forbidden_words": Instruction(_has_none, {"forbidden_words": texts}),
    "keywords:frequency": Instruction(
        _has_as_often, {"keyword": text, "frequency": count, "relation": relation}
    ),
    "keywords:letter_frequency": Instruction(
        _has_as_often, {"letter": character, "let_frequency": count, "let_relation": relation}
    ),
}
