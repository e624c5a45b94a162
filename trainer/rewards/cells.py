"""Every rollout's cell: what the verifiers said of it and where its answer stands in its group.

The server gives a rollout its cell at ingest, the trainer looks its reward up by the same cell;
both run this file. A change of meaning raises CELL_VERSION.
"""

import hashlib
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, total_ordering
from typing import Protocol

from trainer.rewards.normalisers import NORMALISERS, UnknownNormaliserError, normaliser_named
from trainer.verifiers import Outcome

__all__ = [
    "CELL_VERSION",
    "NORMALISERS",
    "Cell",
    "CellError",
    "GroupRollout",
    "UnknownNormaliserError",
    "answer_class",
    "cells_of_group",
    "signature",
]

CELL_VERSION = 1

SHARE_CUTS = (0.15, 0.35, 0.65)
# An answer class is a key: what is longer, or cannot be stored as text, goes by its digest.
_MAX_CLASS_LENGTH = 200
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")

_VERDICT = r"(?:pass|fail|undecided)/[a-z0-9-]{1,24}/[a-z0-9-]{1,24}/(?:0|1|2\+)"
_KEY = re.compile(
    rf"(?P<signature>{_VERDICT}(?:&{_VERDICT})*)"
    r"\|s(?P<score>[0-9]|-)\|a(?P<share>[0-3]|-)\|p(?P<probe>[01])\|(?P<domain>.*)",
    re.DOTALL,
)


class CellError(ValueError):
    """A text is no cell key, or a rollout has no verdict to make a cell of."""


@total_ordering
@dataclass(frozen=True, slots=True)
class Cell:
    """What a reward is looked up by. Cells sort by their fields, None first.

    signature: "outcome/path/form/candidates" of each correctness verifier, primary first, joined
    by "&"; candidates are 0, 1 or 2+.
    score_bin: decile 0..9 of the primary's score; None = no score.
    share_bin: 0..3, the answer class's share of its group cut at .15, .35, .65 (a cut belongs to
    the bin above); None = no group view or no class.
    probe: whether a hack probe hit.
    """

    signature: str
    score_bin: int | None
    share_bin: int | None
    probe: bool
    domain: str

    @property
    def key(self) -> str:
        """The cell as text: "pass/boxed/integer/1|s-|a2|p0|arithmetic"."""
        score, share = _bin_text(self.score_bin), _bin_text(self.share_bin)
        return f"{self.signature}|s{score}|a{share}|p{int(self.probe)}|{self.domain}"

    @property
    def outcome(self) -> Outcome:
        """The primary verifier's outcome."""
        return Outcome(self.signature.partition("/")[0])

    @property
    def is_accepted(self) -> bool:
        """Whether the primary verifier passed the rollout; undecided is not accepted."""
        return self.outcome is Outcome.PASS

    def without_share(self) -> "Cell":
        """The same cell for a reader that has no group view."""
        return replace(self, share_bin=None)

    @classmethod
    def parse(cls, key: str) -> "Cell":
        """The cell whose `key` this is. Raises CellError for any other text."""
        match = _KEY.fullmatch(key)
        if match is None:
            raise CellError(f"not a cell key: {key[:200]!r}")
        return cls(
            signature=match["signature"],
            score_bin=_bin_number(match["score"]),
            share_bin=_bin_number(match["share"]),
            probe=match["probe"] == "1",
            domain=match["domain"],
        )

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Cell):
            return NotImplemented
        return self._sort_key() < other._sort_key()

    def _sort_key(self) -> tuple[str, int, int, bool, str]:
        score = -1 if self.score_bin is None else self.score_bin
        share = -1 if self.share_bin is None else self.share_bin
        return self.signature, score, share, self.probe, self.domain


class Judgement(Protocol):
    """What a cell is made of, whoever holds it: a `Verdict`, or one as it came in."""

    @property
    def outcome(self) -> Outcome: ...
    @property
    def score(self) -> float | None: ...
    @property
    def extracted(self) -> str | None: ...
    @property
    def path(self) -> str: ...
    @property
    def form(self) -> str: ...
    @property
    def candidates(self) -> int: ...


@dataclass(frozen=True, slots=True)
class GroupRollout:
    """One rollout of a group: the correctness verdicts (primary first), and whether it was cut
    off by the length limit and hit by a hack probe."""

    verdicts: tuple[Judgement, ...]
    truncated: bool
    probe: bool


def signature(verdicts: Sequence[Judgement]) -> str:
    """The verdicts in words, primary first: "pass/boxed/integer/1&fail/text/none/0".

    Raises CellError when there is no verdict.
    """
    if not verdicts:
        raise CellError("a rollout needs the verdict of at least one correctness verifier")
    return "&".join(
        f"{verdict.outcome}/{verdict.path}/{verdict.form}/{_candidates_text(verdict.candidates)}"
        for verdict in verdicts
    )


def answer_class(verdict: Judgement, *, normaliser: str, truncated: bool) -> str | None:
    """The normal form of the extracted answer, the same for equal answers to one prompt.

    None if the rollout is truncated, undecided, has not exactly one candidate answer, or none
    was extracted: a hedge never joins an honest answer's class. A normal form that is too long
    for a key or cannot be stored as text goes by its SHA-256. Raises UnknownNormaliserError.
    """
    normal_form = normaliser_named(normaliser)
    is_committed = verdict.candidates == 1 and verdict.outcome is not Outcome.UNDECIDED
    if truncated or not is_committed or verdict.extracted is None:
        return None
    text = normal_form(verdict.extracted)
    return (
        _digest(text) if len(text) > _MAX_CLASS_LENGTH or _UNSTORABLE.search(text) else text or None
    )


def cells_of_group(
    rollouts: Sequence[GroupRollout], *, normaliser: str, domain: str
) -> list[tuple[Cell, str | None]]:
    """Each rollout's cell and answer class, in order, for one whole group of one prompt.

    The share of a class is its size over the group's; a group of one has none. Raises
    CellError (a rollout without verdicts) and UnknownNormaliserError.
    """
    signatures = [signature(rollout.verdicts) for rollout in rollouts]
    classes = [
        answer_class(rollout.verdicts[0], normaliser=normaliser, truncated=rollout.truncated)
        for rollout in rollouts
    ]
    sizes = Counter(classes)
    return [
        (
            _shared_cell(
                words,
                _score_bin(rollout.verdicts[0].score),
                None if name is None else _share_bin(sizes[name], len(rollouts)),
                rollout.probe,
                domain,
            ),
            name,
        )
        for rollout, words, name in zip(rollouts, signatures, classes, strict=True)
    ]


@lru_cache(maxsize=65_536)
def _shared_cell(
    words: str, score_bin: int | None, share_bin: int | None, probe: bool, domain: str
) -> Cell:
    """One object per cell: a table finds the very same object again twice as fast as an equal."""
    return Cell(words, score_bin, share_bin, probe, domain)


def _score_bin(score: float | None) -> int | None:
    return None if score is None else min(9, int(score * 10))


def _share_bin(class_size: int, group_size: int) -> int | None:
    return bisect_right(SHARE_CUTS, class_size / group_size) if group_size > 1 else None


def _bin_text(number: int | None) -> str:
    return "-" if number is None else str(number)


def _bin_number(text: str) -> int | None:
    return None if text == "-" else int(text)


def _candidates_text(candidates: int) -> str:
    return str(candidates) if candidates < 2 else "2+"


def _digest(text: str) -> str:
    return "sha256-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
