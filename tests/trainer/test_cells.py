from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.rewards import (
    NORMALISERS,
    Cell,
    CellError,
    GroupRollout,
    UnknownNormaliserError,
    answer_class,
    cells_of_group,
    signature,
)
from trainer.verifiers import Outcome, Verdict

any_text = st.text(st.characters())  # lone surrogates and NUL too
PASS_ONE = Verdict(Outcome.PASS, None, "15", "boxed", "integer", 1, 0.0)
HEDGE = Verdict(Outcome.PASS, None, "15", "boxed", "integer", 3, 0.0)
NONE_FOUND = Verdict(Outcome.FAIL, None, None, "none", "none", 0, 0.0)

tokens = st.text("az09-", min_size=1, max_size=24)
verdicts = st.builds(
    Verdict,
    outcome=st.sampled_from(Outcome),
    score=st.none() | st.floats(0, 1),
    extracted=st.none() | any_text,
    path=tokens,
    form=tokens,
    candidates=st.integers(0, 4),
    seconds=st.just(0.0),
)
cells = st.builds(
    Cell,
    signature=st.lists(verdicts, min_size=1, max_size=3).map(signature),
    score_bin=st.none() | st.integers(0, 9),
    share_bin=st.none() | st.integers(0, 3),
    probe=st.booleans(),
    domain=any_text,
)
rollouts = st.builds(
    GroupRollout,
    verdicts=st.lists(verdicts, min_size=1, max_size=2).map(tuple),
    truncated=st.booleans(),
    probe=st.booleans(),
)


def number_class(extracted: str | None) -> str | None:
    verdict = replace(PASS_ONE, extracted=extracted)
    return answer_class(verdict, normaliser="number-1", truncated=False)


def rollout(verdict: Verdict = PASS_ONE, *, truncated: bool = False) -> GroupRollout:
    return GroupRollout(verdicts=(verdict,), truncated=truncated, probe=False)


def test_a_signature_says_outcome_path_form_and_candidates() -> None:
    assert signature([PASS_ONE]) == "pass/boxed/integer/1"


def test_signatures_of_several_verifiers_are_joined_primary_first() -> None:
    assert signature([HEDGE, NONE_FOUND]) == "pass/boxed/integer/2+&fail/none/none/0"


def test_a_rollout_without_a_verdict_has_no_signature() -> None:
    with pytest.raises(CellError, match="at least one"):
        signature([])


def test_a_cell_has_a_readable_key() -> None:
    cell = Cell("pass/boxed/integer/1", None, 2, probe=False, domain="arithmetic")
    assert cell.key == "pass/boxed/integer/1|s-|a2|p0|arithmetic"
    assert cell.without_share().key == "pass/boxed/integer/1|s-|a-|p0|arithmetic"
    assert cell.outcome is Outcome.PASS
    assert cell.is_accepted


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.UNDECIDED])
def test_only_a_pass_of_the_primary_verifier_is_accepted(outcome: Outcome) -> None:
    words = signature([replace(PASS_ONE, outcome=outcome), PASS_ONE])
    cell = Cell(words, None, None, probe=False, domain="")
    assert cell.outcome is outcome
    assert not cell.is_accepted


@given(cells)
def test_a_parsed_key_gives_its_cell_back(cell: Cell) -> None:
    assert Cell.parse(cell.key) == cell


@pytest.mark.parametrize(
    "key",
    [
        "",
        "pass/boxed/integer/1",
        "pass/boxed/integer/1|s-|a2|p0",
        "pass/boxed/integer/2|s-|a2|p0|x",
        "pass/Boxed/integer/1|s-|a2|p0|x",
        "right/boxed/integer/1|s-|a2|p0|x",
        "pass/boxed/integer/1+|s-|a2|p0|x",
        "pass/boxed/integer/1|s10|a2|p0|x",
        "pass/boxed/integer/1|s-|a4|p0|x",
        "pass/boxed/integer/1|s-|a2|p2|x",
    ],
)
def test_what_is_no_cell_key_is_refused(key: str) -> None:
    with pytest.raises(CellError, match="not a cell key"):
        Cell.parse(key)


@given(st.lists(cells))
def test_cells_of_all_kinds_can_be_sorted(some: list[Cell]) -> None:
    ordered = sorted(some)
    assert all(low <= high for low, high in pairwise(ordered))


def test_a_missing_bin_sorts_before_the_first_one() -> None:
    cell = Cell("pass/boxed/integer/1", None, 0, probe=False, domain="")
    assert cell.without_share() < cell
    assert cell >= cell.without_share()


@pytest.mark.parametrize(
    ("text", "normal_form"),
    [
        ("7", "7"),
        ("7.0", "7"),
        ("007", "7"),
        ("1,000", "1000"),
        ("1,234.50", "1234.5"),
        ("+7", "7"),
        ("-7", "-7"),
        ("\N{MINUS SIGN}7", "-7"),
        ("-0", "0"),
        ("-0.00", "0"),
        (" 15\n", "15"),
        (".5", "0.5"),
        ("15.", "15"),
        ("100", "100"),
        ("0.1000000000000000000000000000000000001", "0.1000000000000000000000000000000000001"),
        ("4/6", "2/3"),
        ("-4 / 6", "-2/3"),
        ("6/3", "2"),
        ("1/0", "1/0"),
        ("1,00", "1,00"),
        ("1e3", "1e3"),
        ("10^(10^10)", "10^(10^10)"),
        (" x + 1 ", "x + 1"),
        (".", "."),
        ("-", "-"),
        ("", ""),
        ("\u0663", "\u0663"),
    ],
)
def test_number_1_writes_equal_numbers_the_same(text: str, normal_form: str) -> None:
    assert NORMALISERS["number-1"](text) == normal_form


@pytest.mark.parametrize(
    "text", ["9" * 1_000_000, "1/" + "3" * 1_000_000, "10^(10^10)", "9e999999999"]
)
def test_number_1_is_never_slow(text: str) -> None:
    started = perf_counter()
    assert NORMALISERS["number-1"](text) == text
    assert perf_counter() - started < 1


@pytest.mark.parametrize("name", sorted(NORMALISERS))
@given(text=any_text | st.text("0123456789,./+- "))
def test_a_normal_form_of_itself_is_itself(name: str, text: str) -> None:
    once = NORMALISERS[name](text)
    assert NORMALISERS[name](once) == once


@given(number=st.decimals(allow_nan=False, allow_infinity=False, places=4), zeros=st.integers(0, 5))
def test_number_1_ignores_padding(number: Decimal, zeros: int) -> None:
    text = f"{number:f}"
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    padded = f" {sign}{'0' * zeros}{digits}{'0' * zeros} "
    assert NORMALISERS["number-1"](padded) == NORMALISERS["number-1"](text)


def test_equal_answers_are_one_class() -> None:
    assert number_class("15.0") == number_class("015") == number_class("15") == "15"


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": Outcome.UNDECIDED},
        {"candidates": 0},
        {"candidates": 2},
        {"extracted": None},
        {"extracted": "  "},
    ],
)
def test_what_commits_to_no_answer_has_no_class(changes: dict[str, object]) -> None:
    verdict = replace(PASS_ONE, **changes)  # type: ignore[arg-type]
    assert answer_class(verdict, normaliser="number-1", truncated=False) is None


def test_a_truncated_rollout_has_no_class() -> None:
    assert answer_class(PASS_ONE, normaliser="number-1", truncated=True) is None


@pytest.mark.parametrize("extracted", ["x" * 1_000_000, "a\0b", "a\ud800b"])
def test_a_class_that_no_key_can_hold_goes_by_its_digest(extracted: str) -> None:
    name = number_class(extracted)
    assert name is not None
    assert name.startswith("sha256-")
    assert name != number_class(extracted + "!")


def test_an_unknown_normaliser_is_refused_with_the_known_names() -> None:
    with pytest.raises(UnknownNormaliserError, match="number-1, short-1, squad-1"):
        answer_class(PASS_ONE, normaliser="number-2", truncated=True)


def test_a_group_shares_out_its_answers() -> None:
    fifteen, other = rollout(), rollout(replace(PASS_ONE, extracted="16"))
    group = [fifteen] * 5 + [other, rollout(HEDGE), rollout(truncated=True)]
    result = cells_of_group(group, normaliser="number-1", domain="arithmetic")
    assert [name for _, name in result] == ["15"] * 5 + ["16", None, None]
    assert [cell.share_bin for cell, _ in result] == [2] * 5 + [0, None, None]
    assert {cell.domain for cell, _ in result} == {"arithmetic"}


@pytest.mark.parametrize(
    ("class_size", "group_size", "share_bin"),
    [(1, 8, 0), (3, 20, 1), (2, 8, 1), (7, 20, 2), (4, 8, 2), (13, 20, 3), (6, 8, 3), (8, 8, 3)],
)
def test_shares_are_cut_with_the_cut_in_the_bin_above(
    class_size: int, group_size: int, share_bin: int
) -> None:
    group = [rollout()] * class_size + [rollout(NONE_FOUND)] * (group_size - class_size)
    cell, _ = cells_of_group(group, normaliser="number-1", domain="")[0]
    assert cell.share_bin == share_bin


def test_a_group_of_one_has_no_share() -> None:
    [(cell, name)] = cells_of_group([rollout()], normaliser="number-1", domain="")
    assert (cell.share_bin, name) == (None, "15")


@pytest.mark.parametrize(
    ("score", "score_bin"), [(None, None), (0.0, 0), (0.099, 0), (0.1, 1), (0.95, 9), (1.0, 9)]
)
def test_scores_fall_into_deciles(score: float | None, score_bin: int | None) -> None:
    group = [rollout(replace(PASS_ONE, score=score))]
    [(cell, _)] = cells_of_group(group, normaliser="number-1", domain="")
    assert cell.score_bin == score_bin


@given(
    group=st.lists(rollouts, max_size=9),
    normaliser=st.sampled_from(sorted(NORMALISERS)),
    domain=any_text,
)
def test_every_rollout_of_any_group_has_one_parsable_cell(
    group: list[GroupRollout], normaliser: str, domain: str
) -> None:
    result = cells_of_group(group, normaliser=normaliser, domain=domain)
    assert len(result) == len(group)
    for one, (cell, name) in zip(group, result, strict=True):
        assert Cell.parse(cell.key) == cell
        assert cell.probe == one.probe
        assert (cell.share_bin is None) == (name is None or len(group) == 1)
