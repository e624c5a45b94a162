import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.verifiers import Item, Outcome, Verdict, build

NAIVE = ("contains-reference", "first-boxed", "last-number")


def verdict_on(verifier: str, response: str, *references: str) -> Verdict:
    (verdict,) = build(verifier).verify([Item("2+2?", response, references)])
    return verdict


@pytest.mark.parametrize(
    ("verifier", "response", "outcome", "extracted"),
    [
        ("last-number", "first 3, then 1,000.", "pass", "1000"),
        ("last-number", "1000 on page 7", "fail", "7"),
        ("last-number", "no number", "fail", None),
        ("first-boxed", r"\boxed{1000} or \boxed{7}", "pass", "1000"),
        ("first-boxed", r"\boxed{7} or \boxed{1000}", "fail", "7"),
        ("first-boxed", "1000", "fail", None),
        ("contains-reference", "not 1000", "pass", "1000"),
        ("contains-reference", "1,000", "fail", None),
    ],
)
def test_a_naive_verifier_looks_at_one_thing(
    verifier: str, response: str, outcome: str, extracted: str | None
) -> None:
    verdict = verdict_on(verifier, response, "1000")
    assert (verdict.outcome, verdict.extracted) == (outcome, extracted)


@pytest.mark.parametrize("verifier", NAIVE)
def test_without_a_reference_the_outcome_is_undecided_and_says_so(verifier: str) -> None:
    verdict = verdict_on(verifier, r"\boxed{7}")
    assert verdict.outcome is Outcome.UNDECIDED
    assert "no reference" in verdict.detail


@given(
    verifier=st.sampled_from(NAIVE),
    response=st.text(st.characters()),
    references=st.lists(st.text(st.characters())),
)
def test_hostile_text_gives_a_verdict(verifier: str, response: str, references: list[str]) -> None:
    verdict = verdict_on(verifier, response, *references)
    assert (verdict.outcome is Outcome.UNDECIDED) == (not references)
    assert (verdict.extracted is None) == (verdict.candidates == 0)
