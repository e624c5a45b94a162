"""Verifiers of short free-text answers, by their SQuAD normal form."""

import re
import string
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar

from trainer.verifiers.base import Item, Outcome, Verdict

_ARTICLES = frozenset({"a", "an", "the"})
_PUNCTUATION = frozenset(string.punctuation)
_SHORT_WORDS = 4
# Punctuation without which an answer is another one: 1.5, 1/2, 3-4, 5:30, -5, x < 5, C++, C#.
_MEANT = re.compile(
    r"(?<=[0-9])[-/:](?=[0-9])|(?<![A-Za-z.])\.(?=[0-9])|(?<![^\s(=<>])[-+](?=[$€£]?\.?[0-9])"
    r"|[<>=]+|(?<=[A-Za-z])[+#]+(?![^\s,.;)])"
)
# Between aliases; 1/2 is no two of them where the whole answer counts.
_STROKE = re.compile("/")
_STROKE_BUT_IN_NUMBERS = re.compile(r"(?<![0-9])/|/(?![0-9])")
# Private characters, which no text of words has, stand for it while other punctuation goes.
_HELD = {ord(sign): chr(0xE000 + i) for i, sign in enumerate("./:-+<>=#")}
_LET_GO = {ord(held): chr(sign) for sign, held in _HELD.items()}
_MINUS_SIGN = "\N{MINUS SIGN}"
# Unicode's stream-safe limit (UAX 15): putting a longer run of marks in order takes quadratic time.
_MAX_MARKS_IN_A_ROW = 30


class _FoldedCharacters(dict[int, str]):
    """`str.translate` table, filled as characters are met: decomposed, lower case, no punctuation,
    no control or format characters."""

    def __missing__(self, code: int) -> str:
        lowered = unicodedata.normalize("NFD", chr(code)).lower()
        self[code] = "".join(filter(_is_kept, unicodedata.normalize("NFD", lowered)))
        return self[code]


def _is_kept(character: str) -> bool:
    is_invisible = unicodedata.category(character) in {"Cc", "Cf"} and not character.isspace()
    return character not in _PUNCTUATION and not is_invisible


_FOLDED = _FoldedCharacters()


def squad_normal_form(text: str) -> str:
    """The text in lower case, without punctuation and articles, white space folded.

    Source: the SQuAD 1.1 evaluation script (its punctuation is ASCII's), here with characters
    composed (NFC) and control and format characters dropped, so that texts that look the same are
    the same. Not NFKC: that turns the sign U+33CC into "in", which nearly every sentence contains.
    Linear in the text; applying it twice changes nothing.
    """
    folded = text.translate(_FOLDED)
    if not folded.isascii():
        folded = unicodedata.normalize("NFC", _with_few_marks(folded))
    return " ".join(word for word in folded.split() if word not in _ARTICLES)


def short_normal_form(text: str) -> str:
    """The SQuAD normal form with the punctuation that makes an answer: points and strokes in
    numbers, signs before them, comparisons, C++ and C#.

    "A" alone is a choice, and no article. Applying it twice changes nothing.
    """
    form = _with_what_is_meant(text)
    # What punctuation kept apart may touch now: "a-.5" has become "a.5", whose point means nothing.
    while (again := _with_what_is_meant(form)) != form:
        form = again
    return form


def _with_what_is_meant(text: str) -> str:
    text = text.translate(dict.fromkeys(_LET_GO)).replace(_MINUS_SIGN, "-")
    words = squad_normal_form(_MEANT.sub(_hold, text))
    if not words and text.translate(_FOLDED).split() == ["a"]:
        return "a"
    return words.translate(_LET_GO)


def _hold(meant: re.Match[str]) -> str:
    held = meant[0].translate(_HELD)
    # "x<5" and "x < 5" are the same.
    if meant[0][0] in "<>=":
        return f" {held} "
    # The parenthesis goes: in "f(-1)" it is what makes the stroke a sign.
    is_opened = meant.string.endswith("(", 0, meant.start())
    return f" {held}" if is_opened else held


def _with_few_marks(text: str) -> str:
    kept = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= _MAX_MARKS_IN_A_ROW:
            kept.append(character)
    return "".join(kept)


def aliases_of(references: Sequence[str]) -> tuple[str, ...]:
    """The normal forms of the references' aliases (split at "/"), empty ones left out."""
    return _aliases(references, _STROKE, squad_normal_form)


def _aliases(
    references: Sequence[str], ends: re.Pattern[str], normal_form: Callable[[str], str]
) -> tuple[str, ...]:
    parts = (part for reference in references for part in ends.split(reference))
    return tuple(filter(None, dict.fromkeys(map(normal_form, parts))))


@dataclass(frozen=True, slots=True)
class AliasContained:
    """Passes when the normalised answer contains a normalised reference alias."""

    name: ClassVar[str] = "alias-contained"
    version: ClassVar[str] = "2"
    channel: ClassVar[str] = "correctness"
    normaliser: ClassVar[str] = "squad-1"

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; without a reference the outcome is undecided."""
        return [_verify_short(item, whole=False) for item in batch]


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """Passes when the normalised answer equals a normalised reference alias."""

    name: ClassVar[str] = "exact-match"
    version: ClassVar[str] = "3"
    channel: ClassVar[str] = "correctness"
    normaliser: ClassVar[str] = "short-1"

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; without a reference the outcome is undecided."""
        return [_verify_short(item, whole=True) for item in batch]


def _verify_short(item: Item, *, whole: bool) -> Verdict:
    started = perf_counter()
    normal_form, ends = (
        (short_normal_form, _STROKE_BUT_IN_NUMBERS) if whole else (squad_normal_form, _STROKE)
    )
    answer, aliases = normal_form(item.response), _aliases(item.references, ends, normal_form)
    is_contained = any(alias in answer for alias in aliases)
    is_accepted = answer in aliases if whole else is_contained
    outcome = Outcome.PASS if is_accepted else Outcome.FAIL
    return Verdict(
        outcome=outcome if aliases else Outcome.UNDECIDED,
        score=None,
        extracted=item.response.strip() if answer else None,
        path="alias" if is_contained else _nearest(answer, aliases),
        form=_length_form(answer),
        candidates=1 if answer else 0,
        seconds=perf_counter() - started,
        detail="" if aliases else _why_none(item.references),
    )


def _why_none(references: Sequence[str]) -> str:
    if not any(map(str.strip, references)):
        return "the prompt has no reference"
    return "the prompt has no reference with a word that counts"


def _nearest(answer: str, aliases: Sequence[str]) -> str:
    """How many words of the nearest alias occur in an answer that contains none whole.

    "most": at least half; "part": some; "none". A right answer in other words often has most.
    """
    words = set(answer.split())
    shares = [
        sum(word in words for word in alias.split()) / len(alias.split()) for alias in aliases
    ]
    nearest = max(shares, default=0.0)
    return "most" if nearest >= 0.5 else "part" if nearest > 0 else "none"


def _length_form(answer: str) -> str:
    if not answer:
        return "none"
    return "short" if len(answer.split()) <= _SHORT_WORDS else "sentence"
