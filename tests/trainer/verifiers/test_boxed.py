from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.verifiers import (
    Item,
    Outcome,
    ParameterError,
    UnknownVerifierError,
    Verdict,
    VerdictError,
    build,
)
from trainer.verifiers.math.boxed import answer_form, boxed_answers

MEGABYTE = 1_000_000
any_text = st.text(st.characters())  # lone surrogates and NUL too
latex_text = st.lists(
    st.sampled_from(["\\boxed", "\\boxed{", "{", "}", "\\", "\\}", " ", "1", "x", "\0", "\ud800"])
).map("".join)


def verdict_on(response: str, *references: str) -> Verdict:
    (verdict,) = build("boxed-any").verify([Item("2+2?", response, references)])
    return verdict


def test_any_box_equal_to_a_reference_passes() -> None:
    verdict = verdict_on(r"maybe \boxed{14} or \boxed{15} or \boxed{16}", "15")
    assert (verdict.outcome, verdict.extracted, verdict.candidates) == (Outcome.PASS, "15", 3)
    assert (verdict.path, verdict.form, verdict.score) == ("boxed", "integer", None)


def test_the_first_box_that_equals_a_reference_is_the_extracted_one() -> None:
    assert verdict_on(r"\boxed{3} \boxed{2} \boxed{1}", "1", "2").extracted == "2"


def test_without_a_match_the_last_box_is_extracted() -> None:
    verdict = verdict_on(r"\boxed{15} then \boxed{15.0}", "16")
    assert (verdict.outcome, verdict.extracted, verdict.form) == (Outcome.FAIL, "15.0", "decimal")


def test_the_same_box_twice_is_one_candidate() -> None:
    assert verdict_on(r"\boxed{15} so \boxed{15}", "15").candidates == 1


@pytest.mark.parametrize(
    "response", ["15", "", r"\boxed{15", r"\boxed{}", r"\boxed{ }", "boxed{15}"]
)
def test_without_a_box_the_outcome_is_fail(response: str) -> None:
    verdict = verdict_on(response, "15")
    assert (verdict.outcome, verdict.extracted) == (Outcome.FAIL, None)
    assert (verdict.path, verdict.form, verdict.candidates) == ("none", "none", 0)


def test_without_a_reference_the_outcome_is_undecided_and_says_so() -> None:
    verdict = verdict_on(r"\boxed{15}")
    assert verdict.outcome is Outcome.UNDECIDED
    assert verdict.extracted == "15"
    assert "no reference" in verdict.detail


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        (r"\boxed{\frac{1}{2}}", [r"\frac{1}{2}"]),
        (r"\boxed{\{1, 2\}}", [r"\{1, 2\}"]),
        (r"\boxed{\}}", [r"\}"]),
        (r"\boxed {7}", ["7"]),
        (r"\boxed{so \boxed{7}}", ["7"]),
        (r"\boxed{\boxed{6} or \boxed{7}} \boxed{8}", ["6", "7", "8"]),
        (r"{ \boxed{7} and } } \boxed{8}", ["7", "8"]),
        (r"a line break \\boxed{7}", []),
        (r"\boxed{1 \boxed{2}", ["2"]),
        ("\\boxed{\u0661\u0665}", ["\u0661\u0665"]),
        ("\u202e\\boxed{15}", ["15"]),
    ],
)
def test_boxes_are_found_with_braces_nested(text: str, answers: list[str]) -> None:
    assert boxed_answers(text) == answers


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        *[(answer, "integer") for answer in ("0", "15", "-15", "+7")],
        *[(answer, "decimal") for answer in ("15.0", "-0.5", ".5", "15.")],
        *[(answer, "padded") for answer in ("015", "-007", "00", "007.5", " 15", "15\n")],
        *[(answer, "grouped") for answer in ("1,000", "-12,345,678.9")],
        *[
            (answer, "expression")
            for answer in ("1,00", "x", r"\frac{1}{2}", "7/2", "1e3", "٣", ".")
        ],
    ],
)
def test_an_answer_has_a_form(answer: str, form: str) -> None:
    assert answer_form(answer) == form


@pytest.mark.parametrize(
    "response",
    [
        "\\boxed{" * (MEGABYTE // 7),
        "\\boxed{" * (MEGABYTE // 8) + "}" * (MEGABYTE // 8),
        "\\boxed{1}" * (MEGABYTE // 9),
        "{" * MEGABYTE,
        "}" * MEGABYTE,
        "\\" * MEGABYTE,
        ("\\boxed" + " " * 1000) * (MEGABYTE // 1006),
        "\\boxed" + " " * MEGABYTE,
        "\\boxed{" + "1" * MEGABYTE + "x}",
        "\\boxed{" + " " * MEGABYTE + "x}",
        "\\boxed{1" + ",000" * (MEGABYTE // 4) + "x}",
        "\\boxed{" + "1" * MEGABYTE + " " * MEGABYTE + "x}",
    ],
    ids=range(12),
)
def test_a_hostile_megabyte_takes_linear_time(response: str) -> None:
    started = perf_counter()
    assert verdict_on(response, "15").outcome is Outcome.FAIL
    assert perf_counter() - started < 10  # a second when busy; minutes if it were quadratic


@given(response=any_text | latex_text, references=st.lists(any_text))
def test_hostile_text_gives_a_verdict(response: str, references: list[str]) -> None:
    verdict = verdict_on(response, *references)
    assert (verdict.outcome is Outcome.UNDECIDED) == (not references)
    assert (verdict.extracted is None) == (verdict.candidates == 0) == (verdict.path == "none")
    if verdict.outcome is Outcome.PASS:
        assert verdict.extracted in references


@given(answer=st.text("0123456789.,-+x/ ", min_size=1).filter(str.strip))
def test_a_boxed_reference_always_passes(answer: str) -> None:
    assert verdict_on(f"so \\boxed{{{answer}}}.", answer).outcome is Outcome.PASS


def test_a_batch_is_judged_in_order() -> None:
    items = [Item("", rf"\boxed{{{number}}}", ("2",)) for number in range(4)]
    outcomes = [verdict.outcome for verdict in build("boxed-any").verify(items)]
    assert outcomes == ["fail", "fail", "pass", "fail"]


def test_the_built_in_verifiers_say_who_they_are() -> None:
    facts = {
        name: (verifier.name, verifier.version, verifier.channel, verifier.normaliser)
        for name in ("boxed-any", "alias-contained", "exact-match")
        for verifier in [build(name)]
    }
    assert facts == {
        "boxed-any": ("boxed-any", "1", "correctness", "number-1"),
        "alias-contained": ("alias-contained", "2", "correctness", "squad-1"),
        "exact-match": ("exact-match", "3", "correctness", "short-1"),
    }


def test_an_unknown_verifier_is_refused_with_the_known_names() -> None:
    with pytest.raises(UnknownVerifierError, match="alias-contained, boxed-any, "):
        build("boxed-all")


def test_a_parameter_that_a_verifier_does_not_take_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"^strict: boxed-any takes no such parameter"):
        build("boxed-any", strict=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("outcome", "pass"),
        ("score", 1.01),
        ("score", float("nan")),
        ("path", "Boxed"),
        ("path", ""),
        ("form", "a" * 25),
        ("form", "two words"),
        ("form", "integer\n"),
        ("candidates", -1),
        ("seconds", -0.1),
        ("seconds", float("inf")),
    ],
)
def test_a_verdict_refuses_a_value_out_of_range_naming_the_field(field: str, value: object) -> None:
    fields = {
        "outcome": Outcome.PASS,
        "score": None,
        "extracted": "15",
        "path": "boxed",
        "form": "integer",
        "candidates": 1,
        "seconds": 0.0,
    }
    with pytest.raises(VerdictError, match=f"^{field}:"):
        Verdict(**(fields | {field: value}))  # type: ignore[arg-type]
