"""IFEval's instructions on how many words, sentences and paragraphs there are."""

import re
from collections.abc import Callable

from trainer.verifiers.constraints.base import Instruction, count, position, relation, text
from trainer.verifiers.constraints.text import sentences, words

Relation = Callable[[int, int], bool]

_FIRST_WORD = re.compile(r"""['"]*([^.,?!'"]*)""")


def _word_count(response: str, wanted: int, compare: Relation) -> bool:
    return compare(len(words(response)), wanted)


def _sentence_count(response: str, wanted: int, compare: Relation) -> bool:
    return compare(len(sentences(response)), wanted)


def _paragraph_count(response: str, wanted: int) -> bool:
    """Paragraphs stand between "***"; only before the first and after the last may be nothing."""
    paragraphs = [part.strip() for part in response.split("***")]
    if not all(paragraphs[1:-1]):
        return False
    return sum(map(bool, paragraphs)) == wanted


def _nth_paragraph_starts(response: str, wanted: int, nth: int, first_word: str) -> bool:
    """Paragraphs stand between empty lines."""
    paragraphs = [part.strip() for part in response.split("\n\n") if part.strip()]
    if len(paragraphs) != wanted or nth > wanted:
        return False
    start = _FIRST_WORD.match(paragraphs[nth - 1].split()[0])
    return start is not None and start[1].lower() == first_word.lower()


INSTRUCTIONS = {
    "length_constraints:nth_paragraph_first_word": Instruction(
        _nth_paragraph_starts,
        {"num_paragraphs": count, "nth_paragraph": position, "first_word": text},
    ),
    "length_constraints:number_paragraphs": Instruction(
        _paragraph_count, {"num_paragraphs": count}
    ),
    "length_constraints:number_sentences": Instruction(
        _sentence_count, {"num_sentences": count, "relation": relation}
    ),
    "length_constraints:number_words": Instruction(
        _word_count, {"num_words": count, "relation": relation}
    ),
}
