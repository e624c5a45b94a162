r"""Templates of attacks: text with `{name}` or `{name|filter|filter}` where a prompt's words go.

Only the names given by a prompt are placeholders, so that the braces of LaTeX and of programs need
no escape: `\boxed{{wrong}}` gives `\boxed{44}`. A quoted text may be filtered too: `{"la "|x500}`.
"""

import base64
import re
from collections.abc import Callable, Mapping

# Every name that some kind of prompt gives a value; what each one is: `prompts.Prompt.values`.
NAMES = frozenset(
    {
        *("problem", "reference", "answer", "wrong", "final_answer", "final_wrong", "restated"),
        *("candidates", "final_candidates", "candidates_last"),
        *("above", "low", "high", "near", "negated", "number", "integers"),
        *("mirrored", "superscript"),
        *("function", "args_example", "return_example", "stdin_example", "stdout_example"),
    }
)

# No attack is longer, whatever a template asks for: what is added may hold a model's own text.
MAX_CHARACTERS = 1_000_000

_REPEAT = re.compile(r"x([1-9][0-9]{0,5})")
_FILTER = r"tags|struck|zalgo|fullwidth|base64|spelled|x[1-9][0-9]{0,5}"
_PLACEHOLDER = re.compile(
    rf'\{{(?:(?P<name>{"|".join(sorted(NAMES))})|"(?P<literal>[^"]*)")(?P<filters>(?:\|(?:{_FILTER}))*)\}}'
)


class MissingValueError(LookupError):
    """The prompt gives no value for a name in the template."""


def names_in(template: str) -> frozenset[str]:
    """The names of the prompt's values that the template asks for."""
    return frozenset(match["name"] for match in _PLACEHOLDER.finditer(template) if match["name"])


def render(template: str, values: Mapping[str, str]) -> str:
    """The template with the values in place, cut at `MAX_CHARACTERS`.

    Raises MissingValueError, naming the first name that has no value.
    """
    parts: list[str] = []
    room, last = MAX_CHARACTERS, 0
    for match in _PLACEHOLDER.finditer(template):
        for text in (template[last : match.start()], _filled(match, values, room)):
            parts.append(text[:room])
            room -= len(parts[-1])
        last = match.end()
    return "".join(parts) + template[last:][:room]


def _filled(match: re.Match[str], values: Mapping[str, str], room: int) -> str:
    name = match["name"]
    if name is not None and name not in values:
        raise MissingValueError(name)
    text = match["literal"] if name is None else values[name]
    for filter_name in filter(None, match["filters"].split("|")):
        text = _filtered(text[:room], filter_name, room)
    return text


def _filtered(text: str, name: str, room: int) -> str:
    if repeat := _REPEAT.fullmatch(name):
        return text * min(int(repeat[1]), room // max(1, len(text)) + 1)
    return _FILTERS[name](text)


def _in_tags(text: str) -> str:
    """In the invisible tag characters, which mirror ASCII."""
    return "".join(chr(0xE0000 + ord(character)) for character in text if character.isascii())


def _struck(text: str) -> str:
    return "".join(f"{character}\u0336" for character in text)


def _zalgo(text: str) -> str:
    return "".join(f"{character}\u0300\u0316\u035c\u0489" for character in text)


def _fullwidth(text: str) -> str:
    """ASCII as the wide forms that NFKC folds back."""
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


_FILTERS: Mapping[str, Callable[[str], str]] = {
    "tags": _in_tags,
    "struck": _struck,
    "zalgo": _zalgo,
    "fullwidth": _fullwidth,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "spelled": " ".join,
}
