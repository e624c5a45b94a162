"""The numbered steps of a completion, as character offsets into its text."""

import re
from hashlib import sha256

BLANK_LINES = re.compile(r"\n[ \t\r]*\n\s*")
LINES = re.compile(r"\n\s*")
SENTENCES = re.compile(r"(?<=[.!?;])\s+")

Span = tuple[int, int]


def segment(text: str) -> list[Span]:
    """Spans [start, end) of the steps: paragraphs, else lines, else sentences.

    The coarsest rule that finds a boundary is taken; the spans cover all text but white space.
    """
    for boundary in (BLANK_LINES, LINES, SENTENCES):
        spans = _split(text, boundary)
        if len(spans) > 1:
            return spans
    return _split(text, BLANK_LINES)


def _split(text: str, boundary: re.Pattern[str]) -> list[Span]:
    edges = [0]
    for match in boundary.finditer(text):
        edges += [match.start(), match.end()]
    edges.append(len(text))
    spans = zip(edges[::2], edges[1::2], strict=True)
    trimmed = (_trim(text, start, end) for start, end in spans)
    return [(start, end) for start, end in trimmed if start < end]


def _trim(text: str, start: int, end: int) -> Span:
    body = text[start:end]
    start += len(body) - len(body.lstrip())
    return start, start + len(body.strip())


def step_id(message: int, start: int, text: str) -> str:
    """A step's name: where it starts and what it says; a new segmentation leaves it as it is."""
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{message}.{start}.{digest[:12]}"
