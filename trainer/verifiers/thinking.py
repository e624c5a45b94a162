"""What stands between think tags is no answer, also when one of the two is missing."""

import re

THINK_TAG = re.compile(r"(</?think(?:ing)?>)", re.IGNORECASE)


def is_end(tag: str) -> bool:
    return tag.startswith("</")


def without_thinking(response: str) -> str:
    """The response without what stands between think tags, also when one of the two is missing."""
    kept: list[str] = []
    is_thinking = False
    for part in THINK_TAG.split(response):
        if not THINK_TAG.fullmatch(part):
            kept.append("" if is_thinking else part)
            continue
        if is_end(part) and not is_thinking:
            kept.clear()
        is_thinking = not is_end(part)
    return "".join(kept)
