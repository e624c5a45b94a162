r"""What a response in mathematics commits to: the text of its final answer, and how it was found.

The box comes first: what is in the last `\boxed{}` is the answer. Boxes that belong together
(`\boxed{1} and \boxed{2}`) are one list. Without a box the last "answer is ..." counts, then the
last formula or number; both are found by Math-Verify. What else is offered as an answer, and what
is said against it, is part of what was found.
"""

# Signs that look like others are what this file is about.
# ruff: noqa: RUF001

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

from trainer.verifiers.math.boxed import boxed_spans
from trainer.verifiers.math.choices import letter_before, without_letters
from trainer.verifiers.math.doubts import doubt_beside, doubt_in_prose
from trainer.verifiers.math.visible import as_seen

# What is in a box for show: blanks, also TeX's.
_EMPTY_BOX = re.compile(r"(?:\s|\\[ ,;:!]|~|\\q?quad)*")
_OPENED_BOX = re.compile(r"\\boxed\s*\{\Z")
# Boxes are parts of one answer when next to nothing is between them, or a short text with a
# conjunction: the distances are Math-Verify's.
_CLOSE, _NEAR = 10, 70
_CONJUNCTION = re.compile(r"\b(?:and|or)\b|[,;]")
_PERCENT_AFTER = re.compile(r"[\s$]*(?:\\[\])])?\s*(?:\\?%|(?i:percent(?:age)?|pct)\b)")

_NUMBER = r"(?<![\w.])[-+]?\$?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?(?![0-9])"
_ENUMERATION = re.compile(
    rf"{_NUMBER}(?:(?:\s*,\s+(?:or\s+|and\s+)?|\s+or\s+|\s+and\s+){_NUMBER})+"
)

_ANSWER_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_INNER_BOX = re.compile(r"\\boxed\s*(?=\{)")
_FINALLY = re.compile(r"final\s+answer", re.IGNORECASE)
CALLED_ANSWER = re.compile(r"answer[\s*_]*(?:is\b|are\b|:|=)", re.IGNORECASE)
# The mark of an answer in GSM8K, where it is no heading.
_HASHES = re.compile(r"^####[ \t]*(?=[-+$]*[0-9][0-9,./]*[ \t]*$)", re.MULTILINE)
_BOLD = re.compile(r"(?<![\w)*])\*\*(?=[^\s*])([^*\n]{1,200})\*\*(?![\w(*])")
# So many of the other answers are compared with the reference.
_MOST_OTHERS = 8

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
    others: the answers given elsewhere that are written otherwise. doubt: why the response may
    not commit to the answer; "" = it does. choice: the letter of the choice that stands right
    before an answer in prose.
    """

    text: str
    parsed: tuple[Any, ...] | None
    path: str
    candidates: int
    after: str = ""
    others: tuple[str, ...] = ()
    doubt: str = ""
    choice: str | None = None


def in_latex(text: str) -> str:
    """The text with the signs of mathematics that Unicode has written in LaTeX."""
    rooted = _ROOT.sub(lambda match: rf"\sqrt{{{match[1] or match[2]}}}", text)
    return _ESCAPED_TWICE.sub("", rooted).translate(_UNICODE)


def final_answer(response: str, problem: str = "") -> Answer | None:
    """What the response commits to; None where it gives no answer."""
    seen = in_latex(as_seen(response)).replace(r"\fbox", r"\boxed")
    text, doubt = _in_answer_tags(seen)
    spans = [
        (start, end)
        for start, end in boxed_spans(text, outermost=True)
        if not _EMPTY_BOX.fullmatch(text, start, end)
    ]
    answer = _boxed_answer(text, spans) if spans else _unboxed_answer(text, in_latex(problem))
    if answer is None:
        return None
    if "\\boxed" in text[spans[-1][1] if spans else 0 :]:
        doubt = doubt or "the last box is empty or not closed"
    return replace(answer, doubt=doubt or answer.doubt)


def boxed_text(text: str) -> str | None:
    """What the last boxes of a reference say; None without a box."""
    spans = boxed_spans(text)
    return _last_boxes(text, spans).text if spans else None


def squeezed(text: str) -> str:
    """The text without what makes no difference: blanks, dollars, sizes of brackets, fonts."""
    return re.sub(r"\\left|\\right|\\[,;:! ]|\s|\$|\\(?:text|mathrm|mbox|textbf)\b", "", text)


def _in_answer_tags(text: str) -> tuple[str, str]:
    """What stands in the one pair of answer tags, whose second may have been cut off, and a doubt
    where they are no pair; without tags all of the text."""
    tags = list(_ANSWER_TAG.finditer(text))
    if not tags:
        return text, ""
    if [tag[1] for tag in tags] not in ([""], ["", "/"]):
        return _ANSWER_TAG.sub(" ", text), "the answer tags are not one pair"
    return text[tags[0].end() : tags[1].start() if len(tags) == 2 else len(text)], ""


def _boxed_answer(text: str, spans: Sequence[tuple[int, int]]) -> Answer:
    boxed = _last_boxes(text, spans)
    rest = text[spans[-1][1] + 1 :]
    start = rest.lower().rfind("final answer")
    said = _extracted(rest[start:], _ANCHORED, "anchored") if start >= 0 else None
    if said is None or squeezed(said.text) == squeezed(boxed.text):
        return boxed
    return replace(said, candidates=boxed.candidates + 1)


def _last_boxes(text: str, spans: Sequence[tuple[int, int]]) -> Answer:
    """The last box, with those before it that belong to it. Others are its rivals, but not to a
    box called the final answer where they are not called so too."""
    last = len(spans) - 1
    first = last
    while first and _belong_together(text, spans[first - 1], spans[first]):
        first -= 1
    contents = [_content(text[start:end].strip()) for start, end in spans]
    parts = list(dict.fromkeys(contents[first:]))
    different = set(map(squeezed, contents))
    rest = text[spans[last][1] + 1 :]
    percent = r"\%" if _PERCENT_AFTER.match(rest) and "%" not in parts[-1] else ""
    ranks = [bool(_FINALLY.search(text[max(0, start - _NEAR) : start])) for start, _ in spans]
    rivals = [
        content
        for content, rank in zip(contents[:first], ranks[:first], strict=True)
        if rank or not ranks[first]
    ]
    return Answer(
        ",".join(parts) + percent,
        None,
        "boxed" if len(different) == 1 else "boxes",
        len(different),
        rest[:40],
        others=_others(rivals, parts),
        doubt=doubt_beside(_OPENED_BOX.sub("", text[: spans[first][0]]), rest),
    )


def _content(box: str) -> str:
    """What is in a box, read through the boxes in it; a box around a box is one box."""
    inner = boxed_spans(box, outermost=True)
    if len(inner) == 1 and _OPENED_BOX.fullmatch(box[: inner[0][0]]) and box[inner[0][1] :] == "}":
        return _content(box[slice(*inner[0])].strip())
    return _INNER_BOX.sub("", box)


def _others(answers: Iterable[str], own: Iterable[str]) -> tuple[str, ...]:
    """The answers that are written otherwise than the response's own, each once."""
    said = {squeezed(answer): answer for answer in answers}
    owned = set(map(squeezed, own))
    return tuple(text for key, text in said.items() if key not in owned)[-_MOST_OTHERS:]


def _belong_together(text: str, one: tuple[int, int], other: tuple[int, int]) -> bool:
    between = _OPENED_BOX.sub("", text[one[1] + 1 : other[0]])
    if len(between) < _CLOSE:
        return True
    is_repeated = text[slice(*one)].strip() == text[slice(*other)].strip()
    return not is_repeated and len(between) < _NEAR and bool(_CONJUNCTION.search(between))


def _unboxed_answer(text: str, problem: str) -> Answer | None:
    """Where the problem is said over again, nothing in it is an answer."""
    said = text.replace(problem, "\n") if len(problem.split()) > 1 else text
    plain = _BOLD.sub(r"\1", _HASHES.sub("The answer is ", said.replace(r"\$", "")))
    return _extracted(plain, _ANCHORED, "anchored") or _extracted(plain, _ANYWHERE, "bare")


def _extracted(text: str, config: Sequence[Any], path: str) -> Answer | None:
    parsed = tuple(parse(text, config, parsing_timeout=None, raise_on_error=True))
    if not parsed:
        return None
    written = parsed[-1] if isinstance(parsed[-1], str) else str(parsed[-1])
    # "(A) 5 or (B) 6" lists two numbers.
    enumeration = _enumeration_with(without_letters(text), written)
    if enumeration is not None:
        parts = re.findall(_NUMBER, enumeration)
        return Answer(", ".join(parts), None, path, len(set(parts)))
    start, end = _place(text, written)
    before, rest = text[:start], text[end:]
    percent = r"\%" if _PERCENT_AFTER.match(rest) and "%" not in written else ""
    choice = letter_before(before)
    if choice:
        # "not (A) 5" denies 5.
        before, rest = without_letters(before), without_letters(rest)
    if path == "bare":
        return Answer(
            written + percent,
            parsed,
            path,
            1,
            rest[:40],
            doubt=doubt_in_prose(before, rest),
            choice=choice,
        )
    others = _said_earlier(before, written)
    return Answer(
        written + percent,
        parsed,
        path,
        1 + len(others),
        rest[:40],
        others,
        doubt_beside(before, rest),
        choice=choice,
    )


def _place(text: str, written: str) -> tuple[int, int]:
    """Where an answer stands last, also with its thousands set apart; the text's end where it
    stands nowhere in these letters."""
    if written.isdecimal():
        grouped = re.compile(rf"(?<![\w.]){',?'.join(written)}(?!\d)")
        spans = [match.span() for match in grouped.finditer(text)]
        if spans:
            return spans[-1]
    start = text.rfind(written)
    return (start, start + len(written)) if start >= 0 else (len(text), len(text))


def _said_earlier(text: str, written: str) -> tuple[str, ...]:
    """What was called the answer before; the text ends where the answer begins."""
    starts = [match.start() for match in CALLED_ANSWER.finditer(text)][-_MOST_OTHERS - 1 :]
    said = [
        parse(text[start:end], _ANCHORED, parsing_timeout=None, raise_on_error=True)
        for start, end in pairwise(starts)
    ]
    return _others((str(parsed[-1]) for parsed in said if parsed), [written])


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
