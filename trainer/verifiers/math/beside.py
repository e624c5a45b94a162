r"""What stands beside a number and makes it another one, or one of several.

Math-Verify drops upright words behind a number (`5\text{ million}`) and adds up numbers that stand
side by side (`12 5`). What can be read is rewritten before it reads; what cannot is looked for
afterwards.
"""

import re

UPRIGHT = re.compile(r"\\(?:text|mathrm|mbox|textbf|textnormal|textit|operatorname)\s*\{([^{}]*)\}")
_CONSTANT = re.compile(r"([A-Za-z])?\\(?:text|mathrm|operatorname)\s*\{\s*([ie])\s*\}")
_REALS = re.compile(r"\s*(?:[a-z]\s*\\in\s*)?\\mathbb\s*(?:R|\{\s*R\s*\})\s*")
_CONNECTIVE = re.compile(r"\s*(?:,\s*(?:and|or)\b|\b(?:and|or)\b|,)\s*")
_VALUES = re.compile(r"(?:\s|[-+=.,]|[0-9]|\b[A-Za-z]\b)*")
BLANK = r"(?:\s|\\[,;:! ]|~|\\q?quad(?![A-Za-z]))"
_THOUSANDS = re.compile(rf"(?<![0-9.,])[0-9]{{1,3}}(?:{BLANK}[0-9]{{3}})+(?![0-9])")
_MIXED = re.compile(rf"(?<![0-9.,])([0-9]+){BLANK}+([0-9]+)\s*/\s*([0-9]+)(?![0-9.,])")
_SIDE_BY_SIDE = re.compile(rf"[0-9](?:{BLANK}*\(\s*|{BLANK}+)[0-9]")
_SCALES = re.compile(
    r"(?<!\\)\b(hundred|thousand|million|billion|trillion|dozen|factorial|squared|cubed|half|third|quarter"
    r"|twice|times|minus|negative|plus)(?:s|es|ths?)?\b",
    re.IGNORECASE,
)
_SCALE_BEHIND = re.compile(rf"[\s$.)\]*]*{_SCALES.pattern}", re.IGNORECASE)


def rewritten(text: str) -> str:
    r"""The formula with what upright letters and blanks mean spelt so that it is read: `\mathrm{e}`
    as e, `2\text{ or }3` as 2,3, `12\,000` as 12000, `1 1/2` as 1\frac{1}{2}, `\mathbb{R}` as
    (-\infty,\infty)."""
    if _REALS.fullmatch(text):
        return r"(-\infty,\infty)"
    text = _CONSTANT.sub(lambda match: f"{match[1]} {match[2]}" if match[1] else match[2], text)
    # "x < 1 or x > 2" is one set, and no list.
    if not re.search(r"[<>]|\\[lg]e", text):
        text = UPRIGHT.sub(_as_list, text)
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    return _THOUSANDS.sub(lambda match: re.sub(BLANK, "", match[0]), text)


def says_more(text: str) -> bool:
    """Whether upright words give a number or name a choice, all of which the library drops."""
    return any(re.search(r"[0-9,]|\b(?:and|or)\b", said) for said in UPRIGHT.findall(text))


def has_number_beside(text: str) -> bool:
    """Whether two numbers stand side by side."""
    return bool(_SIDE_BY_SIDE.search(text))


def scales(text: str, after: str = "") -> list[str]:
    """The words that change what a number counts, in a formula and right behind it."""
    behind = _SCALE_BEHIND.match(after)
    found = _SCALES.findall(text) + ([behind[1]] if behind else [])
    return sorted(word.lower() for word in found)


def _as_list(upright: re.Match[str]) -> str:
    said = upright[1]
    if _CONNECTIVE.search(said) and _VALUES.fullmatch(_CONNECTIVE.sub(",", said)):
        return _CONNECTIVE.sub(",", said)
    return upright[0]
