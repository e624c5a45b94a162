import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from time import process_time
from xml.etree.ElementTree import Element, SubElement

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from review.web.rendering import (
    FORMULA_LIMIT,
    TEXT_LIMIT,
    TOKEN_CLASSES,
    render,
    render_answer,
    render_plain,
    render_uncached,
    svg,
)
from tests.hostile import HTML, PAYLOADS

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def words(text: str) -> set[str]:
    return set(text.split())


# Written out here rather than imported: a slip in the renderer's own lists must show.
TAGS = words(
    "div p br hr h4 h5 h6 ul ol li pre code em strong table thead tbody tr th td span a "
    "math mrow mi mn mo mtext ms mspace mfrac msqrt mroot msub msup msubsup munder mover "
    "munderover mmultiscripts mprescripts none mtable mtr mtd mstyle"
)
ATTRIBUTES = words(
    "class dir href rel start accent accentunder display displaystyle fence form largeop "
    "linethickness mathvariant maxsize minsize movablelimits scriptlevel separator stretchy "
    "symmetric width xmlns"
)
CLASSES = TOKEN_CLASSES | words(
    "rollout-text rollout-answer math math-display math-source boxed struck align-left "
    "align-right marker-minus marker-plus marker-star"
)


class Reader(HTMLParser):
    """Collects what is wrong with a piece of HTML, and the text that a reader would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.faults.append(f"tag {tag}")
        for name, value in attrs:
            if name not in ATTRIBUTES:
                self.faults.append(f"attribute {tag}.{name}")
            if name == "href" and not (value or "").startswith(("http://", "https://")):
                self.faults.append(f"address {value}")
            if name == "class" and not CLASSES.issuperset((value or "").split()):
                self.faults.append(f"class {value}")

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.faults.append(f"comment {data}")

    def handle_decl(self, decl: str) -> None:
        self.faults.append(f"declaration {decl}")

    def handle_pi(self, data: str) -> None:
        self.faults.append(f"instruction {data}")


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


def shown(text: str) -> str:
    """The text a reader sees, white space folded."""
    return " ".join(read(render(text)).text.split())


# Words of LaTeX that say how something looks, and so are not shown as words.
LOOKS = re.compile(
    r"\\(?:begin|end)\{\w+\}|\\(?:[a-z]*color|colorbox)\{[^{}]*\}|\\fcolorbox\{\w+\}\{\w+\}"
    r"|\\(?:hspace|raise)\{[^{}]*\}|\\rule(?:\{\w+\}){2}|&#x3[ce];|```html"
)
ADDRESS = re.compile(r'href="([^"]*)"')
WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z0-9]{2,}")
HOSTILE = list(PAYLOADS.values())


def test_the_list_of_hostile_texts_is_long() -> None:
    assert len(PAYLOADS) >= 60


@pytest.mark.parametrize("name", PAYLOADS)
def test_hostile_text_keeps_only_listed_tags_and_attributes(name: str) -> None:
    text = PAYLOADS[name]
    assert read(render(text)).faults == []
    assert read(render_plain(text)).faults == []
    assert read(render_plain(text, language="html")).faults == []
    assert read(render_answer(text)).faults == []


@pytest.mark.parametrize("name", PAYLOADS)
def test_no_word_of_a_hostile_text_vanishes(name: str) -> None:
    """An address may stand beside its link, where the style sheet shows it."""
    text = PAYLOADS[name]
    page = render(text)
    visible = "".join(read(page).text.split()) + unescape("".join(ADDRESS.findall(page)))
    assert [word for word in WORD.findall(LOOKS.sub(" ", text)) if word not in visible] == []
    plain = "".join(read(render_plain(text)).text.split())
    assert [word for word in WORD.findall(text) if word not in plain] == []


@pytest.mark.parametrize("name", PAYLOADS)
def test_hostile_text_is_rendered_in_no_time(name: str) -> None:
    start = process_time()
    render_uncached(PAYLOADS[name])
    assert process_time() - start < 1


@pytest.mark.parametrize("name", PAYLOADS)
def test_hostile_text_stays_harmless_inside_other_text(name: str) -> None:
    text = PAYLOADS[name]
    assert read(render(f"So far\n\n1. **a {text} b**\n\n{text}\n\n$x$ and {text}")).faults == []


@pytest.mark.parametrize("text", [text for text in HTML.values() if text.startswith("<")])
def test_typed_html_is_shown_as_typed(text: str) -> None:
    assert " ".join(text.split()) in shown(text)


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $10.",
        "She makes 9 * 2 = $<<9*2=18>>18 a day",
        "Between $5-$10, or $3 a pound",
        "2*3*4 = 24",
        "(2)*(3)*(4)",
        "2**3**2",
        "a_1 + b_2 = c_3",
        "x < y > z & w",
        "&amp; &#60; stay",
        "an unclosed $x + 1",
        "an unclosed \\[ x + 1",
        "an unclosed \\boxed{1",
        "P[A](B) + f[x](y)",
        "~~5~~ or ~6 miles",
        "[1]: https://example.org",
    ],
)
def test_what_only_looks_like_markup_is_left_alone(text: str) -> None:
    escaped_backslash_ok = text.replace("\\[", "[")
    assert shown(text) in {text, escaped_backslash_ok}


def test_a_comparison_at_the_start_of_a_line_is_no_quotation() -> None:
    assert shown("x\n> 5") == "x > 5"


@pytest.mark.parametrize(("marker", "name"), [("-", "minus"), ("+", "plus"), ("*", "star")])
def test_a_list_shows_the_marker_that_was_typed(marker: str, name: str) -> None:
    assert f'<ul class="marker-{name}">' in render(f"{marker} 4")


@pytest.mark.parametrize(
    "text",
    [
        "$x^2$",
        "$$x^2$$",
        r"\(x^2\)",
        r"\[x^2\]",
        "we have\n\\[\nx^2\n- 3\n= 5\n\\]\nso",
        "1. first\n\n   \\[\n   x^2\n   \\]\n\n2. second",
        r"\begin{align}x^2&=4\\x&=2\end{align}",
        r"\begin{aligned}x^2&=4\\x&=2\end{aligned}",
        r"the answer is \boxed{x^2}.",
        r"| a |" "\n|---|\n" r"| $x^2$ |",
        "**$x^2$**",
    ],
)
def test_every_way_to_write_a_formula_gives_mathml(text: str) -> None:
    html = render(text)
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in html
    assert "math-source" not in html


def test_lines_inside_a_display_formula_are_not_list_items() -> None:
    html = render("\\[\na\n- 3\n+ 4\n\\]")
    assert "<li>" not in html
    assert html.count("<math ") == 1


def test_formulas_in_code_are_code() -> None:
    assert "<math " not in render("`\\(x\\)` and `$x$`\n\n```\n\\[ x \\]\n$$y$$\n```")


def test_a_boxed_answer_has_a_box_and_hidden_parts_are_visible() -> None:
    assert '<mrow class="boxed">' in render(r"\boxed{15}")
    assert "phantom" not in render(r"$\phantom{secret}$")


def test_text_in_a_formula_keeps_its_characters() -> None:
    assert shown(r"$\text{if } a<b \text{ & } c>d$") == "if\xa0a<b\xa0&\xa0c>d".replace("\xa0", " ")


def test_what_latex_cannot_express_is_shown_as_its_source() -> None:
    assert '<code class="math-source">\\frac{</code>' in render(r"$\frac{$")
    too_long = "x" * (FORMULA_LIMIT - 10)
    assert too_long in render(f"$${too_long}$$ {too_long}").replace("</mi><mi>", "")


def test_known_code_is_highlighted_and_other_code_is_not() -> None:
    assert 'class="tok-k"' in render("```python\nreturn 1\n```")
    assert "tok-" not in render("```brainfuck\n+++\n```")


def test_words_after_a_fence_are_shown() -> None:
    assert shown("``` the answer is 5\nx\n```") == "the answer is 5 x"
    assert shown("~~~5 miles~~~") == "5 miles~~~"


def test_headings_stay_below_the_headings_of_the_page() -> None:
    html = render("# a\n## b\n### c\n###### d")
    assert [tag for tag in ("<h1", "<h2", "<h3") if tag in html] == []
    assert all(tag in html for tag in ("<h4>a", "<h5>b", "<h6>c", "<h6>d"))


def test_a_link_goes_to_the_web_only_and_tells_it_nothing() -> None:
    html = render("[x](https://example.org/a?b=1&c=2)")
    assert 'href="https://example.org/a?b=1&amp;c=2"' in html
    assert 'rel="noopener noreferrer nofollow"' in html


def test_right_to_left_text_finds_its_own_direction() -> None:
    assert render("الجواب هو 15").startswith('<div class="rollout-text" dir="auto">')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x00b", "a�b"),
        ("a\ud800b\udfff", "a�b�"),
        ("12\u202e34", "12�34"),
        ("👩‍🔬 and 🧮", "👩‍🔬 and 🧮"),
        ("", ""),
        (" \n\n ", ""),
        ("one\r\ntwo", "one two"),
    ],
)
def test_odd_characters_survive_or_are_marked(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_a_very_long_line_is_shown_whole() -> None:
    assert shown("x" * 5_000) == "x" * 5_000


def test_a_text_over_the_limit_is_shown_as_plain_text() -> None:
    text = "**x** " * (TEXT_LIMIT // 6 + 1)
    assert shown(text) == text.strip()
    assert "<strong>" not in render(text)


def test_a_text_nested_too_deep_is_shown_as_plain_text() -> None:
    text = "\n".join("  " * depth + f"- {depth}" for depth in range(60))
    assert "- 59" in shown(text)


@pytest.mark.parametrize(
    "part", ["\\[\n", "$$\n", "$a ", "\\boxed{", "\\begin{align}", "**a", "`a", "a\\", "| a "]
)
def test_many_unclosed_marks_keep_every_character(part: str) -> None:
    """Each was quadratic in some parser; the limits keep a full-size text at about a second."""
    times = 10_000 // len(part)
    visible = shown(part * times).replace(" ", "")
    assert visible.count("a") == (part * times).count("a")


def test_an_answer_is_a_formula_only_when_it_is_one() -> None:
    assert render_answer("1,000") == '<span class="rollout-answer" dir="auto">1,000</span>'
    assert "<mfrac>" in render_answer(r"\frac{1}{2}")
    assert read(render_answer(r"\frac{1}{")).text == r"\frac{1}{"


def test_a_chart_with_anything_unlisted_is_refused() -> None:
    root = Element("svg", {"viewBox": "0 0 1 1"})
    assert svg(root) == '<svg viewBox="0 0 1 1" />'
    SubElement(root, "script")
    with pytest.raises(ValueError, match="script"):
        svg(root)
    with pytest.raises(ValueError, match="onload"):
        svg(Element("svg", {"onload": "x"}))


PIECES = st.sampled_from([*HOSTILE, "$", "$$", "\\[", "\\]", "\\(", "\\boxed{", "}", "{", "\\\\"])
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)


@settings(max_examples=300)
@given(st.lists(PIECES | ANY_TEXT | st.sampled_from(["\n", "\n\n", "    ", "* ", "**"])))
def test_any_text_renders_to_listed_tags_only(pieces: list[str]) -> None:
    assert read(render("".join(pieces))).faults == []


@settings(max_examples=200)
@given(st.text(st.sampled_from("0123456789+-=*/()<>$%,. \n"), max_size=80))
def test_digits_never_vanish(text: str) -> None:
    """A numbered list renders its number as the `start` of the list, so those are left out."""
    if any(line.lstrip(" -+*").partition(".")[0].isdigit() for line in text.split("\n")):
        return
    if any(line.lstrip(" -+*").partition(")")[0].isdigit() for line in text.split("\n")):
        return
    assert [c for c in shown(text) if c.isdigit()] == [c for c in text if c.isdigit()]


@pytest.mark.parametrize(
    "name", ["gsm8k/model_solutions.jsonl", "qwen_math_cot100x8/rollouts.jsonl"]
)
def test_real_completions_render_with_nearly_every_formula(name: str) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not here")
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()[:200]
    pages = [render(c["text"]) for line in lines for c in json.loads(line)["completions"]]
    assert [fault for page in pages for fault in read(page).faults] == []
    formulas = sum(page.count("<math ") for page in pages)
    sources = sum(page.count("math-source") for page in pages)
    assert sources <= 0.01 * formulas
