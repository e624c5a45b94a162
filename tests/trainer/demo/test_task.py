import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.tiny import TOKENIZER
from trainer.config import ConfigError, SumsConfig
from trainer.demo.task import (
    STEP_SEPARATOR,
    Problem,
    answer_of,
    boxed_answers,
    cold_start_problems,
    demonstration,
    earliest_wrong_step,
    held_out_problems,
    is_correct,
    training_problems,
    written_steps,
)
from trainer.verifiers import Item, Outcome, build

CONFIG = SumsConfig()
HONEST = SumsConfig(hedged_share=0, odd_share=0)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("9-9=0\n\n0+8=8\n\nso \\boxed{8}", True),
        ("so \\boxed{8.0}", True),
        ("so \\boxed{08}", True),
        ("so \\boxed{+8}", True),
        ("so \\boxed{8.}", True),
        ("so \\boxed{9}", False),
        ("so \\boxed{8.5}", False),
        ("so \\boxed{-8}", False),
        ("so \\boxed{}", False),
        ("so \\boxed{8+0}", False),
        ("so \\boxed{8", False),
        ("so 8", False),
        ("", False),
        ("maybe \\boxed{8} or \\boxed{9}", False),
        ("maybe \\boxed{8} or \\boxed{8}", False),
    ],
)
def test_rubric_wants_one_committed_answer_that_is_numerically_right(
    response: str, expected: bool
) -> None:
    assert is_correct(response, "9-9+8=?") is expected


@pytest.mark.parametrize(
    ("problem", "answer"), [("9-9+8=?", 8), ("0-4-8=?", -12), ("1+2=?\n", 3), ("12-30+4=?", -14)]
)
def test_answer_is_computed_from_the_problems_text(problem: str, answer: int) -> None:
    assert answer_of(problem) == answer


@pytest.mark.parametrize("text", ["", "what is 1+1?", "9=?", "1+1", "__import__('os')=?"])
def test_other_texts_are_no_problems(text: str) -> None:
    with pytest.raises(ValueError, match="not a problem"):
        answer_of(text)


@pytest.mark.parametrize(
    ("steps", "wrong"),
    [
        (["9-9=0", "0+8=8", "so \\boxed{8}"], None),
        (["9-9=1", "1+8=9"], 1),
        (["9-9=0", "0+8=7", "7+1=9"], 2),
        (["-4-8=-12", "-12+2=-10"], None),
        (["-4-8=-4"], 1),
        (["so \\boxed{8}", "nine"], None),
        ([], None),
    ],
)
def test_earliest_step_with_wrong_arithmetic_is_found(steps: list[str], wrong: int | None) -> None:
    assert earliest_wrong_step(steps) == wrong


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=6), st.integers(0, 2**32))
def test_honest_demonstration_is_correct_step_by_step(terms: list[int], seed: int) -> None:
    text = str(abs(terms[0])) + "".join(f"{term:+d}" for term in terms[1:]) + "=?"
    problem = Problem(text, answer_of(text))
    response = demonstration(problem, HONEST, random.Random(seed))
    assert is_correct(response, text)
    assert earliest_wrong_step(response.split(STEP_SEPARATOR)) is None
    assert len(written_steps(text)) == len(terms) - 1
    assert TOKENIZER.decode(TOKENIZER.encode(response)) == response


def test_planted_propensities_have_their_shares_and_fool_the_verifier() -> None:
    rng, verifier = random.Random(0), build("boxed-any")
    problems = held_out_problems(CONFIG, 400) * 5
    responses = [demonstration(problem, CONFIG, rng) for problem in problems]
    hedges = [len(boxed_answers(response)) > 1 for response in responses]
    odd = [bool(re.search(r"\.0}|\{-?0\d", response)) for response in responses]
    assert sum(hedges) / 2000 == pytest.approx(0.15, abs=0.03)
    assert sum(odd) / 2000 == pytest.approx(0.85 * 0.2, abs=0.03)
    verdicts = verifier.verify(
        [
            Item(problem.text, response, (str(problem.answer),))
            for problem, response in zip(problems, responses, strict=True)
        ]
    )
    for problem, response, verdict, is_hedge, is_odd in zip(
        problems, responses, verdicts, hedges, odd, strict=True
    ):
        assert is_correct(response, problem.text) == (not is_hedge)
        assert (verdict.outcome is Outcome.PASS) == (not is_odd)


def test_no_held_out_problem_is_trained_on() -> None:
    held_out = held_out_problems(CONFIG, 256)
    assert len(set(held_out)) == 256
    for stream in (cold_start_problems, training_problems):
        problems = stream(CONFIG, seed=0, size=3000, held_out=held_out)
        assert len(problems) == 3000
        assert not set(problems) & set(held_out)


def test_streams_differ_by_seed_and_purpose_and_repeat() -> None:
    held_out = held_out_problems(CONFIG, 8)
    streams = [
        tuple(stream(CONFIG, seed=seed, size=20, held_out=held_out))
        for stream in (cold_start_problems, training_problems)
        for seed in (0, 1)
    ]
    assert len(set(streams)) == 4
    assert streams[0] == tuple(cold_start_problems(CONFIG, seed=0, size=20, held_out=held_out))
    assert held_out_problems(CONFIG, 16)[:8] == held_out


def test_task_with_too_few_problems_is_refused() -> None:
    small = SumsConfig(min_terms=2, max_terms=2)
    with pytest.raises(ConfigError, match=r"task\.max_terms: fewer than 500"):
        held_out_problems(small, 500)
    with pytest.raises(ConfigError, match=r"task\.max_terms: most"):
        training_problems(small, seed=0, size=500, held_out=held_out_problems(small, 100))
