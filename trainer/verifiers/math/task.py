"""The worker's side of the verifier `math`: one response against its references."""

from typing import Any

from trainer.verifiers.base import Outcome
from trainer.verifiers.math.answers import Answer, final_answer
from trainer.verifiers.math.equality import LONGEST_ANSWER, answer_shape, compare
from trainer.verifiers.math.guards import PASS, Comparison, is_true, unclear
from trainer.verifiers.math.readings import (
    Reading,
    answer_reading,
    formula_reading,
    reference_reading,
)


def prepare() -> None:
    """Have Math-Verify compile its patterns and its grammar's tables before workers are forked."""
    run({"problem": "", "response": r"the answer is $\frac{1}{2}x+\sqrt{2}$", "references": ["x"]})
    run({"problem": "", "response": r"\boxed{[1,2]}", "references": [r"\text{none}", "7"]})


def run(payload: dict[str, Any]) -> dict[str, Any]:
    """payload: problem, response, references; the verdict's fields but its time."""
    answer = final_answer(payload["response"], payload["problem"])
    if answer is None:
        return _fields(Comparison(Outcome.FAIL), None, "none", "none", 0)
    form = answer_shape(answer.text)
    if len(answer.text) > LONGEST_ANSWER:
        detail = f"the answer is longer than {LONGEST_ANSWER:,} characters"
        too_long = Comparison(Outcome.UNDECIDED, detail, "unclear")
        return _fields(too_long, None, answer.path, form, answer.candidates)
    reading = answer_reading(answer)
    comparisons = []
    for reference in payload["references"]:
        comparison = _committed(reference, reading, answer, payload["problem"])
        comparisons.append(comparison)
        if comparison.outcome is Outcome.PASS:
            break
    return _fields(_best(comparisons), answer.text, answer.path, form, answer.candidates)


def _committed(reference: str, reading: Reading, answer: Answer, problem: str) -> Comparison:
    """An answer passes where the response means it, and gives no other.

    In a box all of an equation is the answer; elsewhere its last side is, as in working it out.
    """
    gold = reference_reading(reference)
    comparison = compare(gold, reading, problem)
    if comparison.outcome is not Outcome.PASS:
        return comparison
    if answer.doubt:
        return unclear(answer.doubt, form="doubtful")
    if answer.path in ("boxed", "boxes") and not is_true(answer.text):
        return unclear("the sides of the equation in the box differ", form="doubtful")
    if all(compare(gold, formula_reading(other), problem) == PASS for other in answer.others):
        return PASS
    return unclear("different answers are given", form="doubtful")


def _best(comparisons: list[Comparison]) -> Comparison:
    """An answer passes with any of the references, and fails only with all of them."""
    order = [Outcome.PASS, Outcome.UNDECIDED, Outcome.FAIL]
    return min(comparisons, key=lambda comparison: order.index(comparison.outcome))


def _fields(
    comparison: Comparison, extracted: str | None, path: str, form: str, candidates: int
) -> dict[str, Any]:
    return {
        "outcome": comparison.outcome,
        "extracted": extracted,
        "path": path,
        "form": comparison.form or form,
        "candidates": candidates,
        "detail": comparison.detail,
    }
