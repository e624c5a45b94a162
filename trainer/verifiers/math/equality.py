r"""Whether an answer in mathematics equals the reference: Math-Verify, with guards around it.

The library decides what is equal, `guards` what of that holds. What is decided here before the
library is asked is the same text, and no solution written in words.
"""

import math
import re
from typing import Any

import sympy
from math_verify import verify as library_verify

from trainer.verifiers.base import Outcome
from trainer.verifiers.math.answers import squeezed
from trainer.verifiers.math.beside import has_number_beside, rewritten, scales
from trainer.verifiers.math.boxed import answer_form
from trainer.verifiers.math.choices import choice_alone, choice_before, is_one_value
from trainer.verifiers.math.guards import (
    FAIL,
    NUMBER,
    PASS,
    Comparison,
    after_guards,
    is_prose,
    unclear,
)
from trainer.verifiers.math.readings import Reading, formula_reading

LONGEST_ANSWER = 1_000
# A number of more bits takes the library seconds to minutes.
_MOST_BITS = 100_000
_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]+,[0-9]+")
_NOTHING = re.compile(
    r"\\emptyset|\\varnothing|\\\{\\\}"
    r"|(?:there(?:is|are))?no(?:real)?(?:solutions?|roots?)(?:exists?)?|(?:the)?emptyset",
    re.IGNORECASE,
)
_LIST = re.compile(r"[\[({].*,.*[\])}]|[^,()]+(?:,\s*[^,()]+)+|.*\\begin\{.?matrix", re.DOTALL)


def compare(gold: Reading, answer: Reading, problem: str) -> Comparison:
    """Whether the answer equals the reference, asked this problem, as a whole or as a choice."""
    comparison = _compare_whole(gold, answer, problem)
    if comparison.outcome is Outcome.PASS:
        return comparison
    return _compare_choices(gold, answer, problem) or comparison


def _compare_choices(gold: Reading, answer: Reading, problem: str) -> Comparison | None:
    """What the letter of a choice, or what it stands for, decides; None: nothing."""
    wanted, given = choice_before(gold.text), choice_before(answer.text)
    if wanted is None and given is None:
        return None
    value, said = (
        side if choice is None else formula_reading(choice[1], side.after)
        for side, choice in ((gold, wanted), (answer, given))
    )
    letters = [
        choice[0] if choice else choice_alone(side.text)
        for side, choice in ((gold, wanted), (answer, given))
    ]
    is_same_letter = letters[0] == letters[1]
    is_same_value = _compare_whole(value, said, problem) == PASS
    if wanted and given:
        if is_same_letter and is_same_value:
            return PASS
        if is_same_letter or is_same_value:
            return unclear("the letter is not that of the value", form="doubtful")
        return None
    if given and letters[0]:
        # The reference is a letter alone: what the answer puts behind it is not known to be right.
        if not is_same_letter:
            return None
        return PASS if is_one_value(given[1]) else unclear("more than a choice", form="doubtful")
    return PASS if is_same_value or (wanted and is_same_letter) else None


def _compare_whole(gold: Reading, answer: Reading, problem: str) -> Comparison:
    if _are_the_same(gold, answer) or _both_empty(gold.text, answer.text):
        return PASS
    if not gold.is_read or is_prose(gold.text):
        return unclear("the reference does not parse as mathematics")
    if not answer.is_read:
        return unclear("the answer does not parse as mathematics", form="unparsed")
    if any(map(_is_too_large, (*gold.parsed, *answer.parsed))):
        return unclear("a number is too large to be compared")
    if not _library_says_equal(gold, answer):
        if _DECIMAL_COMMA.fullmatch(gold.text) and gold.text.replace(",", ".") == answer.text:
            return unclear("the reference's comma may stand for a decimal point, or for a list")
        return FAIL
    return after_guards(gold, answer, problem)


def answer_shape(text: str) -> str:
    """How an answer is written: "integer", "decimal" (any other plain number), "fraction",
    "percent", "list" (also tuples, sets, intervals, matrices) or "expression"."""
    bare = re.sub(r"\s|\$|\\[,;:! ]", "", text)
    form = answer_form(bare)
    if form != "expression":
        return "integer" if form == "integer" else "decimal"
    if re.search(r"%", bare):
        return "percent"
    if NUMBER.fullmatch(bare):
        return "fraction"
    return "list" if _LIST.fullmatch(text.strip()) else "expression"


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


def _are_the_same(gold: Reading, answer: Reading) -> bool:
    """In letters, and in what makes another number of them."""
    return (
        squeezed(gold.text) == squeezed(answer.text)
        and scales(gold.text) == scales(answer.text, answer.after)
        and has_number_beside(rewritten(gold.text)) == has_number_beside(rewritten(answer.text))
    )


def _both_empty(gold: str, answer: str) -> bool:
    return all(
        _NOTHING.fullmatch(re.sub(r"[{}.]", "", part).strip() or part)
        for part in (squeezed(gold), squeezed(answer))
    )


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
