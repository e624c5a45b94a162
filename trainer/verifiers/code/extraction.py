"""Finds the solution in a response."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from trainer.verifiers.thinking import THINK_TAG, is_end

_FENCE = re.compile(r"[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)")
_LINE_START = re.compile(r"(?<=\n)")


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
    answer = _without_thinking(response)
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


def _without_thinking(response: str) -> str:
    """As elsewhere, but for tags in a program: they are its own text."""
    kept: list[str] = []
    opened: re.Match[str] | None = None
    # None: no tag has said so far; the prompt may have ended in an opening one.
    is_thinking: bool | None = None
    for line in _LINE_START.split(response):
        may_end = is_thinking is not False
        for part in _parts(line, opened, may_end=may_end):
            if not THINK_TAG.fullmatch(part):
                opened = _open_after(part, opened)
                if part and not is_thinking:
                    kept.append(part)
                continue
            if is_end(part) and not is_thinking:
                kept.clear()
            elif is_end(part) and kept:
                # What follows a thought begins a line: it may be a fence.
                kept.append("\n")
            is_thinking, opened = not is_end(part), None
    return "".join(kept)


def _parts(line: str, opened: re.Match[str] | None, *, may_end: bool) -> list[str]:
    """The line, parted at the tags that count.

    In a fence they do behind its end, and where a thought ends on a line of its own: a draft that
    was left off leaves its fence open.
    """
    head, *tags = THINK_TAG.split(line)
    is_outside = opened is None or _open_after(head, opened) is None
    is_last = may_end and len(tags) == 2 and is_end(tags[0]) and not (head + tags[1]).strip()
    return [head, *tags] if is_outside or is_last else [line]


def _open_after(line: str, opened: re.Match[str] | None) -> re.Match[str] | None:
    """The fence that is open behind the line.

    As in CommonMark a fence is closed by one of its kind that is no shorter, or by the end.
    """
    fence = _FENCE.fullmatch(line.rstrip())
    if opened is None:
        return fence
    is_closed = fence and not fence["info"] and fence["fence"].startswith(opened["fence"])
    return None if is_closed else opened


def fenced_blocks(text: str) -> Iterator[Block]:
    """The fenced code blocks of Markdown, in order, with their common indentation taken away."""
    opened: re.Match[str] | None = None
    lines: list[str] = []
    for line in text.split("\n"):
        before, opened = opened, _open_after(line, opened)
        if before and opened:
            lines.append(line)
        elif before:
            yield _block(before, lines)
            lines = []
    if opened is not None:
        yield _block(opened, lines)


def _block(opened: re.Match[str], lines: list[str]) -> Block:
    language = (opened["info"].split() or [""])[0]
    return Block(language.strip("{.}").lower(), textwrap.dedent("\n".join(lines)) + "\n")
