"""The worker's side of the verifier `math`: one response against its references."""

from typing import Any

from trainer.verifiers.answers import final_answer
from trainer.verifiers.base import Outcome
from trainer.verifiers.equality import LONGEST_ANSWER, answer_shape, compare
from trainer.verifiers.guards import Comparison
from trainer.verifiers.readings import answer_reading, reference_reading


def prepare() -> None:
    """Have Math-Verify compile its patterns and its grammar's tables before workers are forked."""
    run({"problem": "", "response": r"the answer is $\frac{1}{2}x+\sqrt{2}$", "references": ["x"]})
    run({"problem": "", "response": r"\boxed{[1,2]}", "references": [r"\text{none}", "7"]})


def run(payload: dict[str, Any]) -> dict[str, Any]:
    """payload: problem, response, references; the verdict's fields but its time."""
    answer = final_answer(payload["response"])
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
        comparison = compare(reference_reading(reference), reading, payload["problem"])
        comparisons.append(comparison)
        if comparison.outcome is Outcome.PASS:
            break
    return _fields(_best(comparisons), answer.text, answer.path, form, answer.candidates)


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
