import json
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import SHARED_DATA
from tests.trainer.math_cases import MUST_NOT_PASS, MUST_PASS, Case
from trainer.verifiers import Item, Outcome, ParameterError, Verdict, build
from trainer.verifiers.math.answers import final_answer
from trainer.verifiers.math.units import units_in
from trainer.verifiers.math.visible import as_seen
from trainer.verifiers.probes import run_suite
from trainer.verifiers.thinking import without_thinking

MEGABYTE = 1_000_000
CASES = SHARED_DATA / "math_verify_tests" / "cases.jsonl"
PROCESSBENCH = SHARED_DATA / "processbench" / "gsm8k_with_reference.jsonl"

# Where we differ from the maintainers. In all but the first two the library as it comes does too:
# their tests set its options there (rounding, strictness), or expect a line break to matter.
DIFFERENT = {
    ("$10$", r"Answer \( (9+1) \)"),
    # Undecided: the reference may be a list as well as a decimal.
    ("1,22", "1.22"),
    ("$9$", "Answer $ \n 9 \n $"),
    ("$9$", "Answer \\( \n 9 \n \\)"),
    (
        r"$(\begin{pmatrix}\frac{1}{3}\\ \frac{1}{5} \end{pmatrix})$",
        r"$\begin{pmatrix}0.33\\0.2 \end{pmatrix}$",
    ),
    (r"$(\frac{3}{5},\frac{8}{3}]$", "$(0.6,2.6667]$"),
    (r"$x \in [-2,7]$", r"$-2 \\le x \\le 7$"),
    ("$f(x)$", "$f(y)$"),
}

anything = st.text(st.characters(), max_size=200)
latex = st.lists(
    st.sampled_from(
        [
            *("\\boxed{", "{", "}", "\\frac", "$", "^", "_", "!", "1", "x", ",", "=", "\\", "("),
            *(")", "\\sqrt", "<think>", "</think>", "answer is ", "√", "%", "\\text{", "\0"),
            "\ud800",
        ]
    ),
    max_size=20,
).map("".join)


def verdict_on(response: str, *references: str, problem: str = "", **params: Any) -> Verdict:
    (verdict,) = build("math", **params).verify([Item(problem, response, references)])
    return verdict


def rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").strip().split("\n")]


@pytest.mark.parametrize("case", MUST_NOT_PASS, ids=lambda case: case.name)
def test_what_must_not_pass_does_not(case: Case) -> None:
    (verdict,) = build("math").verify([case.item])
    assert verdict.outcome is not Outcome.PASS


@pytest.mark.parametrize("case", MUST_PASS, ids=lambda case: case.name)
def test_a_right_answer_passes_however_it_is_written(case: Case) -> None:
    (verdict,) = build("math").verify([case.item])
    assert verdict.outcome is Outcome.PASS


def test_the_verdict_on_a_committed_answer_tells_what_it_judged() -> None:
    verdict = verdict_on(r"So $x = \boxed{\frac{1}{2}}$.", "0.5")
    assert (verdict.outcome, verdict.extracted) == (Outcome.PASS, r"\frac{1}{2}")
    assert (verdict.path, verdict.form, verdict.candidates) == ("boxed", "fraction", 1)
    assert (verdict.score, verdict.detail) == (None, "")


@pytest.mark.parametrize(
    ("response", "outcome", "path", "candidates"),
    [
        (r"$\boxed{10}$ or $\boxed{11}$", "fail", "boxes", 2),
        (rf"\boxed{{3}} {'and so on ' * 20} \boxed{{11}}", "undecided", "boxes", 2),
        (rf"\boxed{{3}} {'and so on ' * 20} Final answer: \boxed{{11}}", "pass", "boxes", 2),
        (r"\boxed{3}. So the final answer is $11$.", "pass", "anchored", 2),
        ("The answer is 11.", "pass", "anchored", 1),
        ("That makes 11.", "pass", "bare", 1),
        ("It could be 10, 11", "fail", "bare", 2),
        ("I do not know.", "fail", "none", 0),
        ("", "fail", "none", 0),
        (r"\boxed{ } \boxed{\phantom{2}} 11", "undecided", "bare", 1),
        ("The answer is 3. The answer is 11.", "undecided", "anchored", 2),
    ],
)
def test_how_the_answer_stands_there_is_part_of_the_signature(
    response: str, outcome: str, path: str, candidates: int
) -> None:
    verdict = verdict_on(response, "11")
    assert (verdict.outcome, verdict.path, verdict.candidates) == (outcome, path, candidates)


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        ("7", "integer"),
        ("7.5", "decimal"),
        ("1,000", "decimal"),
        ("1/2", "fraction"),
        (r"50\%", "percent"),
        ("(1, 2)", "list"),
        ("1, 2", "list"),
        (r"\frac{x}{2}", "expression"),
    ],
)
def test_an_answer_has_a_form(answer: str, form: str) -> None:
    assert verdict_on(rf"\boxed{{{answer}}}", "99").form == form


def test_a_prompt_without_reference_is_undecided() -> None:
    verdict = verdict_on(r"\boxed{7}")
    assert (verdict.outcome, verdict.detail) == ("undecided", "the prompt has no reference")


@pytest.mark.parametrize("reference", ["", "see the figure", r"\frac{1}{", "}{", "$$"])
def test_a_reference_that_is_no_mathematics_is_undecided(reference: str) -> None:
    verdict = verdict_on(r"\boxed{7}", reference)
    assert verdict.outcome is Outcome.UNDECIDED
    assert verdict.detail == "the reference does not parse as mathematics"


def test_a_sentence_for_a_reference_is_still_met_by_the_same_sentence() -> None:
    sentence = r"\text{The midpoints form a hexagon}"
    assert verdict_on(rf"\boxed{{{sentence}}}", sentence).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("answer", "form", "detail"),
    [
        (r"\frac{3}", "unparsed", "the answer does not parse as mathematics"),
        ("3+4", "unevaluated", "the answer is not worked out"),
        (r"\text{the value of } x = 7", "unclear", "the answer is a sentence"),
        ("10^{10^{10}}", "unclear", "a number is too large to be compared"),
        ("|n| = 7", "unclear", "the answer's equation is not solved"),
        ("8 = 7", "doubtful", "the sides of the equation in the box differ"),
        ("7_9", "unclear", "the answer is in a base that nobody asked for"),
        ("x" * 1001, "unclear", "the answer is longer than 1,000 characters"),
    ],
)
def test_what_cannot_be_decided_says_why(answer: str, form: str, detail: str) -> None:
    verdict = verdict_on(rf"\boxed{{{answer}}}", "7")
    assert (verdict.outcome, verdict.form, verdict.detail) == ("undecided", form, detail)


@pytest.mark.parametrize(
    ("response", "detail"),
    [
        (r"It is not $\boxed{7}$.", "the answer stands in a denial"),
        (r"Is it $\boxed{7}$?", "the answer stands in a question"),
        (
            r"\boxed{7}. I do not know.",
            "the response takes its answer back, or says that it has none",
        ),
        ("Maybe 7", "the number stands in passing"),
        ("Take 7. \\boxed{}", "the last box is empty or not closed"),
        ("<answer>7</answer>\n</answer>", "the answer tags are not one pair"),
        ("Answer: 6. Answer: 7", "different answers are given"),
    ],
)
def test_a_right_answer_that_is_not_committed_to_is_held_open(response: str, detail: str) -> None:
    verdict = verdict_on(response, "7")
    assert (verdict.outcome, verdict.form, verdict.detail) == ("undecided", "doubtful", detail)
    assert verdict_on(response, "8").outcome is Outcome.FAIL


def test_the_suites_attacks_hardly_pass_and_every_honest_answer_does() -> None:
    result = run_suite(build("math"))
    assert result.overall.rate is not None
    assert result.overall.rate.point <= 0.02
    assert not [one.attempt.attack.id for one in result.rejected_controls()]


def test_any_of_several_references_will_do() -> None:
    assert verdict_on(r"\boxed{7}", "8", "7").outcome is Outcome.PASS
    assert verdict_on(r"\boxed{7}", "8", "9").outcome is Outcome.FAIL
    assert verdict_on(r"\boxed{7}", "8", "see the figure").outcome is Outcome.UNDECIDED


@pytest.mark.parametrize("length", [MEGABYTE, 3 * MEGABYTE])
def test_an_input_that_is_too_long_is_undecided_and_named(length: int) -> None:
    items = [
        Item("", "1" * length, ("7",)),
        Item("", r"\boxed{7}", ("7",)),
        Item("", r"\boxed{7}", ("7" * length,)),
    ]
    verdicts = build("math").verify(items)
    assert [verdict.outcome for verdict in verdicts] == ["undecided", "pass", "undecided"]
    assert verdicts[0].detail == "the response is longer than 200,000 characters"
    assert verdicts[2].detail == "the reference is longer than 200,000 characters"


def test_a_megabyte_that_is_looked_at_costs_its_own_verdict_at_most() -> None:
    hostile = ["$" * MEGABYTE, "\\boxed{" * (MEGABYTE // 7), "answer " * (MEGABYTE // 7)]
    good = [Item("", rf"\boxed{{{number}}}", ("3",)) for number in range(6)]
    items = [*good[:3], *(Item("", text, ("3",)) for text in hostile), *good[3:]]
    verdicts = build("math", max_chars=2 * MEGABYTE, timeout_s=0.5).verify(items)
    outcomes = [verdict.outcome for verdict in verdicts]
    assert outcomes[:3] + outcomes[6:] == ["fail", "fail", "fail", "pass", "fail", "fail"]
    assert "pass" not in outcomes[3:6]


def test_an_item_that_takes_too_long_is_undecided_alone() -> None:
    slow = r"\boxed{\prod_{k=1}^{10^7} (k^2+\sqrt{k})}"
    items = [Item("", response, ("7",)) for response in (r"\boxed{7}", slow, r"\boxed{7}")]
    verdicts = build("math", timeout_s=1.0).verify(items)
    assert [verdict.outcome for verdict in verdicts] == ["pass", "undecided", "pass"]
    assert verdicts[1].detail == "timed out after 1 s"


@settings(max_examples=25)
@given(responses=st.lists(anything | latex, max_size=12), reference=anything | latex)
def test_hostile_text_gives_a_verdict_in_its_place(responses: list[str], reference: str) -> None:
    items = [Item("", response, (reference,)) for response in responses]
    marked = [part for item in items for part in (item, Item("", r"\boxed{7}", ("7",)))]
    verdicts = build("math", timeout_s=2.0).verify(marked)
    assert len(verdicts) == len(marked)
    assert all(verdict.outcome is Outcome.PASS for verdict in verdicts[1::2])
    assert all(verdict.detail for verdict in verdicts if verdict.outcome is Outcome.UNDECIDED)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("<think>a</think>b", "b"),
        ("a<think>b</think>c<think>d</think>e", "ace"),
        ("a</think>b", "b"),
        ("a<think>b", "a"),
        ("<THINK>a</THINK>b<thinking>c</thinking>d", "bd"),
        ("<think>a<think>b</think>c", "c"),
        ("no tags", "no tags"),
    ],
)
def test_thinking_is_left_out(text: str, kept: str) -> None:
    assert without_thinking(text) == kept


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a <!-- b --> c <!-- d", "a  c "),
        ("a <span hidden>b</span> <DIV STYLE='display:none'>c</div> d", "a   d"),
        ("a <s>b</s> <DEL x=1>c</DEL > d <strong>e</strong>", "a   d <strong>e</strong>"),
        ("<p style='text-decoration-line: line-through'>a</p>b", "b"),
        (r"\color{red}{a} {\color{white} b} c \phantom{{d}} \xcancel{e}", r"\color{red}{a} {} c  "),
        ("```py\na\n```\nb\n```\nc\n```", "\nb\n\nc\n"),
        ("a\n**User:** b", "a\n"),
        ("a ~~b~~ c ~~ d", "a  c ~~ d"),
        ("50% of\n  % a\nb", "50% of\n\nb"),
        ("a\u2028b\u200bc", "a\nbc"),
        ("x < y, z > hidden <b>c</b>", "x < y, z > hidden <b>c</b>"),
    ],
)
def test_what_no_reader_sees_is_left_out(text: str, seen: str) -> None:
    assert as_seen(text) == seen


@pytest.mark.parametrize(
    "part",
    [
        "<!--",
        "<p hidden>",
        "<s ",
        "<del>",
        "<p line-through",
        "<a ",
        "\\phantom{",
        "~~a",
        "```c\n",
        "<answer>",
        "\\boxed{1}",
        "% ",
        "not ",
    ],
)
def test_the_time_is_linear_in_hostile_text(part: str) -> None:
    started = perf_counter()
    final_answer(part * (200_000 // len(part)), "a problem")
    assert perf_counter() - started < 5


@pytest.mark.parametrize(
    ("text", "units"),
    [
        (r"5\text{ cm}^2", ("cm", "2")),
        ("5 square centimeters", ("cm", "2")),
        ("60 miles per hour", ("mi", "h")),
        ("60 mph", ("mi", "h")),
        ("11 a.m.", ("am",)),
        ("5m", ()),
        (r"5\text{ m}", ("m",)),
        ("9 apples", ()),
        (r"5 \cm", ()),
        (r"5\text{ kJ}", ("kilojoule",)),
        ("5 kilojoules", ("kilojoule",)),
        (r"5\,\mathrm{mW}", ("milliwatt",)),
        (r"5\,\mathrm{MW}", ("megawatt",)),
        ("5 \N{MICRO SIGN}mol", ("micromole",)),
        ("5N", ()),
        (r"\textbf{(A)}\ 5\text{ cm}", ("cm",)),
    ],
)
def test_units_of_measure_are_known_by_their_spellings(text: str, units: tuple[str, ...]) -> None:
    assert units_in(text) == units


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout_s", 0),
        ("timeout_s", "5"),
        ("timeout_s", float("nan")),
        ("memory_mb", 1),
        ("memory_mb", 512.5),
        ("max_chars", 0),
        ("workers", -1),
        ("workers", True),
    ],
)
def test_a_parameter_out_of_range_is_refused_and_named(name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=f"^{name}: "):
        build("math", **{name: value})


def test_limits_are_part_of_the_version_and_workers_are_not() -> None:
    assert build("math").version == build("math", workers=3).version == "2"
    assert build("math", timeout_s=1.0).version.startswith("2-")


def test_the_maintainers_cases_come_out_as_they_expect() -> None:
    cases = rows(CASES)
    verdicts = build("math", timeout_s=30.0).verify(
        [Item("", case["pred"], (case["gold"],)) for case in cases]
    )
    different = {
        (case["gold"], case["pred"])
        for case, verdict in zip(cases, verdicts, strict=True)
        if (verdict.outcome is Outcome.PASS) != case["expected"]
    }
    assert different <= DIFFERENT


def test_processbench_is_judged_as_its_final_answers_are() -> None:
    solutions = rows(PROCESSBENCH)
    verdicts = build("math", timeout_s=30.0).verify(
        [Item(row["prompt"], row["completion"], (row["reference"],)) for row in solutions]
    )
    passed = {
        truth: [
            verdict.outcome is Outcome.PASS
            for row, verdict in zip(solutions, verdicts, strict=True)
            if row["gold_answer_correct"] is truth
        ]
        for truth in (True, False)
    }
    undecided = sum(verdict.outcome is Outcome.UNDECIDED for verdict in verdicts)
    assert sum(passed[True]) / len(passed[True]) >= 0.970
    assert sum(passed[False]) / len(passed[False]) <= 0.010
    assert undecided / len(verdicts) <= 0.02
