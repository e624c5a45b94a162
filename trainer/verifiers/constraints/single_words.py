"""IFBench's `words` instructions: what each word is to be like."""

import re
import string
from collections import Counter
from itertools import pairwise

from trainer.verifiers.constraints.base import Instruction, count, position, text
from trainer.verifiers.constraints.text import (
    bare_words,
    lines,
    sentences,
    stripped_words,
    tokens,
)

_CLUSTER = re.compile(r"[bcdfghjklmnpqrstvwxyz]{2}")
_PALINDROMES = 10
_PALINDROME_LENGTH = 5
_MOST_VOWELS = 3


def _alphabet(response: str) -> bool:
    """Each word begins with the letter after the last one's, "a" after "z"."""
    initials = [word[0] for word in bare_words(response.lower())]
    if not initials or initials[0] not in string.ascii_lowercase:
        return False
    start = string.ascii_lowercase.index(initials[0])
    return all(
        initial == string.ascii_lowercase[(start + place) % 26]
        for place, initial in enumerate(initials)
    )


def _consonant_clusters(response: str) -> bool:
    found = stripped_words(response.lower())
    return bool(found) and all(map(_CLUSTER.search, found))


def _keyword_at(response: str, keyword: str, sentence: int, word: int) -> bool:
    found = sentences(response)
    if len(found) < sentence:
        return False
    in_sentence = tokens(found[sentence - 1])
    return len(in_sentence) >= word and in_sentence[word - 1].lower() == keyword.lower()


def _last_word_first(response: str) -> bool:
    """A sentence begins with the word that the one before ends with."""
    cut = [stripped_words(sentence.lower()) for sentence in sentences(response)]
    return all(cut) and all(before[-1] == after[0] for before, after in pairwise(cut))


def _paragraph_last_word_first(response: str) -> bool:
    """A paragraph is a line; lone punctuation is none."""
    cut = list(filter(None, (stripped_words(line.lower()) for line in lines(response))))
    return bool(cut) and all(found[0] == found[-1] for found in cut)


def _no_initial_twice_running(response: str) -> bool:
    found = bare_words(response.lower())
    return all(before[0] != after[0] for before, after in pairwise(found))


def _palindromes(response: str) -> bool:
    found = bare_words(response.lower())
    long = (word for word in found if len(word) >= _PALINDROME_LENGTH)
    return sum(word == word[::-1] for word in long) >= _PALINDROMES


def _prime_lengths(response: str) -> bool:
    return all(map(_is_prime, set(map(len, bare_words(response)))))


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def _repeats(response: str, most: int) -> bool:
    found = Counter(bare_words(response.lower()))
    return max(found.values(), default=0) <= most


def _three_vowels(response: str) -> bool:
    """One paragraph with at most three of the five vowels."""
    stripped = response.strip().lower()
    return "\n" not in stripped and len(set("aeiou") & set(stripped)) <= _MOST_VOWELS


def _second_words(response: str, keyword: str) -> bool:
    """The keyword is the second word, and the last but one."""
    found = [word.lower() for word in tokens(response)]
    return len(found) > 1 and found[1] == found[-2] == keyword.lower()


INSTRUCTIONS = {
    "words:alphabet": Instruction(_alphabet),
    "words:consonants": Instruction(_consonant_clusters),
    "words:keywords_specific_position": Instruction(
        _keyword_at, {"keyword": text, "n": position, "m": position}
    ),
    "words:last_first": Instruction(_last_word_first),
    "words:no_consecutive": Instruction(_no_initial_twice_running),
    "words:palindrome": Instruction(_palindromes),
    "words:paragraph_last_first": Instruction(_paragraph_last_word_first),
    "words:prime_lengths": Instruction(_prime_lengths),
    "words:repeats": Instruction(_repeats, {"small_n": count}),
    "words:vowel": Instruction(_three_vowels),
    "words:words_position": Instruction(_second_words, {"keyword": text}),
}
