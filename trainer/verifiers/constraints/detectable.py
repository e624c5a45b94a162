"""IFEval's instructions on parts that a reader can point at: bullets, titles, placeholders."""

import json
import re

from trainer.verifiers.constraints.base import CannotTellError, Instruction, count, text
from trainer.verifiers.constraints.text import lines

_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_HIGHLIGHT = re.compile(r"\*\*([^*\n]+)\*\*|\*([^*\n]+)\*")


def _placeholders(response: str, wanted: int) -> bool:
    return sum(map(_count_brackets, response.split("\n"))) >= wanted


def _count_brackets(line: str) -> int:
    """How many "[...]" a line has. No regular expression: on "[[[[" it would be quadratic."""
    found = 0
    end = 0
    while (start := line.find("[", end)) >= 0 and (end := line.find("]", start) + 1) > 0:
        found += 1
    return found


def _postscript(response: str, marker: str) -> bool:
    r"""The marker begins a word; a blank may follow each of its full stops: "P. S."."""
    spaced = r"\s?".join(map(re.escape, filter(None, re.split(r"(?<=\.)", marker))))
    return re.search(rf"(?<![\w.]){spaced}", response, re.IGNORECASE) is not None


def _bullets(response: str, wanted: int) -> bool:
    return sum(map(_is_bullet, lines(response))) == wanted


def _is_bullet(line: str) -> bool:
    """Whether it is "* item" or "- item"; neither "**bold**" nor a rule, "---", is one."""
    stripped = line.strip()
    if stripped.startswith("-"):
        return stripped.strip("- ") != ""
    return stripped.startswith("*") and stripped[1:2] not in {"", "*"}


def _constrained(response: str) -> bool:
    """Exactly one of the answers: two are a hedge."""
    return sum(answer in response for answer in _ANSWERS) == 1


def _highlights(response: str, wanted: int) -> bool:
    found = _HIGHLIGHT.finditer(response)
    return sum(bool((match[1] or match[2]).strip()) for match in found) >= wanted


def _sections(response: str, splitter: str, wanted: int) -> bool:
    return len(re.findall(rf"{re.escape(splitter)}\s?\d", response)) >= wanted


def _json(response: str) -> bool:
    fenced = response.strip()
    if fenced.startswith("```"):
        fenced = fenced.removeprefix("```")
        fenced = fenced[4:] if fenced[:4].lower() == "json" else fenced
        fenced = fenced.removesuffix("```")
    try:
        # Numbers stay text: reading a long one takes quadratic time.
        json.loads(fenced, parse_int=str, parse_float=str)
    except RecursionError:
        raise CannotTellError("the JSON is nested too deeply to be read") from None
    except ValueError:
        return False
    return True


def _title(response: str) -> bool:
    return any(map(_has_title, response.split("\n")))


def _has_title(line: str) -> bool:
    start, end = line.find("<<"), line.rfind(">>")
    return 0 <= start < end and line[start:end].strip("<> \t") != ""


INSTRUCTIONS = {
    "detectable_content:number_placeholders": Instruction(
        _placeholders, {"num_placeholders": count}
    ),
    "detectable_content:postscript": Instruction(_postscript, {"postscript_marker": text}),
    "detectable_format:constrained_response": Instruction(_constrained),
    "detectable_format:json_format": Instruction(_json),
    "detectable_format:multiple_sections": Instruction(
        _sections, {"section_spliter": text, "num_sections": count}
    ),
    "detectable_format:number_bullet_lists": Instruction(_bullets, {"num_bullets": count}),
    "detectable_format:number_highlighted_sections": Instruction(
        _highlights, {"num_highlights": count}
    ),
    "detectable_format:title": Instruction(_title),
}
