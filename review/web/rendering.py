"""Hostile text -> HTML that is safe to show: Markdown, LaTeX as MathML, highlighted code.

The only module that marks strings as safe. Two walls stand behind each other: every part is built
from an allow-list (no raw HTML in Markdown, MathML rebuilt element by element), and nh3 cleans the
finished whole.

Fidelity goes before beauty, because a reviewer judges what is shown: nothing may vanish or turn
into something else. So `2*3*4` keeps its stars, `> 5` and `+ 4` at the start of a line are text,
`\\phantom` is visible, HTML is shown as typed, and what cannot be rendered is shown as plain text.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from html import escape
from typing import Any
from xml.etree.ElementTree import Element, tostring

import nh3
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from latex2mathml.converter import Converter
from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline, emphasis
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES

from review.rollouts.formulas import ENVIRONMENTS, FORMULA_LIMIT, formula_at
from review.web.courtesy import give_way

TEXT_LIMIT = 60_000
BRACE_LIMIT = 600
CODE_LIMIT = 10_000
# markdown-it drops what is nested deeper than its own limit, so give up before that.
NESTING_LIMIT = 40


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# A closed list: lexers are regular expressions of very different care, run here on hostile text.
LANGUAGES = _words(
    "bash c cpp c++ css go html java javascript js json latex lean lean4 ocaml python py python3 "
    "r ruby rust sh sql tex toml typescript ts xml yaml"
)

MATHML_ATTRIBUTES = _words(
    "accent accentunder display displaystyle fence form largeop linethickness mathvariant maxsize "
    "minsize movablelimits scriptlevel separator stretchy symmetric width xmlns"
)
MATHML_TAGS = _words(
    "math mfrac mi mn mo mover mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd "
    "mtext mtr munder munderover mmultiscripts mprescripts none"
)
# What latex2mathml writes for boxes, strikes and invisible or displaced parts; MathML Core has none
# of it, and displaced or hidden content would show a reviewer something else than was written.
AS_ROW = frozenset({"menclose", "mpadded", "mphantom", "mfenced", "merror"})
ENCLOSED = {"box": "boxed", "roundedbox": "boxed", "circle": "boxed"}
MATH_CLASSES = {"boxed", "struck"}
CELL_CLASSES = {"align-left", "align-right"}

HTML_TAGS = _words("a br code em h4 h5 h6 hr li ol p pre span strong table tbody td th thead tr ul")
TOKEN_CLASSES = {f"tok-{name}" for name in STANDARD_TYPES.values() if name}
CLEANER = nh3.Cleaner(
    tags=set(HTML_TAGS | MATHML_TAGS),
    clean_content_tags={"script", "style"},
    attributes={
        "*": set(),  # else nh3 allows `lang` and `title` everywhere
        **{tag: set(MATHML_ATTRIBUTES) for tag in MATHML_TAGS},
        "a": {"href"},
        "ol": {"start"},
    },
    allowed_classes={
        "span": {"math", "math-display"} | TOKEN_CLASSES,
        "code": {"math-source"},
        "ul": {"marker-minus", "marker-plus", "marker-star"},
        "mrow": MATH_CLASSES,
        "mtd": CELL_CLASSES,
    },
    url_schemes={"http", "https"},
    url_relative="deny",
    link_rel="noopener noreferrer nofollow",
)
FORMATTER = HtmlFormatter(nowrap=True, classprefix="tok-")

# NUL, other control characters, lone surrogates (not encodable), and the two characters that
# reorder what follows them: a reviewer must not read 21 where 12 was written.
UNSHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202d\u202e]")


SVG_TAGS = frozenset({"svg", "title", "desc", "g", "path", "line", "rect", "text"})
SVG_ATTRIBUTES = _words(
    "aria-labelledby class d fill fill-opacity font-size font-weight height id opacity role stroke "
    "stroke-dasharray stroke-miterlimit stroke-opacity stroke-width text-anchor transform viewBox "
    "width x x1 x2 xmlns y y1 y2"
)


def render(text: str) -> SafeString:
    """Render untrusted Markdown with LaTeX and code; plain text where that fails. Never raises."""
    give_way()
    return _render_cached(UNSHOWABLE.sub("\ufffd", text.replace("\r\n", "\n")))


def render_answer(text: str) -> SafeString:
    """Render a short extracted answer: as a formula if it holds a LaTeX command, else as typed."""
    shown = UNSHOWABLE.sub("\ufffd", text)
    body = _math(shown, display=False) if "\\" in shown or "^" in shown else escape(shown)
    return format_html('<span class="rollout-answer" dir="auto">{}</span>', _cleaned(body))


def render_plain(text: str, *, language: str = "") -> SafeString:
    """Render text as it was typed, line by line: code, or what a tool gave back."""
    shown = UNSHOWABLE.sub("\ufffd", text.replace("\r\n", "\n"))
    body = _cleaned(f"<pre><code>{_highlighted(shown, language, '') or escape(shown)}</code></pre>")
    return format_html('<div class="rollout-text" dir="auto">{}</div>', body)


def svg(root: Element) -> SafeString:
    """Serialise an SVG drawn by our own code, refusing any element or attribute not listed."""
    for element in root.iter():
        if element.tag not in SVG_TAGS or not SVG_ATTRIBUTES.issuperset(element.keys()):
            raise ValueError(f"not allowed in a chart: {element.tag} {sorted(element.keys())}")
    return mark_safe(tostring(root, encoding="unicode"))  # noqa: S308  # built from the lists above


def render_uncached(text: str) -> SafeString:
    try:
        body = _cleaned(_markdown(text))
    except Exception:  # any failure of four parsers on hostile text has one remedy: show it raw
        body = _cleaned(f"<pre>{escape(text)}</pre>")
    return format_html('<div class="rollout-text" dir="auto">{}</div>', body)


# The worst text allowed renders to about 1 MB, so the cache is bounded at a few hundred of them.
_render_cached = lru_cache(maxsize=512)(render_uncached)


def _cleaned(html: str) -> SafeString:
    return mark_safe(CLEANER.clean(html))  # noqa: S308  # the one place: cleaned in this very line


def _markdown(text: str) -> str:
    if len(text) > TEXT_LIMIT:
        raise ValueError("too long")
    env: dict[str, Any] = {}
    tokens = MARKDOWN.parse(text, env)
    if any(token.level >= NESTING_LIMIT - 4 for token in tokens):
        raise ValueError("nested too deep")
    return str(MARKDOWN.renderer.render(tokens, MARKDOWN.options, env))


# -- LaTeX ---------------------------------------------------------------------------------------

BEGIN_OR_END = re.compile(r"\\(begin|end)\{([a-zA-Z]+\*?)\}")
ALIGNAT_COUNT = re.compile(r"(\\begin\{alignat\*?\}|\\begin\{alignedat\})\{\d\}")
NUMBERING = re.compile(r"\\(?:label\{[^{}]*\}|nonumber|notag)")
PERCENT = re.compile(r"(?<!\\)%")
# Macros can grow without bound when expanded.
MACRO = re.compile(
    r"\\(?:newcommand|renewcommand|providecommand|def|gdef|edef|xdef|let)(?![a-zA-Z])"
)
# MathML would keep what they are put on, and lose their words.
ATTRIBUTE = re.compile(r"\\(?:href|style|class|cssId)(?![a-zA-Z])")
CHARACTER_REFERENCE = re.compile(r"&#x([0-9A-Fa-f]{1,5});")
SHORT_LENGTH = re.compile(r"(?:[0-2](?:\.\d+)?|\.\d+)em|0")


def _math(tex: str, *, display: bool) -> str:
    """MathML of a formula; its source as code where it cannot be converted."""
    try:
        return _mathml(tex, display=display)
    except Exception:  # latex2mathml raises its own errors, IndexError, RecursionError ...
        return f'<code class="math-source">{escape(tex)}</code>'


def _mathml(tex: str, *, display: bool) -> str:
    if len(tex) > FORMULA_LIMIT or tex.count("{") > BRACE_LIMIT:
        raise ValueError("too big")
    if MACRO.search(tex) or ATTRIBUTE.search(tex):
        raise ValueError("defines macros, or would lose words")
    converter = Converter(display="block" if display else "inline")
    root = converter.convert_to_element(_conventional(tex))
    for element in root.iter():
        _restrict(element)
    return tostring(root, encoding="unicode")


def _conventional(tex: str) -> str:
    """The same formula in the environments that latex2mathml knows, nothing of it a comment."""
    tex = PERCENT.sub(r"\\%", tex)
    tex = NUMBERING.sub("", ALIGNAT_COUNT.sub(r"\1", tex)).replace(r"\not=", r"\neq ")
    tex = BEGIN_OR_END.sub(_known_environment, tex)
    if "\\\\" in tex and r"\begin" not in tex:
        return r"\begin{align*}" + tex + r"\end{align*}"
    return tex


def _known_environment(match: re.Match[str]) -> str:
    verb, name = match.groups()
    known = ENVIRONMENTS.get(name, name)
    return f"\\{verb}{{{known}}}" if known else ""


def _restrict(element: Element) -> None:
    """Keep only listed MathML, and decode the character references latex2mathml leaves as text.

    latex2mathml's own serialiser writes the text of `\\text{}` raw, so it is not used.
    """
    classes = _math_classes(element)
    if element.tag in AS_ROW:
        element.tag = "mrow"
    if element.tag not in MATHML_TAGS:
        raise ValueError(f"{element.tag} is not allowed")
    for name, value in list(element.items()):
        is_length = name in {"width", "minsize", "maxsize"}
        if name not in MATHML_ATTRIBUTES or (is_length and not SHORT_LENGTH.fullmatch(value)):
            del element.attrib[name]
    if classes:
        element.set("class", classes)
    if element.text:
        element.text = CHARACTER_REFERENCE.sub(lambda m: chr(int(m[1], 16)), element.text)


def _math_classes(element: Element) -> str:
    if element.tag == "menclose":
        return ENCLOSED.get(element.get("notation", ""), "struck")
    align = element.get("columnalign") if element.tag == "mtd" else None
    return f"align-{align}" if align in {"left", "right"} else ""


# -- Markdown ------------------------------------------------------------------------------------

REST_OF_LINE = re.compile(r"[ \t]*(?:\n|\Z)")
NOT_BEFORE_EMPHASIS = re.compile(r"[A-Za-z0-9)\]}]")
NOT_AFTER_EMPHASIS = re.compile(r"[A-Za-z0-9(\[{]")
LIST_MARKERS = {"-": "marker-minus", "+": "marker-plus", "*": "marker-star"}


def _formula_inline(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in "\\$":
        return False
    formula = formula_at(state.src, state.pos)
    if formula is None:
        return False
    if not silent:
        token = state.push("formula", "math", 0)
        token.content = formula.tex
        token.info = "display" if formula.is_display else ""
    state.pos = formula.end
    return True


def _formula_block(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    r"""A display formula that fills whole lines, so that `- 3` or `= 5` inside it stay formula."""
    begin = state.bMarks[start_line] + state.tShift[start_line]
    if not state.src.startswith(("\\[", "$$", "\\begin{"), begin):
        return False
    raw = formula_at(state.src, begin)
    if raw is None or REST_OF_LINE.match(state.src, raw.end) is None:
        return False
    last_line = start_line + state.src.count("\n", begin, raw.end)
    if last_line >= end_line:  # it would end outside the list item that it opens in
        return False
    if not silent:
        text = state.getLines(start_line, last_line + 1, state.blkIndent, False).lstrip()
        formula = formula_at(text, 0) or raw
        token = state.push("formula", "math", 0)
        token.block, token.info, token.content = True, "display", formula.tex
        state.line = last_line + 1
    return True


def _emphasis(state: StateInline, silent: bool) -> bool:
    """CommonMark's emphasis, except between operands: `2*3*4`, `(a)*(b)*(c)`, `2**3**4`."""
    start, known = state.pos, len(state.delimiters)
    if not emphasis.tokenize(state, silent):
        return False
    after_operand = NOT_BEFORE_EMPHASIS.match(state.src[max(start - 1, 0) : start]) is not None
    before_operand = NOT_AFTER_EMPHASIS.match(state.src, state.pos) is not None
    for delimiter in state.delimiters[known:]:
        delimiter.open = delimiter.open and not after_operand
        delimiter.close = delimiter.close and not before_operand
    return True


def _faithful_blocks(state: StateCore) -> None:
    """Headings below the page's own; lists with the marker, fences with the words, as typed."""
    for token in state.tokens:
        if token.tag in {"h1", "h2", "h3"}:
            token.tag = f"h{int(token.tag[1]) + 3}"
        elif token.type == "bullet_list_open":
            token.attrSet("class", LIST_MARKERS[token.markup])
        elif token.type == "fence" and token.info.strip().lower() not in LANGUAGES:
            token.info, token.content = "", f"{token.info.strip()}\n{token.content}".lstrip("\n")
        elif token.children:
            token.children = list(_with_titles(token.children))


def _with_titles(tokens: Iterable[Token]) -> Iterator[Token]:
    """A link's title, which only a mouse would find, behind the link."""
    titles: list[str] = []
    for token in tokens:
        yield token
        if token.type == "link_open":
            titles.append(str(token.attrGet("title") or ""))
        elif token.type == "link_close" and (title := titles.pop()):
            yield Token("text", "", 0, content=f" “{title}”")


def _render_formula(
    _renderer: object, tokens: Sequence[Token], index: int, _options: object, _env: object
) -> str:
    token = tokens[index]
    is_display = token.info == "display"
    kind = "math-display" if is_display else "math"
    formula = f'<span class="{kind}">{_math(token.content, display=is_display)}</span>'
    return f"<p>{formula}</p>" if token.block else formula


def _highlighted(code: str, language: str, _attributes: str) -> str:
    if language.lower() not in LANGUAGES or len(code) > CODE_LIMIT:
        return ""  # markdown-it then escapes the code itself
    lexer = get_lexer_by_name(language.lower(), stripnl=False, ensurenl=False)
    # The formatter ends every text with a line's end.
    return highlight(code, lexer, FORMATTER).removesuffix("" if code.endswith("\n") else "\n")


def _is_web_address(url: str) -> bool:
    return url.startswith(("https://", "http://"))


def _parser() -> MarkdownIt:
    options = {
        "html": False,
        "breaks": True,
        "maxNesting": NESTING_LIMIT,
        "highlight": _highlighted,
    }
    parser = MarkdownIt("commonmark", options).enable("table")
    # Each of these would hide or change what was typed.
    parser.disable(["code", "lheading", "reference", "blockquote", "html_block"])
    parser.disable(["html_inline", "autolink", "entity", "image"])
    parser.validateLink = _is_web_address  # type: ignore[method-assign]  # the documented hook
    interrupts: RuleOptionsType = {"alt": ["paragraph", "list"]}
    parser.block.ruler.before("fence", "formula", _formula_block, interrupts)
    parser.inline.ruler.before("escape", "formula", _formula_inline)
    parser.inline.ruler.at("emphasis", _emphasis)
    parser.core.ruler.push("faithful_blocks", _faithful_blocks)
    parser.add_render_rule("formula", _render_formula)
    return parser


MARKDOWN = _parser()
