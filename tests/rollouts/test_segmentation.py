"""Numbered steps: what a reviewer counts when they name the earliest wrong one."""

from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from review.rollouts.segmentation import segment


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", []),
        (" \n\t ", []),
        ("7+8=15", ["7+8=15"]),
        ("one\n\ntwo\n  \n\nthree", ["one", "two", "three"]),
        ("one\r\n\r\ntwo", ["one", "two"]),
        # A blank line is a stronger boundary than a line's end, and that than a sentence's.
        ("a\nb\n\nc. d.", ["a\nb", "c. d."]),
        ("a. b.\nc.", ["a. b.", "c."]),
        (
            "First 3.14 is pi. Then 2; so 5! Right?",
            ["First 3.14 is pi.", "Then 2;", "so 5!", "Right?"],
        ),
        ("\n\n  one  \n\n", ["one"]),
        ("\n\n  one. two  \n\n", ["one.", "two"]),
    ],
)
def test_steps_are_paragraphs_else_lines_else_sentences(text: str, steps: list[str]) -> None:
    assert [text[start:end] for start, end in segment(text)] == steps


@given(st.text(st.sampled_from("ab.!?; \t\r\n\u2028\x00\ufffd\U0001f600"), max_size=80))
def test_steps_are_in_order_trimmed_and_leave_out_only_white_space(text: str) -> None:
    spans = segment(text)
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    for start, end in spans:
        step = text[start:end]
        assert step
        assert step == step.strip()
    between = zip([0, *edges[1::2]], [*edges[::2], len(text)], strict=True)
    assert not any(text[start:end].strip() for start, end in between)


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 200_000,
        "\n \t" * 70_000,
        "." * 200_000,
        ". " * 100_000,
        " " * 200_000,
        "\n\r" * 100_000,
    ],
    ids=["line ends", "blank lines", "dots", "sentences", "blanks", "odd line ends"],
)
def test_a_hostile_text_costs_no_more_than_its_length(text: str) -> None:
    start = perf_counter()
    segment(text)
    assert perf_counter() - start < 2
