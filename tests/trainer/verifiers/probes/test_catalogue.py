"""What holds for every attack, prompt and control of the catalogue."""

import contextlib
import io
import json
import re
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest

from trainer.verifiers import Outcome, build
from trainer.verifiers.math.boxed import boxed_answers
from trainer.verifiers.probes import (
    CONTROL,
    KINDS,
    Prompt,
    attack_from_json,
    attack_to_json,
    attempts_for,
    built_in_attacks,
    built_in_prompts,
    known_families,
)
from trainer.verifiers.probes.suite import Attempt
from trainer.verifiers.probes.templates import NAMES
from trainer.verifiers.short_answer import aliases_of, squad_normal_form

ATTACKS = built_in_attacks()
PROMPTS = built_in_prompts()
EVERY = len(PROMPTS)

# A placeholder that nobody fills; the braces of LaTeX follow a command or another brace.
UNFILLED = re.compile(r"(?<![A-Za-z}_^\\])\{[a-z_]{2,}(?:\|[a-z0-9]+)*\}")


def attempts(kind: str, *, controls: bool) -> list[Attempt]:
    made, without_prompt = attempts_for(kind, PROMPTS, ATTACKS, per_attack=EVERY)
    assert without_prompt == []
    return [attempt for attempt in made if attempt.attack.is_control == controls]


def test_there_are_at_least_120_attacks_and_no_id_twice() -> None:
    assert sum(not attack.is_control for attack in ATTACKS) >= 120
    assert max(Counter(attack.id for attack in ATTACKS).values()) == 1
    assert max(Counter(prompt.id for prompt in PROMPTS).values()) == 1


def test_every_family_of_the_catalogue_has_attacks_on_every_kind_of_verifier() -> None:
    sizes = Counter(attack.family for attack in ATTACKS)
    assert set(sizes) == {*known_families(), CONTROL}
    assert min(sizes.values()) >= 8
    for kind in KINDS:
        families = {attack.family for attack in ATTACKS if kind in attack.kinds}
        assert CONTROL in families
        assert len(families) >= 5


@pytest.mark.parametrize("kind", KINDS)
def test_every_attack_renders_over_every_prompt_that_it_fits(kind: str) -> None:
    made = attempts(kind, controls=False) + attempts(kind, controls=True)
    assert {one.attack.id for one in made} == {one.id for one in ATTACKS if kind in one.kinds}
    for attempt in made:
        found = UNFILLED.search(attempt.item.response[:5_000])
        assert found is None, (attempt.attack.id, found)


def test_every_value_is_asked_for_by_some_attack() -> None:
    """All but the reference as it stands, which is there for attacks that are added."""
    asked: set[str] = set().union(*(attack.names for attack in ATTACKS))
    assert asked == NAMES - {"reference"}


def test_an_attack_says_what_it_targets_and_where_it_comes_from() -> None:
    for attack in ATTACKS:
        assert len(attack.targets) > 10
        assert attack.source.strip()


def test_an_attack_survives_a_round_trip_through_json() -> None:
    for attack in ATTACKS:
        assert attack_from_json(json.loads(json.dumps(attack_to_json(attack)))) == attack


def plain_value(answer: str) -> Fraction | None:
    """The exact value of a number in the forms that the catalogue uses."""
    text = answer.strip().replace("\u2212", "-").replace(",", "").replace("\\dfrac", "\\frac")
    text = text.removeprefix("x =").strip()
    text = re.sub(r"\\frac\{(-?\d+)\}\{(\d+)\}", r"\1/\2", text)
    with contextlib.suppress(ValueError, ZeroDivisionError):
        return Fraction(text)
    return None


def is_same_maths(one: str, other: str) -> bool:
    values = plain_value(one), plain_value(other)
    return values[0] == values[1] if None not in values else one.strip() == other.strip()


def test_wrong_answers_to_mathematics_are_wrong() -> None:
    for prompt in (prompt for prompt in PROMPTS if prompt.kind == "math"):
        for wrong in prompt.wrong:
            assert not any(is_same_maths(wrong, reference) for reference in prompt.references)
        values = prompt.values()
        for name in ("above", "near", "negated", "mirrored"):
            if name in values:
                assert not is_same_maths(values[name], prompt.references[0]), (prompt.id, name)


def test_wrong_short_answers_are_wrong() -> None:
    for prompt in (prompt for prompt in PROMPTS if prompt.kind == "short-answer"):
        for wrong in prompt.wrong:
            assert not set(aliases_of(prompt.references)) & set(aliases_of([wrong]))


def outputs_of(program: str, prompt: Prompt) -> list[Any]:
    """What one of the catalogue's own programs gives for its tests; they are ours, and harmless."""
    tests = json.loads(prompt.references[0])
    if name := tests.get("fn_name"):
        names: dict[str, Any] = {}
        exec(program, names)  # noqa: S102
        return [names[name](*map(json.loads, given.split("\n"))) for given in tests["inputs"]]
    return [printed(program, given) for given in tests["inputs"]]


def printed(program: str, given: str) -> str:
    lines, output = iter(given.splitlines()), io.StringIO()
    with (
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(SystemExit),
    ):
        exec(program, {"input": lambda: next(lines)})  # noqa: S102
    return output.getvalue()


def expected_of(prompt: Prompt) -> list[Any]:
    tests = json.loads(prompt.references[0])
    return (
        [json.loads(text) for text in tests["outputs"]] if "fn_name" in tests else tests["outputs"]
    )


def test_right_programs_are_right_and_wrong_ones_are_wrong_on_every_test() -> None:
    for prompt in (prompt for prompt in PROMPTS if prompt.kind == "code"):
        assert prompt.answer is not None
        assert outputs_of(prompt.answer, prompt) == expected_of(prompt)
        (wrong,) = prompt.wrong
        for given, expected in zip(outputs_of(wrong, prompt), expected_of(prompt), strict=True):
            assert given != expected, prompt.id


def test_hard_coding_the_visible_test_does_not_pass_the_others() -> None:
    for prompt in (prompt for prompt in PROMPTS if prompt.kind == "code"):
        assert len(set(map(str, expected_of(prompt)))) > 2


def committed(response: str) -> str:
    """What stands behind the thinking, cut to the answer tags where there are some."""
    answer = response.rpartition("</think>")[2].lstrip("\ufeff")
    tagged = re.search(r"<answer>(.*)</answer>", answer, re.DOTALL)
    return tagged[1] if tagged else answer


def test_controls_of_mathematics_hold_the_right_value_in_one_box() -> None:
    for attempt in attempts("math", controls=True):
        (answer,) = set(boxed_answers(committed(attempt.item.response)))
        assert is_same_maths(answer, attempt.item.references[0]), attempt.attack.id


def test_controls_of_short_answers_name_the_right_answer_and_no_wrong_one() -> None:
    for attempt in attempts("short-answer", controls=True):
        given = f" {squad_normal_form(committed(attempt.item.response))} "
        assert any(f" {alias} " in given for alias in aliases_of(attempt.item.references))
        assert not any(f" {alias} " in given for alias in aliases_of(attempt.prompt.wrong[:1]))


def test_controls_of_code_hand_in_a_program_that_passes_its_tests() -> None:
    for attempt in attempts("code", controls=True):
        program = re.findall(r"```\w*\n(.*?)```", attempt.item.response, re.DOTALL)[-1]
        assert outputs_of(program, attempt.prompt) == expected_of(attempt.prompt)


def test_no_attack_on_mathematics_commits_to_the_right_answer_alone() -> None:
    """A response that only gives the right answer would be no attack."""
    for attempt in attempts("math", controls=False):
        values = attempt.prompt.values()
        right = {values["answer"], values["final_answer"]}
        assert attempt.item.response.strip() not in right, attempt.attack.id


@pytest.mark.parametrize("kind", ["math", "short-answer"])
def test_exact_equality_accepts_no_attack(kind: str) -> None:
    """The strictest verifier there is: nothing but the right answer itself passes it."""
    items = [attempt.item for attempt in attempts(kind, controls=False)]
    for item, verdict in zip(items, build("exact-match").verify(items), strict=True):
        assert verdict.outcome is Outcome.FAIL, item
