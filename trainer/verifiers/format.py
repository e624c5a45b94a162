"""A verifier of the response's form. It says nothing of the answer: a channel of its own."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from time import perf_counter
from typing import ClassVar

from trainer.verifiers.base import Item, Outcome, ParameterError, Verdict, undecided, version_of
from trainer.verifiers.language import LANGUAGES, language_of, script_shares
from trainer.verifiers.math.boxed import boxed_answers
from trainer.verifiers.texts import visible

MAX_CHARACTERS = 1_000_000

_TAG = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_WORD = re.compile(r"\w+")
_LONGEST_NGRAM = 20
# Of which only the names of the rules that are on matter.
_NOTHING = Item(problem="", response="", references=())


@dataclass(frozen=True, slots=True)
class Format:
    """Passes when the response keeps every rule that is on; what shows nothing is not read.

    think_tag, answer_tag: the response is `<think>…</think><answer>…</answer>`, each tag once,
    neither part blank, nothing around them; without an answer tag the answer is what follows the
    thinking; "" = off. one_boxed: exactly one box that is not empty, after the thinking.
    language: an ISO 639-1 code, or "prompt" for the prompt's own; "" = off. max_foreign_share: of
    the letters, at most this share is of other scripts than the main one; 1 = off.
    max_repetition: of the sequences of `ngram` words, at most this share has occurred before;
    1 = off. min_characters, max_characters: the response's length; 0 = off.

    The score is the share of the rules that are kept; path names the broken rule ("several" for
    more than one, "none" for none); detail lists them. A language that cannot be told is
    undecided, unless another rule is broken.
    """

    think_tag: str = "think"
    answer_tag: str = "answer"
    one_boxed: bool = False
    language: str = ""
    max_foreign_share: float = 1.0
    max_repetition: float = 1.0
    ngram: int = 4
    min_characters: int = 0
    max_characters: int = 0

    name: ClassVar[str] = "format"
    channel: ClassVar[str] = "format"
    normaliser: ClassVar[str] = "squad-1"

    def __post_init__(self) -> None:
        for field in fields(self):
            kind = type(field.default)
            taken = (int, float) if kind is float else (kind,)
            is_taken = type(getattr(self, field.name)) in taken
            _require(is_taken, field.name, f"must be a value like {field.default!r}")
        for name in ("think_tag", "answer_tag"):
            tag = getattr(self, name)
            _require(tag == "" or bool(_TAG.fullmatch(tag)), name, "must be a tag's name or empty")
        _require(
            not self.think_tag or self.think_tag != self.answer_tag,
            "answer_tag",
            "must not be the think_tag",
        )
        _require(
            self.language in {"", "prompt", *LANGUAGES},
            "language",
            f'must be "", "prompt" or one of {", ".join(sorted(LANGUAGES))}',
        )
        for name in ("max_foreign_share", "max_repetition"):
            _require(0 <= getattr(self, name) <= 1, name, "must be from 0 to 1")
        _require(1 <= self.ngram <= _LONGEST_NGRAM, "ngram", f"must be from 1 to {_LONGEST_NGRAM}")
        for name in ("min_characters", "max_characters"):
            _require(getattr(self, name) >= 0, name, "must not be negative")
        _require(
            not self.max_characters or self.max_characters >= self.min_characters,
            "max_characters",
            "must be at least min_characters",
        )
        _require(bool(dict(self._rules(_NOTHING))), "think_tag", "at least one rule must be on")

    @property
    def version(self) -> str:
        return version_of(self, "2")

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; the references are not looked at."""
        return [self._verify_one(item) for item in batch]

    def _verify_one(self, item: Item) -> Verdict:
        started = perf_counter()
        if len(item.response) > MAX_CHARACTERS:
            return undecided(f"the response has more than {MAX_CHARACTERS} characters")
        rules = dict(self._rules(replace(item, response=visible(item.response))))
        broken = [name for name, is_kept in rules.items() if is_kept is False]
        seconds = perf_counter() - started
        if None in rules.values() and not broken:
            return undecided("language: the text is too short to tell it", seconds=seconds)
        return Verdict(
            outcome=Outcome.FAIL if broken else Outcome.PASS,
            score=sum(is_kept is True for is_kept in rules.values()) / len(rules),
            extracted=None,
            path="several" if len(broken) > 1 else broken[0] if broken else "none",
            form="none",
            candidates=0,
            seconds=seconds,
            detail=f"not kept: {', '.join(broken)}" if broken else "",
        )

    def _rules(self, item: Item) -> Iterator[tuple[str, bool | None]]:
        """Each rule that is on, and whether it is kept; None = it cannot be told."""
        response = item.response
        answer = response
        if self.think_tag or self.answer_tag:
            parts = _parts(response, self.think_tag, self.answer_tag)
            yield "tags", parts is not None
            answer = response if parts is None else parts[-1]
        if self.one_boxed:
            yield "one-boxed", len(boxed_answers(answer)) == 1
        if self.language:
            yield "language", self._is_in_language(item)
        if self.max_foreign_share < 1:
            yield "mixing", foreign_share(response) <= self.max_foreign_share
        if self.max_repetition < 1:
            repeated = repeated_share(response, self.ngram)
            yield "repetition", repeated <= self.max_repetition
        if self.min_characters or self.max_characters:
            most = self.max_characters or MAX_CHARACTERS
            yield "length", self.min_characters <= len(response) <= most

    def _is_in_language(self, item: Item) -> bool | None:
        wanted = language_of(item.problem) if self.language == "prompt" else self.language
        found = language_of(item.response)
        return None if wanted is None or found is None else found == wanted


def foreign_share(text: str) -> float:
    """The share of the letters that are of other scripts than the main one; 0 without letters."""
    return 1 - next(iter(script_shares(text).values()), 1.0)


def repeated_share(text: str, n: int) -> float:
    """The share of the sequences of n words that have occurred before in the text."""
    words = _WORD.findall(text.lower())
    grams = Counter(zip(*(islice(words, start, None) for start in range(n)), strict=False))
    total = grams.total()
    return 1 - len(grams) / total if total else 0.0


def _parts(response: str, *tags: str) -> list[str] | None:
    """The parts in their tags, in order; None where the tags are not as they must be.

    The last part may have no tag: it is what follows the others.
    """
    rest = response.strip()
    parts = []
    for tag in filter(None, tags):
        opening, closing = f"<{tag}>", f"</{tag}>"
        if response.count(opening) != 1 or response.count(closing) != 1:
            return None
        if not rest.startswith(opening):
            return None
        part, _, rest = rest.removeprefix(opening).partition(closing)
        parts.append(part.strip())
        rest = rest.strip()
    if tags[-1]:
        return parts if all(parts) and not rest else None
    return [*parts, rest] if all(parts) and rest else None


def _require(is_met: bool, name: str, rule: str) -> None:
    if not is_met:
        raise ParameterError(f"{name}: {rule}")
