r"""What Math-Verify holds for equal, looked at again.

Guards take back what the library accepts too easily (numbers that differ but are both tiny, another
unit, a percent sign nobody asked for, an ellipsis that it drops) or hold open what is no answer yet
(a sum not worked out, the question over again). They never turn "different" into "equal".
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import sympy

from trainer.verifiers.base import Outcome
from trainer.verifiers.math.answers import squeezed
from trainer.verifiers.math.beside import has_number_beside, rewritten, says_more, scales
from trainer.verifiers.math.readings import LABELLED, Reading, formula_reading
from trainer.verifiers.math.units import units_in

# The library rounds decimals to six places, whatever their size: small ones need a relative bound.
_DECIMAL_TOLERANCE = 1e-3
_EXACT_TOLERANCE = 1e-12

_ELLIPSIS = re.compile(r"\\[lcd]?dots(?![A-Za-z])|\.\.\.")
_PERCENT = re.compile(r"%|\bpercent|\bpct\b", re.IGNORECASE)
_ASKS_FOR_PERCENT = re.compile(r"percent|%", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.?!]*(?:[.?!](?=\d)[^.?!]*)*[.?!]?")
# A number that is worked out: digits, a fraction of them, a mixed number, a power of ten.
_DIGITS = r"(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]*)?)"
NUMBER = re.compile(
    rf"[-+]?(?:{_DIGITS}|\.[0-9]+|{_DIGITS}?\\[dtc]?frac\{{?[-+]?{_DIGITS}\}}?\{{?{_DIGITS}\}}?"
    rf"|{_DIGITS}/{_DIGITS}|(?:{_DIGITS}(?:\\times|\\cdot))?10\^\{{?[-+]?[0-9]+\}}?)"
)
_OPERATION = re.compile(
    r"(?<=[0-9A-Za-z)}\]!])\s*[-+*]|\\(?:times|cdot|sum|prod|int|lim|binom|tbinom|dbinom|sqrt|log|ln"
    r"|sin|cos|tan|gcd|lcm|max|min)(?![A-Za-z])|!|\^|\bC\s*\("
)
_BRACKETED = re.compile(r"(?:\w+=)?(?:\\?[({\[])(.*?)(?:\\?[)}\]])", re.DOTALL)
_SEVERAL = re.compile(r",(?![0-9]{3})|;|\b(?:and|or)\b")
_BASE = re.compile(r"(?<=[0-9])_\{?\s*([0-9]+)")
_BASE_IN_WORDS = re.compile(r"\bbase[\s-]*\$?([0-9]+)")
_DENIAL = re.compile(r"\b(?:not|never|wrong|incorrect|false)\b")
_COMMAND = re.compile(
    r"\\(?:begin|end)\{\w+\}(?:\{[clr|]+\})?|\\(?:text|mathrm|mbox|textbf|textnormal|operatorname)\b|\\[a-zA-Z]+"
)
_WORD = re.compile(r"[A-Za-z]{2,}")
_SMALL_WORDS = frozenset({"and", "or", "in", "sin", "cos", "tan", "log", "ln", "mod", "max", "min"})


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing an answer with one reference; form only where it is not the
    answer's own."""

    outcome: Outcome
    detail: str = ""
    form: str | None = None


PASS = Comparison(Outcome.PASS)
FAIL = Comparison(Outcome.FAIL)


def after_guards(gold: Reading, answer: Reading, problem: str) -> Comparison:
    """What the library holds for equal, looked at again."""
    if _ELLIPSIS.search(gold.text) or _ELLIPSIS.search(answer.text):
        if _ELLIPSIS.search(gold.text) and _ELLIPSIS.search(answer.text):
            return unclear("an ellipsis cannot be compared")
        return FAIL
    if _units_differ(gold, answer):
        return FAIL
    if _base_is_new(gold, answer, problem):
        return unclear("the answer is in a base that nobody asked for")
    if not _values_agree(gold, answer, problem):
        return FAIL
    if _is_left_to_do(rewritten(gold.text), rewritten(answer.text)):
        return Comparison(Outcome.UNDECIDED, "the answer is not worked out", "unevaluated")
    if _is_unevaluated(answer.text) and squeezed(answer.text) in squeezed(problem):
        return unclear("the answer repeats the problem")
    if not _is_solved(gold, answer, problem):
        return unclear("the answer's equation is not solved")
    if is_prose(answer.text):
        return unclear("the answer is a sentence")
    if says_more(rewritten(answer.text)):
        return unclear("words beside the number say more than it")
    if has_number_beside(rewritten(answer.text)):
        return unclear("two numbers stand side by side")
    if scales(gold.text) != scales(answer.text, answer.after):
        return unclear("a word beside the number makes it another one")
    if _DENIAL.search(answer.text) and not _DENIAL.search(gold.text):
        return unclear("the answer denies itself")
    return PASS


def is_true(text: str) -> bool:
    """Whether those sides of one equation that are numbers are equal; another unit, another side.

    Several equations (`x = 1, y = 2`) are taken for true.
    """
    sides = text.split("=")
    if len(sides) < 2 or _SEVERAL.search(text) or len(set(map(units_in, sides))) > 1:
        return True
    whole = [side for side in sides if side.count("(") == side.count(")")]
    values = [value for side in whole if (value := _value(formula_reading(side))) is not None]
    return all(_numbers_agree(one, other) for one, other in pairwise(values))


def unclear(detail: str, *, form: str = "unclear") -> Comparison:
    return Comparison(Outcome.UNDECIDED, detail, form)


def _units_differ(gold: Reading, answer: Reading) -> bool:
    """Both name a unit, and not the same. Without one the answer means the reference's."""
    wanted = units_in(gold.text)
    given = units_in(answer.text) or units_in(answer.after)
    return bool(wanted and given and wanted != given)


def _base_is_new(gold: Reading, answer: Reading, problem: str) -> bool:
    """The answer's numerals name a base, which the library drops, that neither the reference's
    name nor, where those name none, the problem."""
    given, wanted = (set(_BASE.findall(reading.text)) for reading in (answer, gold))
    return not given <= (wanted or set(_BASE_IN_WORDS.findall(problem)))


def _is_solved(gold: Reading, answer: Reading, problem: str) -> bool:
    """Whether an equation for a number leaves nothing to do with its unknown, as |x| = 3 does.

    `x + y = 3` is an answer where the problem asks for x + y.
    """
    equation = _first_expression(answer)
    if not isinstance(equation, sympy.Eq) or isinstance(_first_expression(gold), sympy.Eq):
        return True
    has_operation = isinstance(equation.lhs, sympy.Abs | sympy.Pow | sympy.Add) or (
        isinstance(equation.lhs, sympy.Mul) and bool(equation.lhs.args[0].is_number)
    )
    left = squeezed(answer.text.partition("=")[0])
    is_asked_for = bool(left) and left in squeezed(problem)
    return is_asked_for or not (has_operation and equation.lhs.free_symbols)


def _values_agree(gold: Reading, answer: Reading, problem: str) -> bool:
    """Numbers of equal value, also in a tuple or a set, and 50% for 50 where a percentage was
    asked for."""
    wanted, given = _elements(gold), _elements(answer)
    if len(wanted) != len(given) or all(map(_numbers_agree, wanted, given)):
        return True
    is_percent = [bool(_PERCENT.search(reading.text)) for reading in (gold, answer)]
    return is_percent[0] != is_percent[1] and _asks_for_percent(problem)


def _elements(reading: Reading) -> list[Any | None]:
    """The value that was read, or those of a tuple, a set or an interval (as which the library
    reads some pairs); None for what is no number."""
    expression = _first_expression(reading)
    if isinstance(expression, sympy.Tuple):
        return [_number(part) for part in expression]
    if isinstance(expression, sympy.Interval):
        return [_number(expression.start), _number(expression.end)]
    if isinstance(expression, sympy.FiniteSet):
        values = [_number(part) for part in expression]
        is_ordered = all(value is not None and value.is_extended_real for value in values)
        return sorted(values, key=sympy.N) if is_ordered else []
    return [_value(reading)]


def _asks_for_percent(problem: str) -> bool:
    sentences = _SENTENCE.findall(problem)
    questions = [sentence for sentence in sentences if sentence.rstrip().endswith("?")]
    return any(map(_ASKS_FOR_PERCENT.search, questions or sentences))


def _value(reading: Reading) -> Any | None:
    """The number that was read; None for anything that is none."""
    expression = _first_expression(reading)
    if isinstance(expression, sympy.Eq) and not expression.lhs.is_number:
        expression = expression.rhs if expression.lhs.is_Symbol else None
    return _number(expression)


def _first_expression(reading: Reading) -> Any | None:
    return next((part for part in reading.parsed if not isinstance(part, str)), None)


def _number(expression: Any) -> Any | None:
    if not isinstance(expression, sympy.Expr):
        return None
    evaluated = expression.doit()
    return evaluated if evaluated.is_number else None


def _numbers_agree(one: Any | None, other: Any | None) -> bool:
    """Equal to within the tolerance, relative to their size; what is no number agrees."""
    if one is None or other is None:
        return True
    if (one.is_Rational and other.is_Rational) or one.is_infinite or other.is_infinite:
        return bool(one == other)
    tolerance = (
        _DECIMAL_TOLERANCE if one.has(sympy.Float) or other.has(sympy.Float) else _EXACT_TOLERANCE
    )
    a, b = one.evalf(30), other.evalf(30)
    size = max(abs(a), abs(b))
    if size == 0:
        return True
    if (one.is_zero or other.is_zero) and tolerance == _EXACT_TOLERANCE:
        return bool(sympy.simplify(one - other) == 0)
    return bool(abs(a - b) <= tolerance * size)


def _is_left_to_do(gold: str, answer: str) -> bool:
    """Whether numbers were asked for, and one in the answer is still to be worked out."""
    if _is_number(gold):
        return _is_unevaluated(answer)
    return all(map(_is_number, _parts(gold))) and any(map(_is_unevaluated, _parts(answer)))


def _parts(text: str) -> list[str]:
    """What commas separate in a tuple, a set or a list, whose brackets are left out."""
    bare = re.sub(r"\\left|\\right|\\?[\s$]|\\[,;:!]", "", text)
    match = _BRACKETED.fullmatch(bare)
    return (match[1] if match else bare).split(",")


def _is_number(text: str) -> bool:
    first_side = text.rpartition("=")[0]
    return not re.search("[0-9]", first_side) and bool(NUMBER.fullmatch(_last_side(text)))


def _is_unevaluated(text: str) -> bool:
    """Whether an operation is left to do, where a number was asked for."""
    side = _last_side(text)
    return not NUMBER.fullmatch(side) and bool(_OPERATION.search(side))


def _last_side(text: str) -> str:
    """What an equation says in the end, without units, percent signs and blanks."""
    side = re.split(r"\\approx", text)[0].split("=")[-1]
    side = re.sub(
        r"\\(?:text|mathrm|mbox|textbf|textnormal|textit)\s*\{[^{}]*\}(?:\^\{?[23]\}?)?", "", side
    )
    side = re.sub(r"(?<=[0-9}])\s*(?:[a-zA-Z]{2,}\s*)+(?:\^\{?[23]\}?)?\s*$", "", side)
    return re.sub(r"\\?%|\^\{?\\circ\}?|\\[,;:! ]|\{,\}|[\s$]|\\left|\\right|\.$", "", side)


def is_prose(text: str) -> bool:
    """Whether words come before the mathematics, or instead of it."""
    unlabelled = match[1] if (match := LABELLED.fullmatch(text)) else text
    words = [
        word
        for word in _WORD.findall(_COMMAND.sub(" ", re.split(r"[0-9]", unlabelled)[0]))
        # In capitals: the points of a geometer.
        if word.lower() not in _SMALL_WORDS and not (word.isupper() and len(word) < 4)
    ]
    return len(words) >= 2
