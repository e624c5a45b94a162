"""Several verifiers as one: cascade, vote, and rules beside a judge."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.judge_endpoint import (
    RIGHT,
    WRONG,
    Endpoint,
    Says,
    always,
    response_in,
    serving,
)
from trainer.verifiers import Item, Outcome, ParameterError, Verdict, Verifier, build, registry
from trainer.verifiers.combined.members import needs_torch

PASS, FAIL, UNDECIDED = Outcome.PASS, Outcome.FAIL, Outcome.UNDECIDED
BOXED, CONTAINED, EXACT = (
    {"name": name} for name in ("boxed-any", "alias-contained", "exact-match")
)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving(always(Says(RIGHT))) as endpoint:
        yield endpoint


def judge(endpoint: Endpoint, **params: Any) -> dict[str, Any]:
    known = {"base_url": endpoint.url, "model": "m", "attempts": 1, "min_words": 1}
    return {"name": "judge", "params": known | params}


def hybrid(*members: Any, **params: Any) -> Verifier:
    return build("hybrid", members=list(members), **params)


def item(response: str, *references: str) -> Item:
    return Item("7 + 8?", response, references or ("15",))


# Cascade


def test_what_the_rule_accepts_the_judge_never_sees(endpoint: Endpoint) -> None:
    (verdict,) = hybrid(BOXED, judge(endpoint)).verify([item(r"\boxed{15}")])
    assert (verdict.outcome, verdict.path, verdict.form) == (PASS, "member-1", "integer")
    assert (verdict.extracted, verdict.candidates) == ("15", 1)
    assert endpoint.bodies == []


@pytest.mark.parametrize(
    ("said", "policy", "outcome", "path"),
    [
        (RIGHT, "undecided", UNDECIDED, "disagreement"),
        (RIGHT, "accept", PASS, "disagreement"),
        (RIGHT, "reject", FAIL, "disagreement"),
        (WRONG, "undecided", FAIL, "member-2"),
        (WRONG, "accept", FAIL, "member-2"),
        ("Hm.", "undecided", UNDECIDED, "none"),
        ("Hm.", "reject", UNDECIDED, "none"),
    ],
)
def test_what_the_rule_rejects_the_judge_is_asked(
    endpoint: Endpoint, said: str, policy: str, outcome: Outcome, path: str
) -> None:
    endpoint.behave = always(Says(said))
    verifier = hybrid(BOXED, judge(endpoint), on_disagreement=policy)
    (verdict,) = verifier.verify([item(r"\boxed{15.0}")])
    assert (verdict.outcome, verdict.path, verdict.extracted) == (outcome, path, "15.0")
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize(("said", "outcome"), [(RIGHT, PASS), (WRONG, FAIL), ("", UNDECIDED)])
def test_where_the_rule_cannot_tell_the_judge_decides(
    endpoint: Endpoint, said: str, outcome: Outcome
) -> None:
    endpoint.behave = always(Says(said))
    verifier = hybrid(BOXED, judge(endpoint, prompt="steps-1"))
    (verdict,) = verifier.verify([Item("7 + 8?", "so it is 15", ())])
    assert verdict.outcome is outcome


def test_the_record_holds_what_each_member_said(endpoint: Endpoint) -> None:
    (verdict,) = hybrid(BOXED, judge(endpoint)).verify([item(r"\boxed{15.0}")])
    assert verdict.record is not None
    assert json.loads(json.dumps(verdict.record)) == verdict.record
    rule, asked = verdict.record["members"]
    assert (rule["verifier"], rule["outcome"], rule["record"]) == ("boxed-any", "fail", None)
    assert (asked["verifier"], asked["outcome"]) == ("judge", "pass")
    assert asked["record"]["raw"] == RIGHT
    assert asked["version"].startswith("1-")


parts = st.sampled_from([r"\boxed{15}", r"\boxed{16}", "15", "so 15", "16", "", "\ud800", "\0"])
batches = st.lists(st.tuples(parts, st.booleans()), max_size=12).map(
    lambda rows: [
        Item(str(i), text, ("15",) if known else ()) for i, (text, known) in enumerate(rows)
    ]
)
orders = st.permutations([BOXED, CONTAINED, EXACT])


def cascaded(outcomes: list[Outcome]) -> Outcome:
    """One item's outcome, from what every member would say of it."""
    for at, outcome in enumerate(outcomes):
        if outcome is PASS:
            return UNDECIDED if FAIL in outcomes[:at] else PASS
    return outcomes[-1]


def voted(outcomes: list[Outcome]) -> Outcome:
    most = max(PASS, FAIL, key=outcomes.count)
    return most if outcomes.count(most) > len(outcomes) / 2 else UNDECIDED


@given(batch=batches, members=orders, mode=st.sampled_from(["cascade", "vote"]))
def test_no_verdict_is_lost_or_shifted(batch: list[Item], members: Any, mode: str) -> None:
    said = [build(spec["name"]).verify(batch) for spec in members]
    expected = [
        (cascaded if mode == "cascade" else voted)([verdict.outcome for verdict in told])
        for told in zip(*said, strict=True)
    ]
    verdicts = hybrid(*members, mode=mode).verify(batch)
    assert [verdict.outcome for verdict in verdicts] == expected
    alone = [hybrid(*members, mode=mode).verify([row])[0] for row in batch]
    assert list(map(without_time, verdicts)) == list(map(without_time, alone))


def without_time(verdict: Verdict) -> tuple[Any, ...]:
    return verdict.outcome, verdict.path, verdict.extracted, verdict.detail, verdict.record


@settings(max_examples=20)
@given(
    st.lists(st.sampled_from(["right", "wrong", "silent"]), max_size=8),
    st.sampled_from(["cascade", "vote"]),
)
def test_a_judge_that_fails_in_between_shifts_nothing(kinds: list[str], mode: str) -> None:
    def behave(prompt: str) -> Says:
        said = {"wrong": WRONG, "right": RIGHT, "silent": "Hm."}
        return Says(said[response_in(prompt).split()[0]])

    batch = [Item("7 + 8?", f"{kind} {row}", (f"right {row}",)) for row, kind in enumerate(kinds)]
    with serving(behave) as endpoint:
        verdicts = hybrid(EXACT, judge(endpoint), mode=mode).verify(batch)
        asked = len(endpoint.bodies)
    expected = {"right": PASS, "wrong": FAIL, "silent": UNDECIDED}
    assert [verdict.outcome for verdict in verdicts] == [expected[kind] for kind in kinds]
    assert asked == (len(kinds) if mode == "vote" else len(kinds) - kinds.count("right"))


# Vote


def test_a_tie_is_undecided() -> None:
    verifier = hybrid(BOXED, CONTAINED, mode="vote")
    tie, both = verifier.verify([item("so 15"), item(r"\boxed{15}")])
    assert (tie.outcome, tie.detail) == (UNDECIDED, "no majority: 1 pass, 1 fail of 2")
    assert (both.outcome, both.score) == (PASS, 1.0)


def test_more_than_half_of_all_members_decide(endpoint: Endpoint) -> None:
    endpoint.behave = always(Says("Hm."))
    alone = hybrid(CONTAINED, judge(endpoint), judge(endpoint, seed=1), mode="vote")
    (verdict,) = alone.verify([item("so 15")])
    assert (verdict.outcome, verdict.score) == (UNDECIDED, None)
    endpoint.behave = always(Says(WRONG))
    (verdict,) = alone.verify([item("so 15")])
    assert (verdict.outcome, verdict.score) == (FAIL, 1 / 3)


# Rules for the hard constraints, a judge for the soft ones. The rule here is another verifier: what
# is tested is who is asked what.


@pytest.fixture
def rules(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    """A rule that passes what says "hard" and cannot tell what says "odd"."""

    def behave(prompt: str) -> Says:
        response = response_in(prompt)
        return Says("Hm." if "odd" in response else RIGHT if "hard" in response else WRONG)

    with serving(behave) as rule:
        yield judge(rule, prompt="reference-1")


def split(rules: dict[str, Any], endpoint: Endpoint) -> Verifier:
    return hybrid(rules, judge(endpoint, prompt="instructions-1"), mode="split")


def instruction(response: str, **reference: Any) -> Item:
    return Item("Write.", response, (json.dumps(reference),))


HARD = {"instruction_id_list": ["length"], "kwargs": [{}]}
SOFT = {"soft": ["It is polite.", "It rhymes."]}


@pytest.mark.parametrize(
    ("response", "reference", "said", "outcome", "path"),
    [
        ("hard", HARD | SOFT, RIGHT, PASS, "both"),
        ("hard", HARD | SOFT, WRONG, FAIL, "soft"),
        ("hard", HARD | SOFT, "Hm.", UNDECIDED, "soft"),
        ("loose", HARD | SOFT, RIGHT, FAIL, "hard"),
        ("odd", HARD | SOFT, RIGHT, UNDECIDED, "hard"),
        ("odd", HARD | SOFT, WRONG, FAIL, "soft"),
        ("hard", HARD, WRONG, PASS, "hard"),
        ("loose", SOFT, RIGHT, PASS, "soft"),
        ("loose", {"instruction_id_list": [], "kwargs": []} | SOFT, RIGHT, PASS, "soft"),
    ],
)
def test_both_parts_must_pass(
    endpoint: Endpoint,
    rules: dict[str, Any],
    response: str,
    reference: dict[str, Any],
    said: str,
    outcome: Outcome,
    path: str,
) -> None:
    endpoint.behave = always(Says(said))
    (verdict,) = split(rules, endpoint).verify([instruction(response, **reference)])
    assert (verdict.outcome, verdict.path) == (outcome, path)


def test_each_part_is_asked_for_its_own_constraints(endpoint: Endpoint, rules: Any) -> None:
    (verdict,) = split(rules, endpoint).verify([instruction("hard", **HARD, **SOFT)])
    (asked,) = endpoint.prompts
    assert "It is polite." in asked
    assert "It rhymes." in asked
    assert "instruction_id_list" not in asked
    assert verdict.record is not None
    assert [member["outcome"] for member in verdict.record["members"]] == ["pass", "pass"]


def test_what_the_rules_reject_the_judge_never_sees(endpoint: Endpoint, rules: Any) -> None:
    split(rules, endpoint).verify([instruction("loose", **HARD, **SOFT)])
    assert endpoint.bodies == []


@pytest.mark.parametrize(
    ("references", "reason"),
    [
        ((), "must be one JSON object"),
        (("{}", "{}"), "must be one JSON object"),
        (("[]",), "must be one JSON object"),
        (("{",), "not JSON"),
        (("[" * 100_000,), "not JSON"),
        (("{}",), "neither instruction_id_list nor soft"),
        (('{"soft": "polite"}',), "soft: must be a list of texts"),
        (('{"soft": [""]}',), "soft: must be a list of texts"),
    ],
)
def test_a_reference_that_is_no_instruction_is_undecided_alone(
    endpoint: Endpoint, rules: Any, references: tuple[str, ...], reason: str
) -> None:
    good = instruction("hard", **HARD, **SOFT)
    verdicts = split(rules, endpoint).verify([good, Item("Write.", "hard", references), good])
    assert [verdict.outcome for verdict in verdicts] == [PASS, UNDECIDED, PASS]
    assert reason in verdicts[1].detail


def test_the_judge_of_soft_constraints_is_asked_for_them(endpoint: Endpoint) -> None:
    with pytest.raises(ParameterError, match=r"^members\[1\]: .*instructions-1"):
        hybrid(EXACT, judge(endpoint), mode="split")
    with pytest.raises(ParameterError, match=r"^members: the mode split has two"):
        hybrid(EXACT, EXACT, judge(endpoint, prompt="instructions-1"), mode="split")


# Parameters

TWO = {"name": "hybrid", "params": {"members": [EXACT, BOXED]}}
THREE = {"name": "hybrid", "params": {"members": [EXACT, TWO]}}
DEEP: dict[str, Any] = TWO
for _ in range(10_000):
    DEEP = {"name": "hybrid", "params": {"members": [EXACT, DEEP]}}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], r"members: must be a list of 2"),
        ([EXACT], r"members: must be a list of 2"),
        ([EXACT] * 9, r"members: must be a list of 2 to 8"),
        ("ab", r"members: must be a list"),
        (None, r"members: must be a list"),
        ([EXACT, "boxed-any"], r"members\[1\]: must be an object"),
        ([EXACT, {"params": {}}], r"members\[1\]: must be an object"),
        ([EXACT, {"name": "boxed-any", "weight": 1}], r"members\[1\]: must be an object"),
        ([EXACT, {"name": ["boxed-any"]}], r"members\[1\]\.name: must be a verifier's name"),
        ([EXACT, {"name": "boxed-any", "params": []}], r"members\[1\]\.params: must be an object"),
        ([EXACT, {"name": "nobody"}], r"members\[1\]\.name: unknown verifier 'nobody'"),
        ([EXACT, {"name": "boxed-any", "params": {"x": 1}}], r"members\[1\]\.params\.x: boxed-any"),
        ([EXACT, {"name": "judge", "params": {}}], r"members\[1\]\.params\.model: must be a text"),
        ([EXACT, THREE], r"members\[1\]: verifiers inside verifiers go 2 levels deep"),
        ([EXACT, DEEP], r"members\[1\]: verifiers inside verifiers go 2 levels deep"),
    ],
)
def test_members_that_do_not_fit_are_refused(members: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=f"^{message}"):
        build("hybrid", members=members)


@pytest.mark.parametrize("channel", ["monitor", "format", "probe"])
def test_a_monitor_is_no_member(monkeypatch: pytest.MonkeyPatch, channel: str) -> None:
    watching = registry.Listed("math:BoxedAny", channel=channel)
    monkeypatch.setitem(registry.BUILT_IN, "watching", watching)
    with pytest.raises(ParameterError, match=rf"^members\[1\]\.name: watching .*{channel}"):
        hybrid(EXACT, {"name": "watching"})


@pytest.mark.parametrize(
    ("name", "value"), [("mode", "both"), ("mode", None), ("on_disagreement", "pass")]
)
def test_a_parameter_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(ParameterError, match=f"^{name}: "):
        hybrid(EXACT, BOXED, **{name: value})


def test_a_hybrid_may_hold_another() -> None:
    (verdict,) = hybrid(BOXED, TWO).verify([item("15")])
    assert verdict.outcome is UNDECIDED  # the box fails, the exact match passes
    (verdict,) = hybrid(TWO, BOXED, on_disagreement="accept").verify([item("15")])
    assert verdict.outcome is PASS


def test_the_members_versions_are_part_of_the_version(endpoint: Endpoint) -> None:
    versions = [
        hybrid(EXACT, judge(endpoint)).version,
        hybrid(judge(endpoint), EXACT).version,
        hybrid(EXACT, judge(endpoint, seed=1)).version,
        hybrid(EXACT, judge(endpoint), mode="vote").version,
        hybrid(EXACT, judge(endpoint), on_disagreement="accept").version,
    ]
    assert len(set(versions)) == 5
    assert hybrid(EXACT, judge(endpoint, concurrency=1)).version == versions[0]


def test_its_answers_are_the_first_member_s() -> None:
    assert hybrid(BOXED, EXACT).normaliser == "number-1"
    assert hybrid(EXACT, BOXED).normaliser == "short-1"


def test_where_a_member_needs_torch_the_whole_does() -> None:
    local = {"name": "judge-local", "params": {"model": "/models/judge"}}
    inner = {"name": "hybrid", "params": {"members": [EXACT, local]}}
    criteria = [{"name": "a", "text": "A.", "verifier": local}]
    assert needs_torch("judge-local", {})
    assert needs_torch("hybrid", {"members": [EXACT, local]})
    assert needs_torch("hybrid", {"members": [EXACT, inner]})
    assert needs_torch("rubric", {"criteria": criteria})
    assert needs_torch("rubric", {"criteria": [], "judge": local})
    # A criterion's own name is no verifier's.
    assert not needs_torch("rubric", {"criteria": [{"name": "process", "text": "It is sound."}]})
    assert not needs_torch("hybrid", {"members": [EXACT, TWO, {"name": 5}, None]})
