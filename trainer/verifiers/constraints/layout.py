"""IFBench's `format` instructions: how the response is laid out."""

import re
from itertools import pairwise

from trainer.verifiers.constraints.base import Instruction, text
from trainer.verifiers.constraints.text import (
    AROUND_WORDS,
    NO_PUNCTUATION,
    bare_words,
    lines,
    sentences,
    tokens,
    words,
)
from trainer.verifiers.texts import EMOJI

# An emoji may go on with a joiner, a variation selector or an enclosing keycap.
_EMOJI = EMOJI + "[\u200d\ufe0f\u20e3\U000e0020-\U000e007f]*"
_ENDS_IN_EMOJI = re.compile(rf"{_EMOJI}\Z")
_STARTS_WITH_EMOJI = re.compile(_EMOJI)
_PAIRS = {")": "(", "]": "[", "}": "{"}
_LEVELS = 5
_QUOTE_LEVELS = 3
_TEMPLATE = ("My Answer:", "My Conclusion:", "Future Outlook:")
# Words that a title may have in lower case.
_MINOR_WORDS = frozenset(
    words("a an the and but or nor so yet as at by for from in into of off on per to up via with")
)
_ITALICS = re.compile(r"<(i|em)>([^<]*)</\1>", re.IGNORECASE)
_CURLY = str.maketrans("“”", '""')


def _emoji(response: str) -> bool:
    """Every sentence ends in an emoji, before or after its full stop."""
    found = [sentence.translate(NO_PUNCTUATION).strip() for sentence in sentences(response)]
    return bool(found) and all(
        _ENDS_IN_EMOJI.search(sentence[-20:]) or _STARTS_WITH_EMOJI.match(after)
        for sentence, after in pairwise([*found, ""])
    )


def _stairs(response: str) -> bool:
    indents = [len(line) - len(line.lstrip(" ")) for line in lines(response)]
    return all(before < after for before, after in pairwise(indents))


def _separated_list(response: str, separator: str) -> bool:
    return response.count(separator) >= 2


def _word_a_line(response: str) -> bool:
    return all(len(bare_words(line)) <= 1 for line in lines(response))


def _sentences_then_bullets(response: str) -> bool:
    """Two sentences, then two lines that begin with an asterisk, and nothing else."""
    starred = [line.lstrip().startswith("*") for line in lines(response)]
    if True not in starred:
        return False
    first = starred.index(True)
    prose = sentences(" ".join(lines(response)[:first]))
    return len(prose) >= 2 and all(starred[first:]) and len(starred) - first >= 2


def _no_whitespace(response: str) -> bool:
    return not any(map(str.isspace, response))


def _one_option(response: str, options: str) -> bool:
    """Options stand between "/", else "or", else ","; of letters the spelling counts too."""
    separator = next((mark for mark in ("/", "or") if mark in options), ",")
    listed = [option.strip() for option in options.split(separator)]
    if re.match(r"\W*a\W*b\W*c\W*", options, re.IGNORECASE):
        return response in listed
    answer = response.strip(AROUND_WORDS).lower()
    return answer in {option.strip(AROUND_WORDS).lower() for option in listed}


def _template(response: str) -> bool:
    return all(part in response for part in _TEMPLATE)


def _nested_brackets(response: str) -> bool:
    """Five levels, properly closed down to where the deepest began to close."""
    opened: list[str] = []
    deepest = 0
    for character in response:
        if character in _PAIRS.values():
            opened.append(character)
            deepest = max(deepest, len(opened))
        elif character in _PAIRS:
            if not opened or opened.pop() != _PAIRS[character]:
                opened.clear()
                deepest = 0
            elif deepest >= _LEVELS:
                return True
    return False


def _nested_quotes(response: str) -> bool:
    """Three levels, double and single in turn, all closed."""
    opened: list[str] = []
    deepest = 0
    for character in response:
        if opened and character == opened[-1]:
            opened.pop()
            if deepest - len(opened) >= _QUOTE_LEVELS:
                return True
        elif character in "\"'":
            opened.append(character)
            deepest = max(deepest, len(opened))
    return False


def _quotes_explained(response: str) -> bool:
    """No quotation follows another at once, and none ends the response."""
    joined = "".join(response.translate(_CURLY).replace("'\"'", "").split())
    return '""' not in joined and not joined.rstrip(AROUND_WORDS.replace('"', "")).endswith('"')


def _sub_bullets(response: str) -> bool:
    """Lines that begin with an asterisk, and after each one a line that begins with a hyphen."""
    marks = [line.lstrip()[0] for line in lines(response)]
    bullets = [mark for mark in marks if mark in "*-"]
    return "*" in bullets and all(
        after == "-" for bullet, after in pairwise([*bullets, ""]) if bullet == "*"
    )


def _italic_thesis(response: str) -> bool:
    thesis = _ITALICS.search(response)
    return bool(thesis and thesis[2].strip() and response[thesis.end() :].strip())


def _title_case(response: str) -> bool:
    major = [token for token in tokens(response) if token not in _MINOR_WORDS]
    return bool(major) and not any(token[0].islower() for token in major)


INSTRUCTIONS = {
    "format:emoji": Instruction(_emoji),
    "format:line_indent": Instruction(_stairs),
    "format:list": Instruction(_separated_list, {"sep": text}),
    "format:newline": Instruction(_word_a_line),
    "format:no_bullets_bullets": Instruction(_sentences_then_bullets),
    "format:no_whitespace": Instruction(_no_whitespace),
    "format:options": Instruction(_one_option, {"options": text}),
    "format:output_template": Instruction(_template),
    "format:parentheses": Instruction(_nested_brackets),
    "format:quote_unquote": Instruction(_quotes_explained),
    "format:quotes": Instruction(_nested_quotes),
    "format:sub-bullets": Instruction(_sub_bullets),
    "format:thesis": Instruction(_italic_thesis),
    "format:title_case": Instruction(_title_case),
}
