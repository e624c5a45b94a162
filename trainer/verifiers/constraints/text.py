"""How the instructions cut a text into words, sentences and paragraphs."""

import re
import string

NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
AROUND_WORDS = string.punctuation + string.whitespace
QUOTES = "\"'\u201d\u2019"

_WORD = re.compile(r"\w+")
_TOKEN = re.compile(r"\w+(?:[-'\u2019.]\w+)*")
# Full stops that end no sentence come first: what they take can no longer be an end.
_SENTENCE_END = re.compile(
    r"""
      [0-9]\.(?=[0-9])                                   # 3.14
    | \b(?:Mr|Mrs|Ms|Dr|Prof|St|Inc|Ltd|Jr|Sr|Co|vs)\.   # titles
    | \b(?:[A-Za-z]\.){2,}                               # e.g., U.S.A.
    | \bPh\.D\.
    | (?<![\w.])[A-Za-z]\.(?=\s)                         # initials
    | \.(?=(?:com|net|org|io|gov|edu|me)\b)              # addresses
    | (?P<end>[.?!\u3002\uff1f\uff01\u203d]+["'\u201d\u2019]*)  # QUOTES
    """,
    re.VERBOSE,
)


def words(text: str) -> list[str]:
    """The runs of letters and digits: "don't" is two."""
    return _WORD.findall(text)


def tokens(text: str) -> list[str]:
    """The words as a reader counts them: "don't", "well-known", "3.5" and "U.S" are one each."""
    return _TOKEN.findall(text)


def bare_words(text: str) -> list[str]:
    """What stands between blanks, without ASCII punctuation: "well-known" is "wellknown"."""
    return text.translate(NO_PUNCTUATION).split()


def stripped_words(text: str) -> list[str]:
    """What stands between blanks, without the punctuation around it."""
    return list(filter(None, (word.strip(AROUND_WORDS) for word in text.split())))


def sentences(text: str) -> list[str]:
    """The sentences, each with its end; what follows the last end is one too.

    A new line ends none. Rules for English; linear in the text.
    """
    parts = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if match["end"]:
            parts.append(text[start : match.end()].strip())
            start = match.end()
    parts.append(text[start:].strip())
    return list(filter(None, parts))


def lines(text: str) -> list[str]:
    r"""The lines that are not blank, as they stand. Only "\n" ends a line."""
    return [line for line in text.split("\n") if line.strip()]


def has_word(text: str, word: str) -> bool:
    """Whether the word stands in the text by itself, in whatever case."""
    return _whole(word).search(text) is not None


def count_word(text: str, word: str) -> int:
    """How often the word stands in the text by itself, in whatever case."""
    return len(_whole(word).findall(text))


def _whole(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
