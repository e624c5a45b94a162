r"""What a reader sees of a response: without thoughts, hidden or crossed-out text, other people's
turns and programs.

An answer that no reader sees is not given. What is left out here is left out for good: the rest is
judged as if it had not been there. Each rule takes time linear in the text.
"""

import re
from collections.abc import Iterator

from trainer.verifiers.thinking import without_thinking

# Where a chat template, or a text that imitates one, gives the word to somebody else.
_OTHER_TURN = re.compile(
    r"^[ \t*#>]*(?:User|Human)[ *]*:"
    r"|<\|im_start\|>(?:user|system)|<\|start_header_id\|>(?:user|system)"
    r"|<\|(?:im_end|eot_id|end_of_text|endoftext)\|>",
    re.MULTILINE,
)
# Line ends that look like others, and characters without width: what is beside them is joined.
_UNSEEN = str.maketrans(
    dict.fromkeys("\x85\u2028\u2029", "\n") | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", "")
)

_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+#.-]*)[^\n`]*$", re.MULTILINE)
# What is in a fence of another language is a program, not an answer.
_TEXTS = frozenset(
    {"", "text", "txt", "plaintext", "latex", "tex", "math", "markdown", "md", "json", "output"}
)

_TEX_COMMENT = re.compile(r"^[ \t]*%.*$", re.MULTILINE)
_COLOUR = r"(?i:white|transparent|\#?f{3}(?:f{3})?)"
# TeX that prints nothing, prints white, or strikes out, up to where the text begins.
_HIDING_TEX = re.compile(
    r"\\[hv]?phantom\s*\{|\\(?:[bx]?cancel|sout|st)\s*\{"
    rf"|\\textcolor\s*(?:\[\w+\])?\s*\{{{_COLOUR}\}}\s*\{{"
    rf"|\\color\s*(?:\[\w+\])?\s*\{{{_COLOUR}\}}"
)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)

_HIDING_STYLE = (
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0(?![.]?[1-9])"
    r"|line-through"
    rf"|(?<![-\w])color\s*[:=]\s*[\"']?{_COLOUR}\b|\shidden\b"
)
_HIDING_ELEMENT = re.compile(
    r"<(?P<comment>!--)|<(?:(?P<struck>del|strike|s)(?:[\s/][^<>]{0,200})?"
    rf"|(?P<name>[a-z]{{1,20}})[^<>]{{0,200}}?(?:{_HIDING_STYLE})[^<>]{{0,200}})>",
    re.IGNORECASE,
)
_STRUCK = re.compile(r"~~(?=\S)[^\n~]{1,200}~~")


def as_seen(response: str) -> str:
    """The response as a reader is shown it."""
    text = without_thinking(response.translate(_UNSEEN))
    if other := _OTHER_TURN.search(text):
        text = text[: other.start()]
    text = "".join(_outside_programs(text))
    text = "".join(_outside_hiding_elements(text))
    text = "".join(_outside_hiding_tex(_TEX_COMMENT.sub("", text)))
    return _STRUCK.sub("", text)


def _outside_programs(text: str) -> Iterator[str]:
    """A fence that is not closed reaches to the end, as Markdown has it."""
    at = 0
    opened = False
    is_program = False
    for fence in _FENCE.finditer(text):
        if not is_program:
            yield text[at : fence.start()]
        at = fence.end()
        opened = not opened
        is_program = opened and fence[1].lower() not in _TEXTS
    if not is_program:
        yield text[at:]


def _outside_hiding_elements(text: str) -> Iterator[str]:
    at = 0
    for element in _HIDING_ELEMENT.finditer(text):
        if element.start() < at:
            continue
        yield text[at : element.start()]
        closing = "-->" if element["comment"] else rf"</{element['struck'] or element['name']}\s*>"
        closed = re.compile(closing, re.IGNORECASE).search(text, element.end())
        at = closed.end() if closed else len(text)
    yield text[at:]


def _outside_hiding_tex(text: str) -> Iterator[str]:
    r"""`\color` reaches to the end of the group around it; the other commands hide their group."""
    at = 0
    for command in _HIDING_TEX.finditer(text):
        if command.start() < at:
            continue
        yield text[at : command.start()]
        is_group = command[0].endswith("{")
        end = _group_end(text, command.end())
        at = end + 1 if is_group else end
    yield text[at:]


def _group_end(text: str, start: int) -> int:
    """Where the group that is open at `start` is closed; the text's end where it is not."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.start()
    return len(text)
