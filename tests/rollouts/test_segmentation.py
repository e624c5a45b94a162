"""Numbered steps: what a reviewer counts when they name the earliest wrong one."""

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from review.rollouts.errors import InvalidStepsError
from review.rollouts.segmentation import MOST_STEPS, places, segment, source_spans

CUTTERS = ["auto", "blank_line", "numbered", "sentence", "source"]


def steps(text: str, segmenter: str = "auto") -> list[str]:
    return [text[start:end] for start, end in segment(text, segmenter)]


@pytest.mark.parametrize(
    ("text", "expected"),
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
def test_steps_are_paragraphs_else_lines_else_sentences(text: str, expected: list[str]) -> None:
    assert steps(text) == expected


def test_blank_lines_alone_cut_where_that_is_asked() -> None:
    assert steps("one.\ntwo. three\n \nfour", "blank_line") == ["one.\ntwo. three", "four"]
    assert steps("one.\ntwo. three", "blank_line") == ["one.\ntwo. three"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Well.\n\nStep 1: a\n\nb\nStep 2: c", ["Well.", "Step 1: a\n\nb", "Step 2: c"]),
        (
            "**Step 1** a\n### step 2. b\n__Step 3__",
            ["**Step 1** a", "### step 2. b", "__Step 3__"],
        ),
        # Headings outrank the numbers under them.
        ("Step 1\n1. a\n2. b\nStep 2", ["Step 1\n1. a\n2. b", "Step 2"]),
        ("So\n1. a\n2) b\n(3) c\n**4.** d", ["So", "1. a", "2) b", "(3) c", "**4.** d"]),
        # So do the outermost numbers those within.
        ("1. a\n   1. b\n   2. c\n2. d", ["1. a\n   1. b\n   2. c", "2. d"]),
        ("1. a\n1.5 apples\n2. b", ["1. a\n1.5 apples", "2. b"]),
        ("no numbers\n\nhere", ["no numbers", "here"]),
        ("```\n1. a\n2. b\n```\n\nso", ["```\n1. a\n2. b\n```", "so"]),
    ],
)
def test_the_numbering_of_the_text_cuts_it(text: str, expected: list[str]) -> None:
    assert steps(text, "numbered") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A is 3.14. B is .5! C? D", ["A is 3.14.", "B is .5!", "C?", "D"]),
        ("By e.g. Fig. 3, cf. Dr. Noether. Then", ["By e.g. Fig. 3, cf. Dr. Noether.", "Then"]),
        ("It is 5 in. wide. No. 7 is A. Then b.", ["It is 5 in. wide.", "No. 7 is A.", "Then b."]),
        ("Is it so? The answer is no. Thus", ["Is it so?", "The answer is no.", "Thus"]),
        ("One... two. Three... Four", ["One... two.", "Three...", "Four"]),
        ('**Bold.** "Said." (Put.) So', ["**Bold.**", '"Said."', "(Put.)", "So"]),
        ("1. First. Then\n2. Second", ["1. First.", "Then", "2. Second"]),
        ("a $x = 1. Then y$ b. c", ["a $x = 1. Then y$ b.", "c"]),
        (r"a \( b. c \) d. e \[ f. g \] h", [r"a \( b. c \) d.", r"e \[ f. g \] h"]),
        ("a\n```\nb. c\n\nd\n```\ne", ["a", "```\nb. c\n\nd\n```", "e"]),
        ("see `a. b` there. c", ["see `a. b` there.", "c"]),
        # Chinese, Hindi and Arabic full stops; the first need no gap.
        ("\u597d\u3002\u518d\uff01\uff1f\u5b8c", ["\u597d\u3002", "\u518d\uff01\uff1f", "\u5b8c"]),
        ("It costs $5. Then $10. So", ["It costs $5.", "Then $10.", "So"]),
    ],
)
def test_sentences_end_where_a_reader_sees_their_end(text: str, expected: list[str]) -> None:
    assert steps(text, "sentence") == expected


@pytest.mark.parametrize("segmenter", ["auto", "blank_line", "numbered"])
@pytest.mark.parametrize(
    "whole",
    [
        "```python\ndef f():\n\n    return 1\n```",
        "~~~\na\n\n```\n\nb\n~~~",
        "\\[\nx\n\n- 3\n\\]",
        "$$\na\n\nb\n$$",
        "\\begin{align}\na\n\n&= b\n\\end{align}",
    ],
)
def test_code_and_formulas_on_lines_of_their_own_are_never_cut(segmenter: str, whole: str) -> None:
    assert steps(f"so\n\n{whole}\n\nthen", segmenter) == ["so", whole, "then"]


@pytest.mark.parametrize(
    "opened", ["```\n", "$", "$$", "\\[", "\\(", "\\begin{align}", "\\boxed{", "`"]
)
def test_what_is_opened_and_never_closed_holds_nothing_together(opened: str) -> None:
    assert len(steps(f"{opened}a\n\nb\n\nc")) == 3


PIECES = st.sampled_from(
    [
        *("\n\n", "\n", "\r", "\t", ". ", "1. ", "Step 2: ", "e.g. ", "a", "**", "`", "```\n", "$"),
        *("$$", "\\(", "\\)", "\\[", "\\]", "\\begin{align}", "\\end{align}"),
        *("\u3002", "\u2028", "\x00", "\U0001f600"),
    ]
)


@pytest.mark.parametrize("segmenter", CUTTERS)
@given(pieces=st.lists(PIECES | st.text(max_size=5), max_size=40))
def test_steps_are_in_order_trimmed_and_leave_out_only_white_space(
    segmenter: str, pieces: list[str]
) -> None:
    text = "".join(pieces)
    spans = segment(text, segmenter)
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    for start, end in spans:
        step = text[start:end]
        assert step
        assert step == step.strip()
    between = zip([0, *edges[1::2]], [*edges[::2], len(text)], strict=True)
    assert not any(text[start:end].strip() for start, end in between)


def said(*messages: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in messages]


def test_only_what_the_assistant_wrote_is_cut() -> None:
    turns = said(
        ("system", "a\n\nb"),
        ("user", "c"),
        ("assistant", "d\n\ne"),
        ("tool", "f"),
        ("assistant", "g"),
    )
    assert places(turns, "auto") == [(2, 0, 1), (2, 3, 4), (4, 0, 1)]


def test_where_no_message_is_the_assistants_the_last_one_is_cut() -> None:
    assert places(said(("user", "a"), ("model", "b\n\nc")), "auto") == [(1, 0, 1), (1, 3, 4)]


def test_more_steps_than_a_page_holds_are_joined_and_still_hold_all() -> None:
    text = "\n\n".join(f"s{number}" for number in range(5 * MOST_STEPS))
    found = places(said(("assistant", text), ("assistant", "end")), "blank_line")
    assert MOST_STEPS / 2 < len(found) <= MOST_STEPS
    assert found[0] == (0, 0, text.index("s6") - 2)
    assert found[-1] == (1, 0, 3)
    assert (
        "".join(text[start:end] for at, start, end in found if at == 0).count("s") == 5 * MOST_STEPS
    )


def test_the_sources_steps_are_found_in_what_was_written() -> None:
    turns = said(("user", "a b"), ("assistant", " a  b\n"), ("tool", "t"), ("assistant", "c"))
    assert source_spans(turns, ["a", " b ", "c"]) == {1: [(1, 2), (4, 5)], 3: [(0, 1)]}


@pytest.mark.parametrize(
    ("wrong", "field", "rule"),
    [
        (["a"], "steps", "leave out the end of the text"),
        (["a", "c"], "steps[1]", "is not how the text goes on"),
        (["a", " ", "b"], "steps[1]", "is blank"),
        (["a", "b", "c"], "steps[2]", "is more than the text holds"),
        (["a  b\nc"], "steps[0]", "is not how the text goes on"),
        ([], "steps", "leave out the end of the text"),
    ],
)
def test_source_steps_that_are_not_the_text_are_refused(
    wrong: list[str], field: str, rule: str
) -> None:
    with pytest.raises(InvalidStepsError) as refusal:
        source_spans(said(("assistant", "a  b")), wrong)
    assert refusal.value.fields == {field: rule}


@pytest.mark.parametrize("segmenter", CUTTERS)
@pytest.mark.parametrize(
    "part",
    [
        *("\\[\n", "\\(", "$$\n", "$a ", "\\boxed{", "\\begin{align}", "`a", "```a\n", "~~~\n"),
        *("step ", "1. ", " *", '_."', "\n \r", "\\", "\u3002"),
    ],
)
def test_a_hostile_chain_of_thought_is_cut_at_once(part: str, segmenter: str) -> None:
    text = part * (60_000 // len(part))
    start = process_time()
    segment(text, segmenter)
    assert process_time() - start < 2


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
    start = process_time()
    segment(text)
    assert process_time() - start < 2
