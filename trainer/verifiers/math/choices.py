r"""The choices of a question: letters alone, and before what they stand for.

References of competitions name both, `\textbf{(A)}\ 5`; answers name both or either.
"""

import re

from trainer.verifiers.math.beside import BLANK

_LETTER = r"\(\s*([A-J])\s*\)"
_BLANKS = rf"(?:{BLANK}|\\hspace\*?\{{[^{{}}]*\}})*"
_FONT = r"(?:\\(?:text|textbf|textrm|textnormal|mathrm|mathbf|mbox)\s*\{|\{\s*\\(?:bf|rm)(?![a-z]))"
_SET_APART = re.compile(rf"\s*{_FONT}{_BLANKS}{_LETTER}{_BLANKS}\}}{_BLANKS}(.*)", re.DOTALL)
# Behind a plain letter only numbers: "(C) x" may be a product, "(A) \cap (B)" a set.
_PLAIN = re.compile(rf"\s*{_LETTER}{BLANK}+([0-9]|\\[dt]?frac|\\sqrt)(.*)", re.DOTALL)
_BEFORE_FORMULA = re.compile(rf"{_LETTER}\s*\$([^$]+)\$")
_ALONE = re.compile(rf"{_FONT}?\(?([A-J])\)?\}}?\.?")
_AT_THE_END = re.compile(rf"(?<![\w)]){_LETTER}[\s$]*$")
_LONGEST_ALONE = 40
# Another letter, a list, a word or a denial: more than one value.
_MORE = re.compile(r"[A-Z,;:]|\\(?:ne|not|lor|vee|or|and|text|math|mbox|quad|qquad)|[a-z]{3}")
_COMMAND = re.compile(r"\\(?:[dt]?frac|sqrt|pi|cdot|times|left|right|infty|log|ln|sin|cos|tan)\b")


def choice_before(text: str) -> tuple[str, str] | None:
    r"""The letter that stands before what it is the choice of, and that."""
    if match := _SET_APART.fullmatch(text):
        return (match[1], match[2]) if match[2].strip() else None
    if (match := _PLAIN.fullmatch(text)) and is_one_value(match[2] + match[3]):
        return match[1], match[2] + match[3]
    return None


def choice_alone(text: str) -> str | None:
    """The letter, if the text is one and nothing else."""
    if len(text) > _LONGEST_ALONE:
        return None
    match = _ALONE.fullmatch(re.sub(BLANK, "", text))
    return match[1] if match else None


def letter_before(text: str) -> str | None:
    """The letter of a choice at the end of a text, right before what it stands for."""
    match = _AT_THE_END.search(text[-_LONGEST_ALONE:])
    return match[1] if match else None


def without_letters(text: str) -> str:
    """Prose in which only what the choices stand for is left."""
    return re.sub(rf"{_LETTER}\s*", "", text)


def is_one_value(text: str) -> bool:
    """Whether it is a plain formula: no list, no words, no other choice."""
    return not _MORE.search(_COMMAND.sub(" ", text))


def with_letter_in_formula(reference: str) -> str:
    """`(A) $5$` as one formula."""
    match = _BEFORE_FORMULA.fullmatch(reference)
    return in_formula(match[1], match[2]) if match else reference


def in_formula(letter: str, value: str) -> str:
    return rf"\text{{({letter})}}\ {value}"
