"""IFBench's `count` instructions: how many words of a kind there are."""

import re

from trainer.verifiers.constraints.base import Instruction, count, position, text
from trainer.verifiers.constraints.text import (
    NO_PUNCTUATION,
    count_word,
    stripped_words,
    words,
)

_CONJUNCTIONS = frozenset({"and", "but", "for", "nor", "or", "so", "yet"})
# Personal, possessive, reflexive, demonstrative, interrogative and relative, indefinite.
_PRONOUNS = frozenset(
    words(
        "i me we us you he him she her it they them"
        " my mine our ours your yours his hers its their theirs"
        " myself ourselves yourself yourselves himself herself itself themselves"
        " this that these those who whom whose which what whoever whomever whatever whichever"
        " anybody anyone anything everybody everyone everything nobody nothing somebody someone"
        " something each either neither both all some any none"
    )
)
# The names that the instruction itself lists.
_NAMES = frozenset(
    words(
        "Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte"
        " Alexander Amelia Benjamin Harper Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen"
        " Abigail Gabriel Ella Jacob Scarlett Nathan Victoria Elijah Layla Nicholas Audrey David"
        " Hannah Christopher Penelope Thomas Nora Andrew Aria Joseph Claire Ryan Stella Jonathan"
    )
)
_TIMES = (1, 2, 3, 5, 7)
_JAPANESE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
_INTERROBANG = re.compile(r"\?!|!\?|‽")


def _conjunctions(response: str, wanted: int) -> bool:
    found = {word.lower() for word in stripped_words(response)} & _CONJUNCTIONS
    return len(found) >= wanted


def _keywords(response: str, *keywords: str) -> bool:
    """The first keyword once, the others twice, three, five and seven times."""
    return all(
        count_word(response, keyword) == times
        for keyword, times in zip(keywords, _TIMES, strict=True)
    )


def _numbers(response: str, wanted: int) -> bool:
    """ASCII punctuation is no part of a number and parts none: 1,000.5 is one."""
    return len(re.findall(r"\d+", response.translate(NO_PUNCTUATION))) == wanted


def _person_names(response: str, wanted: int) -> bool:
    """Different names of the list, with their capital."""
    return len(set(words(response)) & _NAMES) >= wanted


def _pronouns(response: str, wanted: int) -> bool:
    return sum(word.lower() in _PRONOUNS for word in words(response)) >= wanted


def _punctuation(response: str) -> bool:
    """Full stop, comma, both marks, semicolon and colon beside an interrobang."""
    rest, interrobangs = _INTERROBANG.subn("", response, count=1)
    return interrobangs == 1 and all(mark in rest for mark in ".,!?;:")


def _unique_words(response: str, wanted: int) -> bool:
    return len({word.lower() for word in stripped_words(response)}) >= wanted


def _word_range(response: str, least: int, most: int) -> bool:
    return least <= len(words(response)) <= most


def _nth_words_japanese(response: str, n: int) -> bool:
    """Numbers and lone punctuation may stand at such a place as they are."""
    nth = response.split()[n - 1 :: n]
    return all(_JAPANESE.search(word) for word in nth if not _is_number_or_mark(word))


def _is_number_or_mark(word: str) -> bool:
    bare = word.translate(NO_PUNCTUATION)
    return not bare or bare.isdigit()


INSTRUCTIONS = {
    "count:conjunctions": Instruction(_conjunctions, {"small_n": count}),
    "count:keywords_multiple": Instruction(
        _keywords, {f"keyword{number}": text for number in range(1, 6)}
    ),
    "count:numbers": Instruction(_numbers, {"N": count}),
    "count:person_names": Instruction(_person_names, {"N": count}),
    "count:pronouns": Instruction(_pronouns, {"N": count}),
    "count:punctuation": Instruction(_punctuation),
    "count:unique_word_count": Instruction(_unique_words, {"N": count}),
    "count:word_count_range": Instruction(_word_range, {"min_words": count, "max_words": count}),
    "count:words_japanese": Instruction(_nth_words_japanese, {"N": position}),
}
