import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from trainer.verifiers import Item, Outcome, Verdict, build, undecided
from trainer.verifiers.probes import (
    Attack,
    ProbeError,
    Prompt,
    attack_from_json,
    built_in_attacks,
    compare,
    in_markdown,
    in_words,
    probe_success,
    run_suite,
    to_json,
)
from trainer.verifiers.probes.rates import wilson

PROMPTS = tuple(
    Prompt(f"p{number}", "math", f"What is {number}?", (str(number),), str(number), ("0", "-1"))
    for number in range(10, 20)
)


def make_attack(id_: str, template: str = "{wrong}", **changes: Any) -> Attack:
    fields = {
        "id": id_,
        "family": "hedge",
        "kinds": ["math"],
        "targets": "tests the suite",
        "source": "house",
        "template": template,
    }
    return attack_from_json(fields | changes)


@dataclass(frozen=True, slots=True)
class ByWord:
    """Says what the response says, and keeps the sizes of its batches."""

    name: ClassVar[str] = "by-word"
    version: ClassVar[str] = "1"
    channel: ClassVar[str] = "correctness"
    normaliser: ClassVar[str] = "number-1"
    strict: bool = False
    sizes: list[int] = field(default_factory=list, compare=False)

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        self.sizes.append(len(batch))
        return [self._said(item.response) for item in batch]

    def _said(self, response: str) -> Verdict:
        if "undecided" in response:
            return undecided("the response says so")
        outcome = Outcome.PASS if "pass" in response and not self.strict else Outcome.FAIL
        return Verdict(outcome, None, response, "text", "none", 1, 0.0)


def test_the_success_rate_is_the_mean_over_attacks_and_the_interval_counts_attacks() -> None:
    attacks = [
        make_attack("half", "pass {answer}", prompts=[{"problem": "?", "references": ["1"]}]),
        make_attack("never"),
        make_attack("unsure", "undecided {wrong}"),
        make_attack("honest", "pass", must="pass"),
    ]
    result = run_suite(ByWord(), PROMPTS, attacks, kind="math", per_attack=4)
    overall = result.overall
    assert (overall.attacks, overall.tries, overall.passed, overall.undecided) == (3, 9, 1, 4)
    assert overall.rate == wilson(1, 3)
    assert (result.honest.tries, result.honest.passed) == (4, 4)
    assert [one.attempt.attack.id for one in result.accepted()] == ["half"]


def test_wilson_by_hand() -> None:
    rate = wilson(1, 10)
    assert rate.point == 0.1
    assert (round(rate.low, 4), round(rate.high, 4)) == (0.0179, 0.4042)
    assert wilson(0, 5).low == 0.0
    assert wilson(5, 5).high == 1.0


def test_the_prompts_of_an_attack_are_drawn_by_the_seed_alone() -> None:
    def drawn(seed: int, *ids: str) -> list[str]:
        attacks = [make_attack(id_) for id_ in ids]
        result = run_suite(ByWord(), PROMPTS, attacks, kind="math", seed=seed, per_attack=3)
        return [one.attempt.prompt.id for one in result.tried if one.attempt.attack.id == "a"]

    assert drawn(0, "a") == drawn(0, "b", "a", "c")
    assert drawn(0, "a") != drawn(1, "a")


def test_a_verifier_is_asked_in_batches() -> None:
    verifier = ByWord()
    attacks = [make_attack(f"a{number}") for number in range(15)]
    run_suite(verifier, PROMPTS, attacks, kind="math", per_attack=10)
    assert verifier.sizes == [64, 64, 22]


def test_an_attack_without_a_fitting_prompt_is_named() -> None:
    attacks = [make_attack("fits"), make_attack("misses", "{restated}")]
    result = run_suite(ByWord(), PROMPTS, attacks, kind="math")
    assert result.without_prompt == ("misses",)


def test_a_verifier_that_no_attack_is_meant_for_is_refused() -> None:
    with pytest.raises(ProbeError, match="kind: no attack is meant for by-word"):
        run_suite(ByWord())
    with pytest.raises(ProbeError, match="attacks: none can be made on by-word"):
        run_suite(ByWord(), PROMPTS, [make_attack("a")], kind="code")


@pytest.mark.parametrize("name", ["last-number", "first-boxed", "contains-reference"])
def test_the_naive_verifiers_visibly_fail_the_suite(name: str) -> None:
    overall = run_suite(build(name)).overall
    assert overall.rate is not None
    assert overall.rate.low > 0.05
    assert probe_success(name) == overall.rate.point


def test_a_result_is_json_that_a_database_can_store() -> None:
    attacks = [make_attack("odd", "pass \0 \ud800 {answer|x5000}"), *built_in_attacks()]
    kept = to_json(run_suite(ByWord(), None, attacks, kind="math"))
    text = json.dumps(kept)
    assert "\\u0000" not in text
    assert "\\ud800" not in text
    assert all(len(one["response"]) < 4_100 for one in kept["accepted"])
    assert json.loads(text) == kept
    assert kept["params"] == {"strict": False}


def result_of(*attacks: Attack, strict: bool = False) -> dict[str, Any]:
    return to_json(run_suite(ByWord(strict), PROMPTS[:1], attacks, kind="math"))


def test_a_comparison_tells_regressions_from_what_is_new() -> None:
    passing, honest = make_attack("a", "pass"), make_attack("h", "pass", must="pass")
    before, now = result_of(passing, honest, strict=True), result_of(passing, honest)
    new = result_of(passing, honest, make_attack("b", "pass"))
    assert compare(before, now).regressions == (("a", "p10"),)
    assert compare(now, before).mended == (("a", "p10"),)
    assert compare(now, before).lost_controls == (("h", "p10"),)
    assert compare(now, new).new_accepted == (("b", "p10"),)
    assert compare(now, now) == compare(before, before)
    assert not compare(now, new).regressions


@pytest.mark.parametrize(
    "earlier",
    [
        {},
        {"format": 2, "attempts": []},
        {"format": 1, "kind": "math", "attempts": [1]},
        {"format": 1, "kind": "code", "attempts": []},
    ],
)
def test_what_is_no_result_of_the_same_kind_is_not_compared(earlier: dict[str, Any]) -> None:
    with pytest.raises(ProbeError):
        compare(earlier, result_of(make_attack("a")))


def test_a_table_shows_hostile_text_without_its_powers() -> None:
    attack = make_attack("odd", "pass \x1b[2J \u202e \u200b {answer}")
    result = run_suite(ByWord(), PROMPTS, [attack, make_attack("h", must="pass")], kind="math")
    words = in_words(result, compare(to_json(result), to_json(result)))
    assert words.isascii()
    assert "\x1b" not in words
    assert "odd (4): tests the suite" in words
    assert "hedge                    1      4      4         0  1.000 [0.207, 1.000]" in words


def test_markdown_has_a_row_a_verifier_and_a_row_a_family() -> None:
    results = [run_suite(build(name)) for name in ("boxed-any", "exact-match")]
    text = in_markdown(results, {"judge": "needs an endpoint"})
    assert text.count("| `boxed-any` ") == 2
    assert "| hedge | 0." in text
    assert "Not attacked: `judge` (needs an endpoint)." in text
