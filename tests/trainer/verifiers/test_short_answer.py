import json
from collections import Counter
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trainer.verifiers import Item, Outcome, Verdict, build
from trainer.verifiers.short_answer import aliases_of, short_normal_form, squad_normal_form

EVOUNA = Path(__file__).parents[3].parent / "shared" / "data" / "evouna" / "tq.jsonl"
MEGABYTE = 1_000_000
any_text = st.text(st.characters())  # lone surrogates and NUL too


def verdict_on(response: str, *references: str, verifier: str = "alias-contained") -> Verdict:
    (verdict,) = build(verifier).verify([Item("Who?", response, references)])
    return verdict


@pytest.mark.parametrize(
    ("text", "normal_form"),
    [
        ("The  Beatles!", "beatles"),
        ("  A man, a plan ", "man plan"),
        ("Ross Bagdasarian Sr.", "ross bagdasarian sr"),
        ("co-op\u00a0shop\n", "coop shop"),
        ("Beyonce\u0301", "beyonc\u00e9"),
        ("BEYONC\u00c9", "beyonc\u00e9"),
        ("\u200eDavid\0 \u202eSeville\ufeff", "david seville"),
        ("\u33cc", "\u33cc"),
        ("the", ""),
        ("", ""),
    ],
)
def test_the_squad_normal_form(text: str, normal_form: str) -> None:
    assert squad_normal_form(text) == normal_form


@given(any_text)
def test_the_squad_normal_form_of_itself_is_itself(text: str) -> None:
    once = squad_normal_form(text)
    assert squad_normal_form(once) == once


def test_aliases_are_split_at_slashes_and_empty_ones_left_out() -> None:
    assert aliases_of(["Scorpio/Skorpio//scorpio!", "The", "Virgo"]) == (
        "scorpio",
        "skorpio",
        "virgo",
    )


def test_an_answer_that_contains_an_alias_passes() -> None:
    verdict = verdict_on(" It was David Seville, they say. ", "Ross Bagdasarian/David Seville")
    assert verdict.outcome is Outcome.PASS
    assert verdict.extracted == "It was David Seville, they say."
    assert (verdict.path, verdict.form, verdict.candidates) == ("alias", "sentence", 1)


def test_exact_match_wants_the_whole_answer() -> None:
    contained = verdict_on("It was David Seville", "David Seville", verifier="exact-match")
    assert (contained.outcome, contained.path) == (Outcome.FAIL, "alias")
    exact = verdict_on("the david seville.", "David Seville", verifier="exact-match")
    assert (exact.outcome, exact.path, exact.form) == (Outcome.PASS, "alias", "short")


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        *(("15", "1.5"), ("5", ".5"), ("-5", "5"), ("-$5", "$5"), ("1", "1/2"), ("2", "1/2")),
        *(("34", "3-4"), ("530", "5:30"), ("x > 5", "x < 5"), ("C", "C++"), ("C#", "C")),
    ],
)
def test_exact_match_tells_apart_what_punctuation_tells_apart(answer: str, reference: str) -> None:
    assert verdict_on(answer, reference, verifier="exact-match").outcome is Outcome.FAIL
    assert verdict_on(reference, reference, verifier="exact-match").outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        *(("x<5", "X < 5"), ("\N{MINUS SIGN}5", "-5"), ("C++.", "c++"), ("1,000", "1000")),
        *(
            ("(A)", "A"),
            ("f(-1)", "f (-1)"),
            ("a", "A"),
            ("co-op", "coop"),
            ("5.", "5"),
            ("DC", "AC/DC"),
        ),
    ],
)
def test_exact_match_lets_other_punctuation_go(answer: str, reference: str) -> None:
    assert verdict_on(answer, reference, verifier="exact-match").outcome is Outcome.PASS


def test_a_reference_without_words_is_said_to_be_so() -> None:
    verdict = verdict_on("x", "?!", verifier="exact-match")
    assert (verdict.outcome, verdict.detail) == (
        Outcome.UNDECIDED,
        "the prompt has no reference with a word that counts",
    )


@example("0(+0")
@example("a-.0")
@given(any_text | st.text("0123456789.-+/:<>=#aC $(,", max_size=20))
def test_the_short_normal_form_of_itself_is_itself(text: str) -> None:
    once = short_normal_form(text)
    assert short_normal_form(once) == once


def test_an_answer_without_an_alias_fails() -> None:
    verdict = verdict_on("Libra", "Scorpio")
    assert (verdict.outcome, verdict.path, verdict.form) == (Outcome.FAIL, "none", "short")


@pytest.mark.parametrize(("words", "form"), [(4, "short"), (5, "sentence")])
def test_up_to_four_words_are_a_short_answer(words: int, form: str) -> None:
    assert verdict_on("the " + "word " * words, "x").form == form


@pytest.mark.parametrize("response", ["", " \n", "...", "The"])
def test_an_empty_answer_fails_without_a_candidate(response: str) -> None:
    verdict = verdict_on(response, "Scorpio")
    assert (verdict.outcome, verdict.extracted) == (Outcome.FAIL, None)
    assert (verdict.path, verdict.form, verdict.candidates) == ("none", "none", 0)


@pytest.mark.parametrize("references", [(), ("",), ("/ the /",)])
@pytest.mark.parametrize("verifier", ["alias-contained", "exact-match"])
def test_without_a_usable_reference_the_outcome_is_undecided(
    verifier: str, references: tuple[str, ...]
) -> None:
    verdict = verdict_on("Scorpio", *references, verifier=verifier)
    assert verdict.outcome is Outcome.UNDECIDED
    assert "no reference" in verdict.detail


@example(response="", references=["A"], verifier="exact-match")
@given(
    response=any_text,
    references=st.lists(any_text),
    verifier=st.sampled_from(["alias-contained", "exact-match"]),
)
def test_hostile_text_gives_a_verdict(response: str, references: list[str], verifier: str) -> None:
    verdict = verdict_on(response, *references, verifier=verifier)
    normal_form = short_normal_form if verifier == "exact-match" else squad_normal_form
    words = [normal_form(alias) for reference in references for alias in reference.split("/")]
    assert (verdict.outcome is Outcome.UNDECIDED) == (not any(words))
    assert (verdict.extracted is None) == (verdict.candidates == 0)
    if verdict.outcome is Outcome.PASS:
        assert verdict.path == "alias"


@pytest.mark.parametrize(
    "response",
    [
        "a" * MEGABYTE,
        "a " * (MEGABYTE // 2),
        "." * MEGABYTE,
        "\0" * MEGABYTE,
        "\ud800" * MEGABYTE,
        "\u05d0\u202e" * (MEGABYTE // 2),
        # Putting a run of marks in canonical order takes quadratic time.
        "e" + "\u0315" * (MEGABYTE // 2) + "\u0316" * (MEGABYTE // 2),
        "e" + "\u0f73" * MEGABYTE,
        "\ufdfa" * MEGABYTE,
    ],
    ids=range(9),
)
def test_a_hostile_megabyte_takes_linear_time(response: str) -> None:
    started = perf_counter()
    assert verdict_on(response, "Scorpio", "\u00e9").outcome is Outcome.FAIL
    assert perf_counter() - started < 10  # a second when busy; minutes if it were quadratic


@pytest.mark.skipif(not EVOUNA.exists(), reason=f"the EVOUNA answers are not at {EVOUNA}")
@pytest.mark.parametrize(
    ("verifier", "recall", "fpr"),
    [("alias-contained", 0.903, 0.023), ("exact-match", 0.249, 0.001)],
)
def test_human_judged_answers_give_the_measured_rates(
    verifier: str, recall: float, fpr: float
) -> None:
    with EVOUNA.open(encoding="utf-8") as lines:
        prompts = list(map(json.loads, lines))
    proper = [prompt for prompt in prompts if not prompt["improper"]]
    counts: Counter[tuple[bool, Outcome]] = Counter()
    for prompt in proper:
        items = [
            Item(prompt["prompt"], completion["text"], (prompt["reference"],))
            for completion in prompt["completions"]
        ]
        truth = [completion["human_correct"] for completion in prompt["completions"]]
        verdicts = build(verifier).verify(items)
        counts.update(zip(truth, (verdict.outcome for verdict in verdicts), strict=True))
    assert len(proper) == 1938
    assert counts.total() == 9690
    rates = [
        counts[truth, Outcome.PASS] / sum(counts[truth, outcome] for outcome in Outcome)
        for truth in (True, False)
    ]
    assert [round(rate, 3) for rate in rates] == [recall, fpr]


@pytest.mark.parametrize(
    ("response", "path"),
    [
        ("It was Sir Walter Scott", "alias"),
        ("Walter, I think", "most"),
        ("Sir Anybody", "part"),
        ("Lord Byron", "none"),
        ("", "none"),
    ],
)
def test_the_path_says_how_near_a_rejected_answer_comes(response: str, path: str) -> None:
    references = ("Walter Scott",) if path != "part" else ("Sir Walter Scott of Abbotsford",)
    assert verdict_on(response, *references).path == path
