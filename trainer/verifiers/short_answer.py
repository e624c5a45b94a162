"""Verifiers of short free-text answers, by their SQuAD normal form."""

import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar

from trainer.verifiers.base import Item, Outcome, Verdict

_ARTICLES = frozenset({"a", "an", "the"})
_PUNCTUATION = frozenset(string.punctuation)
_SHORT_WORDS = 4
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
    parts = (part for reference in references for part in reference.split("/"))
    return tuple(filter(None, dict.fromkeys(map(squad_normal_form, parts))))


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
    version: ClassVar[str] = "2"
    channel: ClassVar[str] = "correctness"
    normaliser: ClassVar[str] = "squad-1"

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; without a reference the outcome is undecided."""
        return [_verify_short(item, whole=True) for item in batch]


def _verify_short(item: Item, *, whole: bool) -> Verdict:
    started = perf_counter()
    answer = squad_normal_form(item.response)
    aliases = aliases_of(item.references)
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
        detail="" if aliases else "the prompt has no reference",
    )


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
