import json
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.rewards import Cell, Reward, RewardTable, TableError, raw_reward
from trainer.verifiers import Outcome

ACCEPTED = "pass/boxed/integer/1"
HEDGED = "pass/boxed/integer/2+"
REJECTED = "fail/boxed/decimal/1"


def make_entry(value: float, *, level: str, abstain: bool = False) -> dict[str, Any]:
    return {
        "value": value,
        "abstain": abstain,
        "p_correct": 0.98,
        "low": 0.9,
        "high": 1.0,
        "unbiased": 1.03,
        "tpr": 0.9,
        "fpr": 0.1,
        "youden_j": 0.8,
        "n": 12,
        "level": level,
    }


def make_table(**changes: Any) -> dict[str, Any]:
    table = {
        "format": 1,
        "run": "r-1",
        "version": 3,
        "rule": "demote_or_abstain",
        "cell_version": 1,
        "normaliser": "number-1",
        "verifiers": ["boxed-any@1"],
        "valid_from_step": 9,
        "valid_to_step": 18,
        "label_set": "0" * 64,
        "n_labels": 96,
        "windows": ["w-1"],
        "value_if_no_abstain": 0.0,
        "cells": {
            f"{ACCEPTED}|s-|a2|p0|arithmetic": make_entry(1005 / 1024, level="cell"),
            f"{ACCEPTED}|s-|a-|p0|arithmetic": make_entry(1000 / 1024, level="model"),
            f"{HEDGED}|s-|a-|p0|arithmetic": make_entry(1 / 1024, level="cell"),
            f"{REJECTED}|s-|a1|p0|arithmetic": make_entry(0.0, level="cell", abstain=True),
        },
        "fallback": {
            "pass/p0": make_entry(0.75, level="verdict-probe"),
            "pass": make_entry(0.5, level="verdict"),
            "fail": make_entry(0.0, level="verdict"),
            "undecided": make_entry(0.25, level="verdict"),
        },
    }
    return deepcopy(table | changes)


def make_cell(
    signature: str = ACCEPTED,
    *,
    share_bin: int | None = None,
    probe: bool = False,
    domain: str = "arithmetic",
) -> Cell:
    return Cell(signature, None, share_bin, probe=probe, domain=domain)


def changed(path: str, value: object) -> dict[str, Any]:
    """A table with the field at a dotted path replaced ("-" removes it)."""
    table = make_table()
    *parents, name = path.split(">")
    target = table
    for parent in parents:
        target = target[parent]
    if value == "-":
        del target[name]
    else:
        target[name] = value
    return table


@pytest.mark.parametrize(
    ("cell", "reward"),
    [
        (make_cell(share_bin=2), Reward(1005 / 1024, "cell")),
        (make_cell(share_bin=3), Reward(1000 / 1024, "model")),
        (make_cell(), Reward(1000 / 1024, "model")),
        (make_cell(HEDGED), Reward(1 / 1024, "cell")),
        (make_cell(REJECTED, share_bin=1), Reward(None, "cell")),
        (make_cell(domain="algebra"), Reward(0.75, "verdict-probe")),
        (make_cell(probe=True), Reward(0.5, "verdict")),
        (make_cell(REJECTED), Reward(0.0, "verdict")),
        (make_cell("undecided/none/none/0", probe=True), Reward(0.25, "verdict")),
    ],
)
def test_a_reward_is_looked_up_from_the_finest_level_that_is_there(
    cell: Cell, reward: Reward
) -> None:
    table = RewardTable.from_json(make_table())
    assert table.reward(cell) == reward
    assert table.reward(cell) == reward


def test_an_answer_that_a_label_has_settled_is_paid_by_that() -> None:
    table = RewardTable.from_json(make_table(classes={"p1": {"15": 1.0, "16": 0.0}}))
    odd = make_cell(REJECTED, share_bin=1)
    assert table.reward(odd, prompt="p1", answer_class="15") == Reward(1.0, "class")
    assert table.reward(make_cell(), prompt="p1", answer_class="16") == Reward(0.0, "class")
    for prompt, answer_class in [("p2", "15"), ("p1", "17"), ("p1", None), (None, "15")]:
        known = table.reward(odd, prompt=prompt, answer_class=answer_class)
        assert known == Reward(None, "cell")


def test_a_right_answer_found_by_a_hack_is_not_paid_by_its_class() -> None:
    table = RewardTable.from_json(make_table(classes={"p1": {"15": 1.0}}))
    assert table.reward(make_cell(probe=True), prompt="p1", answer_class="15").level == "verdict"


@pytest.mark.parametrize("prompt", ["p1", "p2", None])
def test_a_group_gets_what_each_of_its_rollouts_would_get_alone(prompt: str | None) -> None:
    table = RewardTable.from_json(make_table(classes={"p1": {"15": 1.0, "16": 0.0}}))
    group = [
        (make_cell(REJECTED, share_bin=1), "15"),
        (make_cell(), "16"),
        (make_cell(), "17"),
        (make_cell(), None),
        (make_cell(probe=True), "15"),
    ]
    alone = [table.reward(cell, prompt=prompt, answer_class=name) for cell, name in group]
    assert table.rewards(group, prompt=prompt) == alone
    assert (
        RewardTable.from_json(make_table(classes=table.classes)).rewards(group, prompt=prompt)
        == alone
    )


@pytest.mark.parametrize("classes", [[], {"p1": []}, {"p1": {"15": 0.3}}, {"p1": {"15": "1"}}])
def test_settled_answers_that_break_the_format_are_refused(classes: object) -> None:
    with pytest.raises(TableError, match="classes"):
        RewardTable.from_json(make_table(classes=classes))


def test_a_table_says_what_it_is() -> None:
    table = RewardTable.from_json(json.dumps(make_table()))
    assert (table.run, table.version, table.rule) == ("r-1", 3, "demote_or_abstain")
    assert (table.valid_from_step, table.valid_to_step) == (9, 18)
    assert (table.verifiers, table.windows, table.n_labels) == (("boxed-any@1",), ("w-1",), 96)
    assert table.value_if_no_abstain == 0.0
    assert table.cells[f"{REJECTED}|s-|a1|p0|arithmetic"].abstain
    assert table == RewardTable.from_json(make_table())


def test_fields_of_a_newer_server_are_ignored() -> None:
    table = RewardTable.from_json(make_table(published_at="2026-01-01", overrides={}))
    assert table.version == 3


def test_figures_that_the_labels_cannot_give_may_be_null() -> None:
    table = make_table()
    for name in ("unbiased", "tpr", "fpr", "youden_j"):
        table["fallback"]["pass"][name] = None
    assert RewardTable.from_json(table).fallback["pass"].tpr is None


def test_an_unbiased_value_may_lie_outside_the_unit_interval() -> None:
    table = make_table(rule="unbiased")
    table["fallback"]["fail"]["value"] = -0.125
    assert RewardTable.from_json(table).reward(make_cell(REJECTED)).value == -0.125


ENTRY = f"cells>{ACCEPTED}|s-|a2|p0|arithmetic"


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("format", 2, "format"),
        ("format", True, "format"),
        ("run", "", "run"),
        ("run", 7, "run"),
        ("version", 0, "version"),
        ("version", 3.0, "version"),
        ("version", "-", "version"),
        ("rule", "pay_everyone", "rule"),
        ("rule", ["posterior"], "rule"),
        ("cell_version", 2, "cell_version"),
        ("normaliser", "number-2", "normaliser"),
        ("verifiers", "boxed-any@1", "verifiers"),
        ("windows", [1], "windows"),
        ("valid_from_step", -1, "valid_from_step"),
        ("valid_to_step", 8, "valid_to_step"),
        ("valid_to_step", None, "valid_to_step"),
        ("label_set", None, "label_set"),
        ("n_labels", True, "n_labels"),
        ("value_if_no_abstain", 0.3, "value_if_no_abstain"),
        ("cells", [], "cells"),
        ("cells>pass|s-|a2|p0|x", {}, "cells"),
        (ENTRY, 1.0, ENTRY),
        (f"{ENTRY}>value", 0.98, f"{ENTRY}.value"),
        (f"{ENTRY}>value", float("nan"), f"{ENTRY}.value"),
        (f"{ENTRY}>value", 1.5, f"{ENTRY}.value"),
        (f"{ENTRY}>value", True, f"{ENTRY}.value"),
        (f"{ENTRY}>value", None, f"{ENTRY}.value"),
        (f"{ENTRY}>value", 10**400, f"{ENTRY}.value"),
        (f"{ENTRY}>abstain", 0, f"{ENTRY}.abstain"),
        (f"{ENTRY}>abstain", "-", f"{ENTRY}.abstain"),
        (f"{ENTRY}>p_correct", 1.01, f"{ENTRY}.p_correct"),
        (f"{ENTRY}>low", 1.0, ""),
        (f"{ENTRY}>low", "0.9", f"{ENTRY}.low"),
        (f"{ENTRY}>high", 0.5, f"{ENTRY}.low"),
        (f"{ENTRY}>unbiased", float("inf"), f"{ENTRY}.unbiased"),
        (f"{ENTRY}>n", -1, f"{ENTRY}.n"),
        (f"{ENTRY}>level", "verdict", f"{ENTRY}.level"),
        ("fallback", "-", "fallback"),
        ("fallback>fail", "-", "fallback"),
        ("fallback>fail/p2", make_entry(0.0, level="verdict"), "fallback"),
        ("fallback>pass>level", "cell", "fallback>pass.level"),
        ("fallback>pass>tpr", "-", "fallback>pass.tpr"),
    ],
)
def test_a_table_that_breaks_its_format_is_refused_naming_the_field(
    path: str, value: object, named: str
) -> None:
    if not named:
        RewardTable.from_json(changed(path, value))
        return
    with pytest.raises(TableError) as refusal:
        RewardTable.from_json(changed(path, value))
    parent, _, entry = named.partition(">")
    if entry:
        key, dot, field = entry.rpartition(".")
        named = f"{parent}[{key}].{field}" if dot else f"{parent}[{entry}]"
    assert str(refusal.value).startswith(f"{named}:")


@pytest.mark.parametrize("text", ["", "[]", "3", "{", '{"format": NaN}', "[" * 100_000, "\0"])
def test_a_text_that_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(TableError):
        RewardTable.from_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(name=st.sampled_from(sorted(make_table())), value=json_values)
def test_any_value_in_a_field_is_taken_or_refused(name: str, value: object) -> None:
    with suppress(TableError):
        table = RewardTable.from_json(make_table(**{name: value}))
        assert table.reward(make_cell()).level in {"cell", "model", "verdict-probe", "verdict"}


@pytest.mark.parametrize(
    ("outcome", "value"), [(Outcome.PASS, 1.0), (Outcome.FAIL, 0.0), (Outcome.UNDECIDED, None)]
)
def test_without_a_table_the_reward_is_the_raw_verdict(
    outcome: Outcome, value: float | None
) -> None:
    cell = make_cell(f"{outcome}/boxed/integer/1", share_bin=1)
    assert raw_reward(cell) == Reward(value, "raw")


def test_sums_of_table_values_are_exact() -> None:
    table = RewardTable.from_json(make_table())
    rewards = [table.reward(make_cell(share_bin=2)).value or 0.0] * 7
    assert sum(rewards) / len(rewards) == rewards[0]
