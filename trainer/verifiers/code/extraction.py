"""Finds the solution in a response."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)")
_END_OF_THINKING = "</think>"


@dataclass(frozen=True, slots=True)
class Extracted:
    """code: the solution, None where there is none. path: "fenced", "bare" (no fence at all) or
    "none". candidates: the number of different blocks that could have been meant."""

    code: str | None
    path: str
    candidates: int


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; language: the first word after the fence, in lower case."""

    language: str
    code: str


def solution_of(response: str, fences: frozenset[str]) -> Extracted:
    """The last block marked with one of the fences or with none; a response without any block is
    taken whole. Blocks in other languages (output, a shell session) are no solutions, nor is what
    stands in the thinking. One pass over the response."""
    before, closed, after = response.partition(_END_OF_THINKING)
    answer = after if closed else before
    blocks = list(fenced_blocks(answer))
    if not blocks:
        has_text = bool(answer.strip())
        return Extracted(answer if has_text else None, "bare" if has_text else "none", has_text)
    meant = [
        block.code
        for block in blocks
        if block.code.strip() and (not block.language or block.language in fences)
    ]
    if not meant:
        return Extracted(None, "none", 0)
    return Extracted(meant[-1], "fenced", len(set(meant)))


def fenced_blocks(text: str) -> Iterator[Block]:
    """The fenced code blocks of Markdown, in order, with their common indentation taken away.

    As in CommonMark a fence is closed by one of its kind that is no shorter, or by the end.
    """
    opened: re.Match[str] | None = None
    lines: list[str] = []
    for line in text.split("\n"):
        fence = _FENCE.fullmatch(line.rstrip())
        if opened is None:
            opened = fence
        elif fence and not fence["info"] and fence["fence"].startswith(opened["fence"]):
            yield _block(opened, lines)
            opened, lines = None, []
        else:
            lines.append(line)
    if opened is not None:
        yield _block(opened, lines)


def _block(opened: re.Match[str], lines: list[str]) -> Block:
    language = (opened["info"].split() or [""])[0]
    return Block(language.strip("{.}").lower(), textwrap.dedent("\n".join(lines)) + "\n")
