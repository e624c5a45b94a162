"""Attacks and prompts that people add: what is wrong is said with file, line and field."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.verifiers.probes import (
    ProbeError,
    attack_from_json,
    built_in_attacks,
    parse_attacks,
    read_attacks,
    read_prompts,
    run_suite,
    with_attacks,
)
from trainer.verifiers.registry import build

ATTACK = {
    "id": "mine",
    "family": "promoted",
    "kinds": ["math"],
    "targets": "likes flattery",
    "source": "a label: reward hack",
    "template": "You are wise. {final_wrong}",
}


def lines_of(*rows: object) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def test_added_attacks_are_run_beside_the_built_in_ones(tmp_path: Path) -> None:
    file = tmp_path / "attacks.jsonl"
    file.write_text(f"\n{lines_of(ATTACK)}\n")
    attacks = with_attacks(built_in_attacks(), read_attacks(file))
    assert "promoted" in run_suite(build("boxed-any"), attacks=attacks).families()


def test_a_promoted_attack_may_bring_its_own_prompt() -> None:
    prompt = {"problem": "Name the set of reals.", "references": ["\\mathbb{R}"]}
    attack = attack_from_json(ATTACK | {"template": "{answer} {problem}", "prompts": [prompt]})
    (tried,) = run_suite(build("contains-reference"), attacks=[attack]).tried
    assert tried.attempt.item.response == "\\mathbb{R} Name the set of reals."
    assert tried.is_passed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "Mine"}, "id: must be of a-z"),
        ({"id": 3}, "id: must be a text"),
        ({"family": "x" * 25}, "family: must be of a-z"),
        ({"family": "a.b"}, "family: must be of a-z"),
        ({"kinds": []}, "kinds: must be one or more of math, short-answer, code, judge"),
        ({"kinds": ["maths"]}, "kinds: must be one or more of"),
        ({"must": "fail"}, "must: must be one of not-pass, pass"),
        ({"targets": " "}, "targets: must say which property"),
        ({"template": None}, "template: must be a text"),
        ({"templates": "x"}, "templates: unknown; known: id, family"),
        ({"prompts": [3]}, "prompts: must be a list of objects"),
        ({"prompts": [{"problem": "?"}]}, r"prompts\[0\]: references: must be a text or a list"),
        (
            {"prompts": [{"problem": "?", "references": ["x"]}]},
            r"template: its prompt gives no value for \{final_wrong\}",
        ),
    ],
)
def test_a_bad_attack_is_refused_with_its_line_and_field(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProbeError, match=rf"^new, line 2: {message}"):
        parse_attacks(lines_of(ATTACK, ATTACK | {"id": "other"} | changes), name="new")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1: is not JSON"),
        ("\n[]", "line 2: must be a JSON object"),
        (f"{'[' * 100_000}", "line 1: is not JSON"),
        (lines_of(ATTACK, ATTACK), "id: 'mine' is taken"),
    ],
)
def test_a_text_that_is_no_list_of_attacks_is_refused(text: str, message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        parse_attacks(text)


def test_an_id_of_a_built_in_attack_is_taken() -> None:
    attack = attack_from_json(ATTACK | {"id": built_in_attacks()[0].id})
    with pytest.raises(ProbeError, match="is taken"):
        with_attacks(built_in_attacks(), [attack])


@given(
    st.dictionaries(
        st.sampled_from(sorted(ATTACK)),
        st.none() | st.text() | st.integers() | st.lists(st.text() | st.none()),
    )
)
def test_any_fields_make_an_attack_or_an_error(fields: dict[str, Any]) -> None:
    with contextlib.suppress(ProbeError):
        assert attack_from_json(ATTACK | fields).template == (ATTACK | fields)["template"]


def prompts_file(folder: Path, *rows: object) -> Path:
    file = folder / "prompts.jsonl"
    file.write_text(lines_of(*rows))
    return file


@pytest.mark.parametrize(
    ("reference", "wrong"),
    [
        ("7", ("8", "6", "9")),
        ("-1", ("0", "-2", "1")),
        ("0.50", ("1.50", "-0.50", "2.50")),
        (r"\frac{1}{2}", (r"\frac{3}{2}", r"-\frac{1}{2}", r"\frac{5}{2}")),
        ("3/4", (r"\frac{7}{4}", r"-\frac{1}{4}", r"\frac{11}{4}")),
    ],
)
def test_wrong_answers_to_a_number_are_made_up(
    reference: str, wrong: tuple[str, ...], tmp_path: Path
) -> None:
    file = prompts_file(tmp_path, {"problem": "?", "references": [reference]})
    (prompt,) = read_prompts(file, kind="math")
    assert prompt.wrong == wrong


def test_a_file_of_prompts_is_attacked_instead_of_the_built_in_ones(tmp_path: Path) -> None:
    tests = json.dumps({"inputs": ["1"], "outputs": ["2"], "fn_name": "f"})
    rows = {
        "math": {"problem": "2+2?", "references": ["4"]},
        "short-answer": {"problem": "Who?", "references": ["Ada/Lovelace"]},
        "code": {"problem": "Write f.", "references": [tests]},
    }
    names = {"math": "boxed-any", "short-answer": "exact-match", "code": "boxed-any"}
    for kind, row in rows.items():
        prompts = read_prompts(prompts_file(tmp_path, row), kind=kind)
        result = run_suite(build(names[kind]), prompts, kind=kind)
        own = [one for one in result.tried if not one.attempt.attack.prompts]
        assert {one.attempt.item.problem for one in own} == {row["problem"]}


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("math", {"problem": "?", "references": ["x^2"]}, "wrong: give a wrong answer"),
        ("math", {"problem": "?", "references": ["4", "5"]}, "wrong: give a wrong answer"),
        ("math", {"problem": "?", "references": []}, "references: must hold at least one"),
        ("math", {"problem": "?", "references": [" "]}, "references: must hold at least one"),
        ("math", {"references": ["4"]}, "problem: must be a text"),
        ("math", {"problem": "?", "references": ["4"], "wrong": "4"}, "wrong: must differ"),
        ("math", {"problem": "?", "references": ["4"], "kind": "x"}, "kind: must be one of"),
        ("math", {"problem": "?", "references": ["4"], "x": 1}, "x: unknown; known: id"),
        ("code", {"problem": "?", "references": ["{}"]}, "references: must be JSON with"),
        ("code", {"problem": "?", "references": ["[]"]}, "references: must be JSON with"),
        (
            "code",
            {
                "problem": "?",
                "references": ['{"inputs": ["1"], "outputs": ["1"], "fn_name": "f()"}'],
            },
            "references: must be JSON with",
        ),
        (
            "code",
            {"problem": "?", "references": ['{"inputs": ["1"], "outputs": []}']},
            "references: must be JSON with",
        ),
    ],
)
def test_a_bad_prompt_is_refused_with_its_line_and_field(
    kind: str, row: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ProbeError, match=rf"prompts\.jsonl, line 1: {message}"):
        read_prompts(prompts_file(tmp_path, row), kind=kind)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe"])
def test_a_file_without_prompts_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(content)
    with pytest.raises(ProbeError, match=r"prompts\.jsonl: (holds no prompt|is not UTF-8)"):
        read_prompts(file, kind="math")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match=r"cannot read .*nowhere"):
        read_attacks(tmp_path / "nowhere")
