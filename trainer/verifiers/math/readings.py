"""Texts as Math-Verify's expressions: the reference's, and the answer's."""

import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

from trainer.verifiers.math.answers import CALLED_ANSWER, Answer, boxed_text, in_latex
from trainer.verifiers.math.beside import rewritten
from trainer.verifiers.math.choices import in_formula, with_letter_in_formula

# The library warns that its timeouts are off: the pool has the clock.
logging.getLogger("math_verify").setLevel(logging.ERROR)

_DELIMITED = re.compile(r"\$|\\\(|\\\[")
_ONE_FORMULA = re.compile(r"\s*(?:\$\$?([^$]*)\$\$?|\\\((.*)\\\)|\\\[(.*)\\\])\s*\.?\s*", re.DOTALL)
LABELLED = re.compile(r"\s*\\(?:text|mathrm|textbf)\s*\{[^{}]*\}\s*=([^=].*)", re.DOTALL)
_FORMULA = re.compile(r"\$\$?[^$]+\$\$?|\\\(.*?\\\)|\\\[.*?\\\]", re.DOTALL)
# What may stand between the formulas of a list.
_BETWEEN = re.compile(r"(?:\s|[,;.]|\b(?:and|or)\b)*")
_NUMBER = re.compile(
    r"[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?(?:\.[0-9]*)?(?:\s*/\s*[0-9]+)?\s*%?"
)


@dataclass(frozen=True, slots=True)
class Reading:
    """A text and the expressions that Math-Verify reads in it; none = no mathematics."""

    text: str
    parsed: tuple[Any, ...]
    after: str = ""

    @property
    def is_read(self) -> bool:
        return any(not isinstance(part, str) for part in self.parsed)


# A prompt's completions come together, and each is compared with the same reference.
@lru_cache(maxsize=256)
def reference_reading(reference: str) -> Reading:
    """The reference as mathematics: its last box, its formulas, or its text as one."""
    text = with_letter_in_formula(in_latex(reference).strip())
    formula = boxed_text(text)
    if formula is None and (match := _ONE_FORMULA.fullmatch(text)):
        formula = next(filter(None, match.groups()), "")
    if formula is not None:
        return formula_reading(formula)
    formulas = _FORMULA.findall(text)
    if len(formulas) > 1 and not CALLED_ANSWER.search(text):
        # Parts of one list; else nobody knows which of them is the answer.
        is_list = _BETWEEN.fullmatch(_FORMULA.sub("", text))
        return formula_reading(", ".join(map(_bare, formulas))) if is_list else Reading(text, ())
    if _DELIMITED.search(text) or "\\boxed" in text:
        parsed = _parse(text, [LatexExtractionConfig(), ExprExtractionConfig()])
        return Reading(str(parsed[-1]) if parsed else text, tuple(parsed))
    if _NUMBER.fullmatch(text):
        return Reading(text, tuple(_parse(text, [ExprExtractionConfig()])))
    return formula_reading(text)


def formula_reading(text: str, after: str = "") -> Reading:
    """A formula without its delimiters, as mathematics."""
    bare = re.sub(r"\\?\$", "", text).strip()
    if match := LABELLED.fullmatch(bare):
        bare = match[1]
    bare = rewritten(bare)
    parsed = _parse(f"$${bare}$$", [LatexExtractionConfig(boxed_match_priority=-1)]) if bare else []
    return Reading(text, tuple(parsed), after)


def answer_reading(answer: Answer) -> Reading:
    if answer.choice:
        return formula_reading(in_formula(answer.choice, answer.text), answer.after)
    if answer.parsed is not None and not LABELLED.fullmatch(answer.text):
        return Reading(answer.text, answer.parsed, answer.after)
    return formula_reading(answer.text, answer.after)


def _bare(formula: str) -> str:
    match = _ONE_FORMULA.fullmatch(formula)
    return next(filter(None, match.groups()), "") if match else formula


def _parse(text: str, config: list[Any]) -> list[Any]:
    found: list[Any] = parse(text, config, parsing_timeout=None, raise_on_error=True)
    return found
