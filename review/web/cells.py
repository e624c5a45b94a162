"""Cells in words: pass, boxed, integer, 2+ answers, common in group, arithmetic."""

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from review.web.figures import span
from review.web.words import said
from trainer.rewards import Cell

SHARES = (
    gettext_lazy("rare in group"),
    gettext_lazy("uncommon in group"),
    gettext_lazy("common in group"),
    gettext_lazy("most common in group"),
)


@dataclass(frozen=True, slots=True)
class Word:
    """One property of a cell, as it is shown; an outcome has its own colour."""

    text: str
    outcome: str = ""


def words_of(cell: Cell, *, is_without_share: bool = False) -> list[Word]:
    """is_without_share: it stands for the cells of every share of the group."""
    words: list[Word] = []
    for verdict in cell.signature.split("&"):
        outcome, path, form, candidates = verdict.split("/")
        words += [outcome_word(outcome), Word(path), Word(form), Word(_answers(candidates))]
    if cell.share_bin is not None:
        words.append(Word(str(SHARES[cell.share_bin])))
    elif is_without_share:
        words.append(Word(_("seen outside a group")))
    if cell.score_bin is not None:
        edges = span(f"{cell.score_bin / 10:.1f}", f"{(cell.score_bin + 1) / 10:.1f}")
        words.append(Word(_("score %(edges)s") % {"edges": edges}))
    if cell.probe:
        words.append(Word(_("probe hit")))
    return [*words, Word(cell.domain)]


def outcome_word(outcome: str) -> Word:
    return Word(said(outcome), outcome)


def _answers(candidates: str) -> str:
    if candidates == "1":
        return _("1 answer")
    return _("%(n)s answers") % {"n": candidates}
