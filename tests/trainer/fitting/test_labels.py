"""Exported labels become examples; what is no such row is refused with its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.fitting.rows import (
    make_final,
    make_row,
    make_sample,
    make_verdict,
    stepped,
    write,
)
from trainer.fitting.labels import Labels, LabelsError, read_labels


def read(folder: Path, *rows: dict[str, Any], level: str = "outcome") -> Labels:
    return read_labels([write(rows, folder)], level=level)


def test_a_row_becomes_what_a_verifier_sees_and_what_people_said(tmp_path: Path) -> None:
    final = make_final("incorrect", earliest_wrong_step=2)
    (example,) = read(tmp_path, make_row(final=final, prompt="7 +\n 8 = ?")).examples
    assert example.item.problem == "7 +\n 8 = ?"
    assert example.prompt == "7 + 8 = ?"
    assert example.item.references == ("15",)
    assert example.item.response == "First 7.\n\nThen 15."
    assert example.item.steps == ("First 7.", "Then 15.")
    assert (example.is_correct, example.earliest_wrong) == (False, 2)
    assert example.step_labels() == (True, False)
    assert example.outcomes == {"exact-match@2": "pass"}


def test_the_response_is_the_policys_last_words(tmp_path: Path) -> None:
    messages = [
        {"role": "assistant", "content": "let me see"},
        {"role": "tool", "content": "15"},
        {"role": "assistant", "content": "so 15"},
        {"role": "user", "content": "thanks"},
    ]
    (example,) = read(tmp_path, make_row(messages=messages, steps=[[0, 0, 3], [2, 0, 5]])).examples
    assert example.item.response == "so 15"
    assert example.item.steps == ("let", "so 15")


def test_steps_after_the_first_wrong_one_have_no_label(tmp_path: Path) -> None:
    labels = read(tmp_path, *stepped(1, a_prompt=5), level="step")
    assert [example.step_labels() for example in labels.examples] == [
        (True, True, True, True),
        (False,),
        (True, False),
        (True, True, False),
        (True, True, True, False),
    ]


def test_a_lone_wave_weighs_as_it_was_drawn(tmp_path: Path) -> None:
    labels = read(tmp_path, make_row(sample=make_sample(3.5)))
    assert [example.weight for example in labels.examples] == [3.5]


def test_the_waves_of_a_window_are_mixed_by_their_planned_sizes(tmp_path: Path) -> None:
    """100 rollouts: 2 drawn with g = 50, then 6 of the other 98 with g = 98 / 6."""
    first = [make_row(f"a-{i}", sample=make_sample(50, wave=1, planned=2)) for i in range(2)]
    second = [make_row(f"b-{i}", sample=make_sample(98 / 6, wave=2, planned=6)) for i in range(6)]
    weights = [example.weight for example in read(tmp_path, *first, *second).examples]
    assert weights[0] == pytest.approx(2 / 8 * 50 + 6 / 8)
    assert weights[-1] == pytest.approx(6 / 8 * 98 / 6)
    assert sum(weights) == pytest.approx(100)


def test_a_pick_stands_for_itself_and_is_no_sample(tmp_path: Path) -> None:
    drawn, picked = read(tmp_path, make_row("a-1"), make_row("a-2", sample=None)).examples
    assert (drawn.weight, drawn.is_sampled) == (2.0, True)
    assert (picked.weight, picked.is_sampled) == (1.0, False)


def test_labels_that_no_audit_drew_are_all_measured(tmp_path: Path) -> None:
    labels = read(tmp_path, make_row(sample=None))
    assert [(e.weight, e.is_sampled) for e in labels.examples] == [(1.0, True)]


def test_what_says_nothing_is_left_out_and_counted(tmp_path: Path) -> None:
    upheld = [{"fault": "no_answer", "state": "upheld", "decision": ""}]
    labels = read(
        tmp_path,
        make_row("a-1", final=make_final(no_wrong_step=True)),
        make_row("a-2", final=None),
        make_row("a-3", is_purged=True),
        make_row("a-4", final=make_final("cannot_tell")),
        make_row("a-5", errata=upheld),
        make_row("a-6", final=make_final(problem_fault="ambiguous")),
        make_row("a-7"),
        level="step",
    )
    assert [example.id for example in labels.examples] == ["a-1"]
    assert labels.left_out == {
        "without a final answer": 1,
        "purged": 1,
        "undecided": 1,
        "of a broken problem": 2,
        "without a word on its steps": 1,
    }


def test_only_correctness_verifiers_are_others_to_compare_with(tmp_path: Path) -> None:
    monitor = make_verdict(verifier="watch@1") | {"channel": "monitor"}
    (example,) = read(tmp_path, make_row(verdicts=[make_verdict("undecided"), monitor])).examples
    assert example.outcomes == {"exact-match@2": "undecided"}


def test_columns_of_a_newer_server_are_passed_over(tmp_path: Path) -> None:
    assert len(read(tmp_path, make_row(later="x")).examples) == 1


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"id": 3}, "id: must be a text, not int"),
        ({"prompt": None}, "prompt: must be a text, not NoneType"),
        ({"references": "15"}, "references: must be a list, not str"),
        ({"references": [15]}, "references: must be texts"),
        ({"messages": []}, "messages: there are none"),
        ({"messages": ["hi"]}, "messages: must hold objects"),
        ({"messages": [{"role": "assistant"}]}, "messages.content: is missing"),
        ({"steps": [[0, 1]]}, "steps: must be [message, start, end] each"),
        ({"steps": [[7, 0, 1]]}, "steps: must be [message, start, end] each"),
        ({"verdicts": [3]}, "verdicts: must hold objects"),
        ({"sample": []}, "sample: must be an object, not list"),
        ({"sample": make_sample(0)}, "sample.weight: must be a number above 0"),
        ({"sample": make_sample(float("nan"))}, "sample.weight: must be a number above 0"),
        ({"sample": make_sample(wave="1")}, "sample.wave: must be a number above 0"),
        ({"final": "correct"}, "final: must be an object, not str"),
        ({"final": {}}, "final.answer: is missing"),
        (
            {"final": make_final(earliest_wrong_step=3)},
            "final.earliest_wrong_step: must be 1 to 2",
        ),
    ],
)
def test_a_row_of_another_shape_is_refused_by_file_line_and_rule(
    changes: dict[str, Any], rule: str, tmp_path: Path
) -> None:
    with pytest.raises(LabelsError) as refusal:
        read(tmp_path, make_row("a-1"), make_row("a-2") | changes)
    assert str(refusal.value) == f"{tmp_path / 'labels.jsonl'}, line 2: {rule}"


@pytest.mark.parametrize("line", ["{", "[]", "[" * 100_000, '{"id": "\\ud800"', "\x00"])
def test_a_line_that_does_not_parse_is_refused_by_its_place(line: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text(json.dumps(make_row()) + "\n\n" + line + "\n")
    with pytest.raises(
        LabelsError, match=r"labels\.jsonl, line 3: (is not JSON|must be an object)"
    ):
        read_labels([file], level="outcome")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match=r"cannot read .*none\.jsonl"):
        read_labels([tmp_path / "none.jsonl"], level="outcome")


def test_the_same_row_twice_is_refused(tmp_path: Path) -> None:
    file = write([make_row()], tmp_path)
    with pytest.raises(LabelsError, match=r"line 1: id: a-1 is in .*line 1 too"):
        read_labels([file, file], level="outcome")


def test_no_label_to_fit_to_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match=r"no labels to fit to \(1 without a final answer\)"):
        read(tmp_path, make_row(final=None))
    with pytest.raises(LabelsError, match=r"no labels to fit to \(the files are empty\)"):
        read(tmp_path)
