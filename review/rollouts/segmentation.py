"""The numbered steps of a completion, as character offsets into its messages.

Whatever the rule, steps cover all text but white space, none is empty, and none begins or ends
within a formula or code. The time is linear in the text, whoever wrote it.
"""

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Any

from review.rollouts.errors import InvalidStepsError
from review.rollouts.formulas import formula_at
from review.runs.models import Segmenter

# A page of more steps could not be read, nor its numbers be found.
MOST_STEPS = 1_000

BLANK_LINES = re.compile(r"\n[ \t\r]*\n\s*")
LINES = re.compile(r"\n\s*")
CLAUSES = re.compile(r"(?<=[.!?;])\s+")

GAP = re.compile(r"\s*")

Span = tuple[int, int]
# A step of a rollout: [start, end) of the message at this position.
Place = tuple[int, int, int]


def places(messages: Sequence[Mapping[str, Any]], segmenter: str) -> list[Place]:
    """The steps of a rollout's messages, in order: only what the assistant wrote is cut."""
    found = [
        (position, start, end)
        for position in written(messages)
        for start, end in _spans(messages[position], segmenter)
    ]
    return found if len(found) <= MOST_STEPS else list(_joined(found))


def written(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Where the completion stands: the assistant's messages, else the last one."""
    own = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    return own or [len(messages) - 1]


def _spans(message: Mapping[str, Any], segmenter: str) -> list[Span]:
    if segmenter == Segmenter.SOURCE and "steps" in message:
        return [(start, end) for start, end in message["steps"]]
    return segment(message["content"], segmenter)


def _joined(found: Sequence[Place]) -> Iterator[Place]:
    """As many neighbours in one step as it takes, never across messages."""
    messages = len({message for message, _, _ in found})
    per_step = -(-len(found) // max(MOST_STEPS - messages, 1))
    for message, group in groupby(found, key=lambda place: place[0]):
        spans = [(start, end) for _, start, end in group]
        for first in range(0, len(spans), per_step):
            part = spans[first : first + per_step]
            yield message, part[0][0], part[-1][1]


def source_spans(
    messages: Sequence[Mapping[str, Any]], steps: Sequence[str]
) -> dict[int, list[Span]]:
    """The source's own steps, found one after the other in what the assistant wrote.

    Raises InvalidStepsError where they leave out or change anything but white space.
    """
    bodies = deque(enumerate(step.strip() for step in steps))
    spans = {at: list(_taken(messages[at]["content"], bodies)) for at in written(messages)}
    if bodies:
        raise InvalidStepsError(fields={f"steps[{bodies[0][0]}]": "is more than the text holds"})
    return spans


def _taken(content: str, bodies: deque[tuple[int, str]]) -> Iterator[Span]:
    at = _after_gap(content, 0)
    while at < len(content):
        if not bodies:
            raise InvalidStepsError(fields={"steps": "leave out the end of the text"})
        number, body = bodies.popleft()
        if not body or not content.startswith(body, at):
            rule = "is not how the text goes on" if body else "is blank"
            raise InvalidStepsError(fields={f"steps[{number}]": rule})
        yield at, at + len(body)
        at = _after_gap(content, at + len(body))


def _after_gap(text: str, at: int) -> int:
    gap = GAP.match(text, at)
    return gap.end() if gap else at


def segment(text: str, segmenter: str = Segmenter.AUTO) -> list[Span]:
    """Spans [start, end) of the steps of one text."""
    kept = _kept_whole(text)
    return RULES.get(segmenter, _auto)(text, kept)


def step_id(message: int, start: int, text: str) -> str:
    """A step's name: where it starts and what it says; a new segmentation leaves it as it is."""
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{message}.{start}.{digest[:12]}"


# -- cutting -------------------------------------------------------------------------------------


def _cut(text: str, boundaries: Iterable[Span], kept: Sequence[Span]) -> list[Span]:
    """The text between the boundaries, trimmed; those within what is kept whole do not count."""
    edges = [0]
    for start, end in boundaries:
        if not _is_within(start, kept):
            edges += [start, end]
    edges.append(len(text))
    spans = zip(edges[::2], edges[1::2], strict=True)
    trimmed = (_trim(text, start, end) for start, end in spans)
    return [(start, end) for start, end in trimmed if start < end]


def _trim(text: str, start: int, end: int) -> Span:
    body = text[start:end]
    start += len(body) - len(body.lstrip())
    return start, start + len(body.strip())


def _is_within(place: int, kept: Sequence[Span]) -> bool:
    before = bisect_right(kept, (place, 0)) - 1
    return before >= 0 and kept[before][0] < place < kept[before][1]


# -- rules ---------------------------------------------------------------------------------------

STEP_HEADING = re.compile(
    r"^[ \t]{0,3}(?:#{1,6}[ \t]+)?(?:\*\*|__)?step[ \t]*\d{1,4}(?![^\W_])",
    re.IGNORECASE | re.MULTILINE,
)
LIST_NUMBER = re.compile(
    r"^([ \t]{0,8})(?:#{1,6}[ \t]+)?(?:\*\*|__)?\(?\d{1,4}[.)](?=[ \t*_]|$)", re.MULTILINE
)
# A line's end, a sign with what closes around it and a gap, or a sign that needs no gap.
FULL_STOPS = "\u3002\uff01\uff1f\u0964\u061f"
SENTENCE_END = re.compile(
    rf"\n\s*|[.!?\u2026][\"'\u2019\u201d)\]*_]{{0,3}}(\s+)|(?<=[{FULL_STOPS}])(?![{FULL_STOPS}\u201d\u300d])\s*"
)
ABBREVIATION = re.compile(
    r"(?:al|approx|ca|cf|ch|cor|def|dr|e\.g|eqn?s?|figs?|i\.e|incl|lem|mrs?|ms|mt|nos|pp?|prof"
    r"|prop|refs?|resp|secs?|sr|st|thm|viz|vol|vs|w\.l\.o\.g|w\.r\.t)\.",
    re.IGNORECASE,
)
# These end a sentence as often as not: what follows tells.
DOUBTFUL = re.compile(
    r"(?:a\.m|etc|ex|ft|hrs?|in|inc|jr|lbs?|min|no|oz|p\.m|sq|u\.s)\.", re.IGNORECASE
)
LAST_WORD = re.compile(r"[\w.]{1,12}\Z")


def _auto(text: str, kept: Sequence[Span]) -> list[Span]:
    """Paragraphs, else lines, else sentences: the coarsest rule that finds a boundary."""
    for boundary in (BLANK_LINES, LINES, CLAUSES):
        spans = _cut(text, _matches(text, boundary), kept)
        if len(spans) > 1:
            return spans
    return _cut(text, [], kept)


def _blank_line(text: str, kept: Sequence[Span]) -> list[Span]:
    return _cut(text, _matches(text, BLANK_LINES), kept)


def _numbered(text: str, kept: Sequence[Span]) -> list[Span]:
    """At "Step 3", else at the outermost "3." or "3)"; a text without numbers as in `auto`."""
    headings = [match.start() for match in STEP_HEADING.finditer(text)]
    starts = headings or _outermost_numbers(text, kept)
    return _cut(text, ((at, at) for at in starts), kept) if starts else _auto(text, kept)


def _outermost_numbers(text: str, kept: Sequence[Span]) -> list[int]:
    found = [match for match in LIST_NUMBER.finditer(text) if not _is_within(match.start(), kept)]
    outermost = min((len(match[1]) for match in found), default=0)
    return [match.start() for match in found if len(match[1]) == outermost]


def _sentence(text: str, kept: Sequence[Span]) -> list[Span]:
    """At line ends and sentence ends."""
    return _cut(text, _sentence_ends(text), kept)


def _sentence_ends(text: str) -> Iterator[Span]:
    for match in SENTENCE_END.finditer(text):
        if match[1] is None:
            yield match.span()
        elif not _goes_on(text, match.start() + 1, match.end()):
            yield match.span(1)


def _goes_on(text: str, stop: int, following: int) -> bool:
    """Whether the dot before `stop` is an abbreviation's, a list number's, or one of three."""
    word = LAST_WORD.search(text, max(stop - 12, 0), stop)
    if word is None or text[stop - 1] != ".":
        return False
    after = text[following : following + 1]
    is_amid = after.islower() or after.isdecimal()
    if word[0].endswith("...") or DOUBTFUL.fullmatch(word[0]):
        return is_amid
    is_number = word[0][:-1].isdecimal() and _starts_line(text, word.start())
    return is_number or ABBREVIATION.fullmatch(word[0]) is not None


def _starts_line(text: str, at: int) -> bool:
    return LINE_BEFORE.search(text, max(at - 80, 0), at) is not None


def _matches(text: str, boundary: re.Pattern[str]) -> Iterator[Span]:
    return (match.span() for match in boundary.finditer(text))


RULES: dict[str, Callable[[str, Sequence[Span]], list[Span]]] = {
    Segmenter.AUTO: _auto,
    Segmenter.BLANK_LINE: _blank_line,
    Segmenter.NUMBERED: _numbered,
    Segmenter.SENTENCE: _sentence,
}

# -- what is kept whole --------------------------------------------------------------------------

FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)
OPENER = re.compile(r"\\.|\$|`[^`\n]{1,500}`", re.DOTALL)
BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
LINE_BEFORE = re.compile(r"(?:\A|\n)[ \t#*_(]*\Z")
REST_OF_LINE = re.compile(r"[ \t\r]*(?:\n|\Z)")


def _kept_whole(text: str) -> list[Span]:
    """Closed code fences, code in a line, and formulas; in order, none within another."""
    fences = list(_fences(text))
    kept: list[Span] = []
    at = 0
    for start, end in [*fences, (len(text), len(text))]:
        kept += _inline(text, at, start)
        kept += [(start, end)] if start < end else []
        at = end
    return kept


def _fences(text: str) -> Iterator[Span]:
    """Those that are closed; an open one would take the rest of the text."""
    opened: re.Match[str] | None = None
    for fence in FENCE.finditer(text):
        if opened is None:
            is_opener = fence[1][0] == "~" or "`" not in fence[2]
            opened = fence if is_opener else None
        elif fence[1].startswith(opened[1]) and not fence[2].strip():
            yield opened.start(1), fence.end()
            opened = None


def _inline(text: str, start: int, end: int) -> Iterator[Span]:
    while match := OPENER.search(text, start, end):
        start = match.end()
        if match[0][0] == "`":
            yield match.span()
            continue
        formula = formula_at(text, match.start())
        if formula and formula.end <= end and _is_one(text, match.start(), formula.end):
            start = formula.end
            yield match.start(), start


def _is_one(text: str, start: int, end: int) -> bool:
    """A formula that holds a blank line stands on lines of its own."""
    if not BLANK_LINE.search(text, start, end):
        return True
    return _starts_line(text, start) and REST_OF_LINE.match(text, end) is not None
