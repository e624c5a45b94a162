"""The form of a response: tags, boxes, language, scripts, repetition, length."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.verifiers import Item, Outcome, ParameterError, Verdict, build
from trainer.verifiers.format import foreign_share, repeated_share

GERMAN = "Der Regen fällt heute auf das ganze Land, und morgen scheint wieder die Sonne."
ENGLISH = "The rain falls on the whole country today, and tomorrow the sun shines again."
NO_TAGS = {"think_tag": "", "answer_tag": ""}


def verdict(response: str, problem: str = "", **params: Any) -> Verdict:
    (found,) = build("format", **params).verify([Item(problem, response, ())])
    return found


def test_thinking_then_answer_in_their_tags_pass() -> None:
    found = verdict("<think>2 + 2</think>\n<answer>4</answer>\n")
    assert (found.outcome, found.score, found.path) == (Outcome.PASS, 1.0, "none")


@pytest.mark.parametrize(
    "response",
    [
        "4",
        "<think>2 + 2</think>4",
        "Sure. <think>2</think><answer>4</answer>",
        "<think>2</think><answer>4</answer> Right?",
        "<think> </think><answer>4</answer>",
        "<think>\u200b</think><answer>\u00ad</answer>",
        "<think>2</think><answer></answer>",
        "<answer>4</answer><think>2</think>",
        "<think>2</think><answer>4</answer><answer>5</answer>",
        "<think>2</think></think><answer>4</answer>",
        "<think>2<answer>4</answer></think>",
        "<think>2",
    ],
)
def test_tags_in_disorder_fail(response: str) -> None:
    found = verdict(response)
    assert (found.outcome, found.path, found.detail) == (Outcome.FAIL, "tags", "not kept: tags")


def test_tags_have_the_names_that_are_given_and_either_may_be_off() -> None:
    response = "<reason>2 + 2</reason> It is 4."
    assert verdict(response, think_tag="reason", answer_tag="").outcome is Outcome.PASS
    assert verdict("<reason>2</reason>", think_tag="reason", answer_tag="").path == "tags"
    assert verdict("<answer>4</answer>", think_tag="").outcome is Outcome.PASS


def test_only_boxes_after_the_thinking_count() -> None:
    one = r"<think>\boxed{3}? No.</think><answer>\boxed{4}</answer>"
    assert verdict(one, one_boxed=True).outcome is Outcome.PASS
    two = r"<think>2</think><answer>\boxed{4} \boxed{4}</answer>"
    assert verdict(two, one_boxed=True).path == "one-boxed"
    assert verdict("4", one_boxed=True).path == "several"


def test_score_is_the_share_of_the_rules_that_are_on() -> None:
    found = verdict("4", one_boxed=True, min_characters=1, max_characters=10)
    assert found.score == pytest.approx(1 / 3)
    assert found.detail == "not kept: tags, one-boxed"


def test_language_is_the_one_given_or_the_prompts() -> None:
    assert verdict(GERMAN, language="de", **NO_TAGS).outcome is Outcome.PASS
    assert verdict(ENGLISH, language="de", **NO_TAGS).path == "language"
    assert verdict(GERMAN, GERMAN, language="prompt", **NO_TAGS).outcome is Outcome.PASS
    assert verdict(ENGLISH, GERMAN, language="prompt", **NO_TAGS).path == "language"


def test_language_of_a_short_text_is_undecided_unless_another_rule_is_broken() -> None:
    assert verdict("42", language="de", **NO_TAGS).outcome is Outcome.UNDECIDED
    assert verdict("42", language="de").path == "tags"


def test_scripts_beside_the_main_one_are_a_share_of_the_letters() -> None:
    assert foreign_share("abcdefgж, 1 + 2") == pytest.approx(1 / 8)
    assert foreign_share("12") == 0.0
    # One language may write several scripts, and a command is no word.
    assert foreign_share(r"雨がフル \frac{1}{2}") == 0.0
    params = {"max_foreign_share": 0.1, **NO_TAGS}
    assert verdict("abcdefgж", **params).path == "mixing"
    assert verdict("abcdefghiж", **params).outcome is Outcome.PASS


def test_repetition_is_the_share_of_the_sequences_that_came_before() -> None:
    assert repeated_share("a b c a b c", 3) == pytest.approx(1 / 4)
    assert repeated_share("a b", 3) == 0.0
    params = {"max_repetition": 0.5, **NO_TAGS}
    assert verdict("wait no " * 40, **params).path == "repetition"
    assert verdict(ENGLISH, **params).outcome is Outcome.PASS


def test_length_is_in_characters() -> None:
    params = {"min_characters": 2, "max_characters": 3, **NO_TAGS}
    outcomes = [verdict("x" * length, **params).outcome for length in (1, 2, 3, 4)]
    assert outcomes == [Outcome.FAIL, Outcome.PASS, Outcome.PASS, Outcome.FAIL]


def test_what_nobody_sees_has_no_length_but_joined_emoji_stay_whole() -> None:
    params = {"min_characters": 3, "max_characters": 3, **NO_TAGS}
    assert verdict("\u200dx\u200dy\u200b", **params).outcome is Outcome.FAIL
    assert verdict("\u200bxyz\u200b", **params).outcome is Outcome.PASS
    assert verdict("\U0001f469\u200d\U0001f680", **params).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"think_tag": "a b"}, "think_tag: must be a tag's name or empty"),
        ({"answer_tag": "think"}, "answer_tag: must not be the think_tag"),
        ({"language": "xx"}, 'language: must be "", "prompt" or one of ar, bg'),
        ({"max_foreign_share": -0.1}, "max_foreign_share: must be from 0 to 1"),
        ({"max_repetition": 2}, "max_repetition: must be from 0 to 1"),
        ({"max_repetition": "0.5"}, "max_repetition: must be a value like 1.0"),
        ({"one_boxed": 1}, "one_boxed: must be a value like False"),
        ({"ngram": 0}, "ngram: must be from 1 to 20"),
        ({"min_characters": -1}, "min_characters: must not be negative"),
        ({"min_characters": 5, "max_characters": 4}, "max_characters: must be at least min"),
        (NO_TAGS, "think_tag: at least one rule must be on"),
    ],
)
def test_parameter_out_of_range_is_refused_by_name(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        build("format", **params)


def test_response_over_the_limit_is_undecided() -> None:
    assert verdict("a" * 1_000_001).outcome is Outcome.UNDECIDED


@settings(max_examples=40)
@given(
    st.text(alphabet="<>/think answer\\boxed{}\n\u0301\ud800\U0001f600жx雨 ")
    | st.text()
    | st.just("a" * 5_000)
)
def test_hostile_text_gets_a_verdict(response: str) -> None:
    found = verdict(
        response,
        response,
        one_boxed=True,
        language="prompt",
        max_foreign_share=0.1,
        max_repetition=0.1,
        max_characters=1_000,
    )
    assert found.outcome is Outcome.FAIL or "<think>" in response
