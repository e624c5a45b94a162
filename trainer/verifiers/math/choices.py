r"""The choices of a question: letters before what they stand for, and alone.

References of competitions name both, `\textbf{(A)}\ 5`; answers name both or either.
"""

import re

from trainer.verifiers.math.beside import BLANK

_LETTER = r"\(\s*([A-J])\s*\)"
_BLANKS = rf"(?:{BLANK}|\\hspace\*?\{{[^{{}}]*\}})*"
_FONT = r"(?:\\(?:text|textbf|textrm|textnormal|mathrm|mathbf|mbox)\s*\{|\{\s*\\(?:bf|rm)(?![a-z]))"
_SET_APART = re.compile(rf"\s*{_FONT}{_BLANKS}{_LETTER}{_BLANKS}\}}{_BLANKS}(.*)", re.DOTALL)
# Two letters in brackets may be multiplied, or be sets: `(A) \cap (B)`.
_PLAIN = re.compile(
    rf"\s*{_LETTER}{BLANK}+((?:[0-9$A-Za-z]|\\[dt]?frac|\\sqrt|\\text).*)", re.DOTALL
)
_ANOTHER = re.compile(rf"{_LETTER}|\b(?:or|and)\b[^A-Za-z0-9]*[A-H]\b")
_ALONE = re.compile(rf"\s*{_FONT}?{_BLANKS}\(?\s*([A-J])\s*\)?\s*\}}?\s*\.?\s*")


def choice_before(text: str) -> tuple[str | None, str]:
    r"""The letter that stands before what it is the choice of, and that; None, and the text, where
    there is no letter, nothing behind it, or another choice."""
    match = _SET_APART.fullmatch(text) or _PLAIN.fullmatch(text)
    if match is None or not match[2].strip() or _ANOTHER.search(match[2]):
        return None, text
    return match[1], match[2]


def choice_alone(text: str) -> str | None:
    """The letter, if the text is one and nothing else."""
    match = _ALONE.fullmatch(text)
    return match[1] if match else None
