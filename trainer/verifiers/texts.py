"""Any text, made one that the next in line takes."""

import re
import unicodedata

# Unicode's emoji (UTS 51) but for those that are plain characters too, such as digits.
EMOJI = "[\U0001f000-\U0001faff\u2600-\u27bf\u2b05-\u2b55\u231a\u231b\u23e9-\u23fa]"
_JOINER = "\u200d"
_LOOSE_JOINER = re.compile(rf"(?<!{EMOJI})(?<!\ufe0f){_JOINER}|{_JOINER}(?!{EMOJI})")
# Of the same category, and yet on the page: signs around numbers and verses.
_ON_THE_PAGE = re.compile(
    "[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001343f]"
)


def encodable(text: str) -> str:
    """The text with "?" for its lone surrogates, which no encoding and no tokenizer takes."""
    return text.encode("utf-8", "replace").decode()


def storable(text: str) -> str:
    """The text as a database takes it: without NUL too."""
    return encodable(text).replace("\0", "\ufffd")


def visible(text: str) -> str:
    """The text without characters that show nothing; what joins two emoji into one is kept."""
    if text.isascii():
        return text
    unseen = {ord(character): None for character in set(text) if _is_unseen(character)}
    return _LOOSE_JOINER.sub("", text.translate(unseen))


def _is_unseen(character: str) -> bool:
    if character == _JOINER or _ON_THE_PAGE.match(character):
        return False
    return unicodedata.category(character) == "Cf"
