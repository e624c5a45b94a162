r"""Whether an answer in mathematics equals the reference: Math-Verify, and guards around it.

The library decides what is equal; the guards take back what it accepts too easily (numbers that
differ but are both tiny, another unit, a percent sign nobody asked for, an ellipsis that it drops)
or hold open what is no answer yet (a sum not worked out, the question over again). A guard never
turns a library's "different" into "equal". What is decided here before the library is asked is
the same text, and no solution written in words.
"""

import logging
import math
import re
from dataclasses import dataclass
from typing import Any

import sympy
from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse
from math_verify import verify as library_verify

from trainer.verifiers.answers import Answer, boxed_text, in_latex, squeezed
from trainer.verifiers.base import Outcome
from trainer.verifiers.math import answer_form
from trainer.verifiers.units import units_in

# The library warns that its timeouts are off: the pool has the clock.
logging.getLogger("math_verify").setLevel(logging.ERROR)

LONGEST_ANSWER = 1_000
# A number of more bits takes the library seconds to minutes.
_MOST_BITS = 100_000
# The library rounds decimals to six places, whatever their size: small ones need a relative bound.
_DECIMAL_TOLERANCE = 1e-3
_EXACT_TOLERANCE = 1e-12

_DELIMITED = re.compile(r"\$|\\\(|\\\[")
_ONE_FORMULA = re.compile(r"\s*(?:\$\$?([^$]*)\$\$?|\\\((.*)\\\)|\\\[(.*)\\\])\s*\.?\s*", re.DOTALL)
_LABELLED = re.compile(r"\s*\\(?:text|mathrm|textbf)\s*\{[^{}]*\}\s*=([^=].*)", re.DOTALL)
_ARITHMETIC = re.compile(r"[-+]?[0-9.,/ ]+%?")
_ELLIPSIS = re.compile(r"\\[lcd]?dots(?![A-Za-z])|\.\.\.")
_PERCENT = re.compile(r"%|\bpercent|\bpct\b", re.IGNORECASE)
_ASKS_FOR_PERCENT = re.compile(r"percent|%", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.?!]*(?:[.?!](?=\d)[^.?!]*)*[.?!]?")
_NOTHING = re.compile(
    r"\\emptyset|\\varnothing|\\\{\\\}"
    r"|(?:there(?:is|are))?no(?:real)?(?:solutions?|roots?)(?:exists?)?|(?:the)?emptyset",
    re.IGNORECASE,
)
# A number that is worked out: digits, a fraction of them, a mixed number, a power of ten.
_DIGITS = r"(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]*)?)"
_NUMBER = re.compile(
    rf"[-+]?(?:{_DIGITS}|\.[0-9]+|{_DIGITS}?\\[dtc]?frac\{{?[-+]?{_DIGITS}\}}?\{{?{_DIGITS}\}}?"
    rf"|{_DIGITS}/{_DIGITS}|(?:{_DIGITS}(?:\\times|\\cdot))?10\^\{{?[-+]?[0-9]+\}}?)"
)
_OPERATION = re.compile(
    r"(?<=[0-9A-Za-z)}\]!])\s*[-+*]|\\(?:times|cdot|sum|prod|int|lim|binom|tbinom|dbinom|sqrt|log|ln"
    r"|sin|cos|tan|gcd|lcm|max|min)(?![A-Za-z])|!|\^|\bC\s*\("
)
_COMMAND = re.compile(
    r"\\(?:begin|end)\{\w+\}(?:\{[clr|]+\})?|\\(?:text|mathrm|mbox|textbf|textnormal|operatorname)\b|\\[a-zA-Z]+"
)
_WORD = re.compile(r"[A-Za-z]{2,}")
_SMALL_WORDS = frozenset({"and", "or", "in", "sin", "cos", "tan", "log", "ln", "mod", "max", "min"})
_LIST = re.compile(r"[\[({].*,.*[\])}]|[^,()]+(?:,\s*[^,()]+)+|.*\\begin\{.?matrix", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing an answer with one reference; form only where it is not the
    answer's own."""

    outcome: Outcome
    detail: str = ""
    form: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A text and the expressions that Math-Verify reads in it; none = no mathematics."""

    text: str
    parsed: tuple[Any, ...]
    after: str = ""

    @property
    def is_read(self) -> bool:
        return any(not isinstance(part, str) for part in self.parsed)


_PASS = Comparison(Outcome.PASS)
_FAIL = Comparison(Outcome.FAIL)


def reference_reading(reference: str) -> Reading:
    """The reference as mathematics: its last box, its one formula, or its text as a formula."""
    text = in_latex(reference).strip()
    formula = boxed_text(text)
    if formula is None and (match := _ONE_FORMULA.fullmatch(text)):
        formula = next(filter(None, match.groups()), "")
    if formula is not None:
        return formula_reading(formula)
    if _DELIMITED.search(text) or "\\boxed" in text:
        parsed = _parse(text, [LatexExtractionConfig(), ExprExtractionConfig()])
        return Reading(str(parsed[-1]) if parsed else text, tuple(parsed))
    if _ARITHMETIC.fullmatch(text):
        return Reading(text, tuple(_parse(text, [ExprExtractionConfig()])))
    return formula_reading(text)


def formula_reading(text: str, after: str = "") -> Reading:
    """A formula without its delimiters, as mathematics."""
    bare = re.sub(r"\\?\$", "", text).strip()
    if match := _LABELLED.fullmatch(bare):
        bare = match[1]
    parsed = _parse(f"$${bare}$$", [LatexExtractionConfig(boxed_match_priority=-1)]) if bare else []
    return Reading(text, tuple(parsed), after)


def answer_reading(answer: Answer) -> Reading:
    if answer.parsed is not None and not _LABELLED.fullmatch(answer.text):
        return Reading(answer.text, answer.parsed, answer.after)
    return formula_reading(answer.text, answer.after)


def compare(gold: Reading, answer: Reading, problem: str) -> Comparison:
    """Whether the answer equals the reference, asked this problem."""
    if squeezed(gold.text) == squeezed(answer.text) or _both_empty(gold.text, answer.text):
        return _PASS
    if not gold.is_read or _is_prose(gold.text):
        return _unclear("the reference does not parse as mathematics")
    if not answer.is_read:
        return _unclear("the answer does not parse as mathematics", form="unparsed")
    if any(map(_is_too_large, (*gold.parsed, *answer.parsed))):
        return _unclear("a number is too large to be compared")
    if not _library_says_equal(gold, answer):
        return _FAIL
    return _after_guards(gold, answer, problem)


def answer_shape(text: str) -> str:
    """How an answer is written: "integer", "decimal" (any other plain number), "fraction",
    "percent", "list" (also tuples, sets, intervals, matrices) or "expression"."""
    bare = re.sub(r"\s|\$|\\[,;:! ]", "", text)
    form = answer_form(bare)
    if form != "expression":
        return "integer" if form == "integer" else "decimal"
    if re.search(r"%", bare):
        return "percent"
    if _NUMBER.fullmatch(bare):
        return "fraction"
    return "list" if _LIST.fullmatch(text.strip()) else "expression"


def _after_guards(gold: Reading, answer: Reading, problem: str) -> Comparison:
    """What the library holds for equal, looked at again."""
    if _ELLIPSIS.search(gold.text) or _ELLIPSIS.search(answer.text):
        if _ELLIPSIS.search(gold.text) and _ELLIPSIS.search(answer.text):
            return _unclear("an ellipsis cannot be compared")
        return _FAIL
    if _units_differ(gold, answer) or not _values_agree(gold, answer, problem):
        return _FAIL
    if _is_number(gold.text) and _is_unevaluated(answer.text):
        return Comparison(Outcome.UNDECIDED, "the answer is not worked out", "unevaluated")
    if _is_prose(answer.text):
        return _unclear("the answer is a sentence")
    return _PASS


def _unclear(detail: str, *, form: str = "unclear") -> Comparison:
    return Comparison(Outcome.UNDECIDED, detail, form)


def _parse(text: str, config: list[Any]) -> list[Any]:
    found: list[Any] = parse(text, config, parsing_timeout=None, raise_on_error=True)
    return found


def _library_says_equal(gold: Reading, answer: Reading) -> bool:
    """Gold first: the library's comparison is not symmetric."""
    try:
        return bool(
            library_verify(
                list(gold.parsed),
                list(answer.parsed),
                allow_set_relation_comp=True,
                timeout_seconds=None,
                raise_on_error=True,
            )
        )
    except (TypeError, ValueError, AttributeError, NotImplementedError, KeyError, IndexError):
        # What SymPy cannot put side by side is not equal.
        return False


def _both_empty(gold: str, answer: str) -> bool:
    return all(
        _NOTHING.fullmatch(re.sub(r"[{}.]", "", part).strip() or part)
        for part in (squeezed(gold), squeezed(answer))
    )


def _units_differ(gold: Reading, answer: Reading) -> bool:
    """Both name a unit, and not the same. Without one the answer means the reference's."""
    wanted = units_in(gold.text)
    given = units_in(answer.text) or units_in(answer.after)
    return bool(wanted and given and wanted != given)


def _values_agree(gold: Reading, answer: Reading, problem: str) -> bool:
    """Numbers of equal value, and 50% for 50 where a percentage was asked for."""
    if _numbers_agree(_value(gold), _value(answer)):
        return True
    is_percent = [bool(_PERCENT.search(reading.text)) for reading in (gold, answer)]
    return is_percent[0] != is_percent[1] and _asks_for_percent(problem)


def _asks_for_percent(problem: str) -> bool:
    sentences = _SENTENCE.findall(problem)
    questions = [sentence for sentence in sentences if sentence.rstrip().endswith("?")]
    return any(map(_ASKS_FOR_PERCENT.search, questions or sentences))


def _value(reading: Reading) -> Any | None:
    """The number that was read; None for anything that is none."""
    expression = next((part for part in reading.parsed if not isinstance(part, str)), None)
    if isinstance(expression, sympy.Eq) and not expression.lhs.is_number:
        expression = expression.rhs if expression.lhs.is_Symbol else None
    if not isinstance(expression, sympy.Expr):
        return None
    evaluated = expression.doit()
    return evaluated if evaluated.is_number else None


def _numbers_agree(one: Any | None, other: Any | None) -> bool:
    """Equal to within the tolerance, relative to their size; what is no number agrees."""
    if one is None or other is None:
        return True
    if one.is_Rational and other.is_Rational:
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


def _is_too_large(expression: Any) -> bool:
    return isinstance(expression, sympy.Basic) and any(
        _bits(part) > _MOST_BITS
        for part in sympy.preorder_traversal(expression)
        if isinstance(part, sympy.Pow | sympy.factorial) and not part.free_symbols
    )


def _bits(expression: Any) -> float:
    """About the logarithm to the base 2 of a number's size, without working the number out."""
    if isinstance(expression, sympy.Integer):
        return float(abs(int(expression)).bit_length())
    if isinstance(expression, sympy.Pow):
        base, exponent = expression.args
        exponent_bits = _bits(exponent)
        if exponent_bits > 64:
            return math.inf
        return float(_bits(base) * 2.0**exponent_bits)
    if isinstance(expression, sympy.factorial):
        argument_bits = _bits(expression.args[0])
        return math.inf if argument_bits > 64 else 2.0**argument_bits * argument_bits
    return max((_bits(part) for part in expression.args), default=1.0)


def _is_number(text: str) -> bool:
    first_side = text.rpartition("=")[0]
    return not re.search("[0-9]", first_side) and bool(_NUMBER.fullmatch(_last_side(text)))


def _is_unevaluated(text: str) -> bool:
    """Whether an operation is left to do, where a number was asked for."""
    side = _last_side(text)
    return not _NUMBER.fullmatch(side) and bool(_OPERATION.search(side))


def _last_side(text: str) -> str:
    """What an equation says in the end, without units, percent signs and blanks."""
    side = re.split(r"\\approx", text)[0].split("=")[-1]
    side = re.sub(
        r"\\(?:text|mathrm|mbox|textbf|textnormal|textit)\s*\{[^{}]*\}(?:\^\{?[23]\}?)?", "", side
    )
    side = re.sub(r"(?<=[0-9}])\s*(?:[a-zA-Z]{2,}\s*)+(?:\^\{?[23]\}?)?\s*$", "", side)
    return re.sub(r"\\?%|\^\{?\\circ\}?|\\[,;:! ]|\{,\}|[\s$]|\\left|\\right|\.$", "", side)


def _is_prose(text: str) -> bool:
    """Whether words come before the mathematics, or instead of it."""
    unlabelled = match[1] if (match := _LABELLED.fullmatch(text)) else text
    words = [
        word
        for word in _WORD.findall(_COMMAND.sub(" ", re.split(r"[0-9]", unlabelled)[0]))
        # In capitals: the points of a geometer.
        if word.lower() not in _SMALL_WORDS and not (word.isupper() and len(word) < 4)
    ]
    return len(words) >= 2
