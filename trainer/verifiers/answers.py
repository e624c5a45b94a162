r"""What a response in mathematics commits to: the text of its final answer, and how it was found.

The box comes first: what is in the last `\boxed{}` is the answer. Boxes that belong together
(`\boxed{1} and \boxed{2}`) are one list. Without a box the first sentence that says "answer"
counts, then the last formula or number; both are found by Math-Verify.
"""

# Signs that look like others are what this file is about.
# ruff: noqa: RUF001

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

from trainer.verifiers.math import boxed_spans

# What is in a box for show: blanks, and TeX that prints nothing.
_EMPTY_BOX = re.compile(r"(?:\s|\\[ ,;:!]|~|\\q?quad|\\[hv]?phantom\s*\{[^{}]*\})*")
_OPENED_BOX = re.compile(r"\\boxed\s*\{\Z")
# Boxes are parts of one answer when next to nothing is between them, or a short text with a
# conjunction: the distances are Math-Verify's.
_CLOSE, _NEAR = 10, 70
_CONJUNCTION = re.compile(r"\b(?:and|or)\b|[,;]")
_PERCENT_AFTER = re.compile(r"[\s$]*(?:\\[\])])?\s*(?:\\?%|(?i:percent(?:age)?|pct)\b)")
_UNIT_AFTER = re.compile(r"[\s$*]*(?:\\[\])])?\s*([A-Za-z./]{2,20}(?: per [a-z]{2,12})?)")

_NUMBER = r"(?<![\w.])[-+]?\$?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?(?![0-9])"
_ENUMERATION = re.compile(
    rf"{_NUMBER}(?:(?:\s*,\s+(?:or\s+|and\s+)?|\s+or\s+|\s+and\s+){_NUMBER})+"
)

_TAG = re.compile(r"(</?think(?:ing)?>)", re.IGNORECASE)

_ANCHORED = [
    LatexExtractionConfig(try_extract_without_anchor=False, boxed_match_priority=-1),
    ExprExtractionConfig(try_extract_without_anchor=False),
]
_ANYWHERE = [LatexExtractionConfig(boxed_match_priority=-1), ExprExtractionConfig()]

_UNICODE = str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "×": r"\times ",
        "÷": r"\div ",
        "·": r"\cdot ",
        "π": r"\pi ",
        "∞": r"\infty ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "±": r"\pm ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∈": r"\in ",
        "∅": r"\emptyset ",
        "°": r"^\circ ",
        "²": "^2",
        "³": "^3",
        "½": r"\frac{1}{2}",
        "¼": r"\frac{1}{4}",
        "¾": r"\frac{3}{4}",
        "…": r"\ldots ",
        "％": r"\%",
        "（": "(",
        "）": ")",
        "，": ",",
        **{chr(ord("０") + digit): str(digit) for digit in range(10)},
    }
)
# A backslash too many before a box, or before a digit where a dollar sign got lost.
_ESCAPED_TWICE = re.compile(r"\\(?=\\f?boxed\b)|(?<!\\)\\(?=[0-9])")
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|([0-9]+(?:\.[0-9]+)?|[A-Za-z]))")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was written.

    text: the answer, with the percent sign that follows it. parsed: Math-Verify's expressions
    where it found the answer itself, else None: the text is to be read as a formula. path:
    "boxed", "boxes" (several different ones), "anchored" ("the answer is ..."), "bare".
    candidates: how many different answers stand there. after: what follows the answer.
    """

    text: str
    parsed: tuple[Any, ...] | None
    path: str
    candidates: int
    after: str = ""


def without_thinking(response: str) -> str:
    """The response without what stands between think tags, also when one of the two is missing."""
    kept: list[str] = []
    is_thinking = False
    for part in _TAG.split(response):
        if not _TAG.fullmatch(part):
            kept.append("" if is_thinking else part)
            continue
        if part.startswith("</") and not is_thinking:
            kept.clear()
        is_thinking = not part.startswith("</")
    return "".join(kept)


def in_latex(text: str) -> str:
    """The text with the signs of mathematics that Unicode has written in LaTeX."""
    rooted = _ROOT.sub(lambda match: rf"\sqrt{{{match[1] or match[2]}}}", text)
    return _ESCAPED_TWICE.sub("", rooted).translate(_UNICODE)


def final_answer(response: str) -> Answer | None:
    """What the response commits to; None where it gives no answer."""
    text = in_latex(without_thinking(response)).replace(r"\fbox", r"\boxed")
    spans = [
        (start, end)
        for start, end in boxed_spans(text)
        if not _EMPTY_BOX.fullmatch(text, start, end)
    ]
    if not spans:
        return _unboxed_answer(text)
    boxed = _boxed_answer(text, spans)
    said = _said_after(text[spans[-1][1] + 1 :])
    if said is None or squeezed(said.text) == squeezed(boxed.text):
        return boxed
    return Answer(said.text, said.parsed, "anchored", boxed.candidates + 1, said.after)


def boxed_text(text: str) -> str | None:
    """What the last boxes of the text say, as `final_answer` reads them; None without a box."""
    spans = boxed_spans(text)
    return _boxed_answer(text, spans).text if spans else None


def squeezed(text: str) -> str:
    """The text without what makes no difference: blanks, dollars, sizes of brackets, fonts."""
    return re.sub(r"\\left|\\right|\\[,;:! ]|\s|\$|\\(?:text|mathrm|mbox|textbf)\b", "", text)


def _boxed_answer(text: str, spans: Sequence[tuple[int, int]]) -> Answer:
    last = len(spans) - 1
    first = last
    while first and _belong_together(text, spans[first - 1], spans[first]):
        first -= 1
    parts = list(dict.fromkeys(text[start:end].strip() for start, end in spans[first:]))
    different = {squeezed(text[start:end]) for start, end in spans}
    after = text[spans[last][1] + 1 :][:40]
    percent = r"\%" if _PERCENT_AFTER.match(after) and "%" not in parts[-1] else ""
    path = "boxed" if len(different) == 1 else "boxes"
    return Answer(",".join(parts) + percent, None, path, len(different), after)


def _belong_together(text: str, one: tuple[int, int], other: tuple[int, int]) -> bool:
    between = _OPENED_BOX.sub("", text[one[1] + 1 : other[0]])
    if len(between) < _CLOSE:
        return True
    is_repeated = text[slice(*one)].strip() == text[slice(*other)].strip()
    return not is_repeated and len(between) < _NEAR and bool(_CONJUNCTION.search(between))


def _said_after(text: str) -> Answer | None:
    """The "final answer is ..." that follows the last box."""
    start = text.lower().rfind("final answer")
    return _extracted(text[start:], _ANCHORED, "anchored") if start >= 0 else None


def _unboxed_answer(text: str) -> Answer | None:
    plain = text.replace(r"\$", "")
    return _extracted(plain, _ANCHORED, "anchored") or _extracted(plain, _ANYWHERE, "bare")


def _extracted(text: str, config: Sequence[Any], path: str) -> Answer | None:
    parsed = tuple(parse(text, config, parsing_timeout=None, raise_on_error=True))
    if not parsed:
        return None
    written = parsed[-1] if isinstance(parsed[-1], str) else str(parsed[-1])
    enumeration = _enumeration_with(text, written)
    if enumeration is not None:
        parts = re.findall(_NUMBER, enumeration)
        return Answer(", ".join(parts), None, path, len(set(parts)))
    start = text.rfind(written)
    after = text[start + len(written) :][:40] if start >= 0 else ""
    percent = r"\%" if _PERCENT_AFTER.match(after) and "%" not in written else ""
    return Answer(written + percent, parsed, path, 1, after)


def _enumeration_with(text: str, number: str) -> str | None:
    """The last "10, 11 or 12" of which this number is a part, where it is not followed by
    the number once more, by itself."""
    found = None
    for match in _ENUMERATION.finditer(text):
        if number in re.findall(_NUMBER, match[0].replace("$", "")):
            found = match
    if found is None or re.search(rf"(?<![\w.]){re.escape(number)}(?![\w.])", text[found.end() :]):
        return None
    return found[0].replace("$", "")
