"""The language and the scripts of a text, told offline: the same text, the same answer."""

import re
import unicodedata
from collections import Counter
from functools import lru_cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

# Told among these alone: a short text is easily taken for one of the model's rare languages.
_CODES = (
    "ar bg bn ca cs da de el en es et fa fi fr gu he hi hr hu id it ja kn ko lt lv mk ml mr ne"
    " nl no pa pl pt ro ru sk sl sq sv sw ta te th tl tr uk ur vi zh"
)
LANGUAGES = frozenset(_CODES.split())
_MIN_BYTES = 20  # of UTF-8; fewer tell nothing
_MAX_CHARACTERS = 10_000  # later ones add nothing

_COMMAND = re.compile(r"\\[A-Za-z]+")
# Not `\W`: the vowel signs of Indic scripts are no letters to Python.
_NO_WORDS = re.compile(r"[0-9\s!-/:-@\[-`{-~]+")
# Scripts that one language writes side by side.
_WRITTEN_TOGETHER = {"CJK": "east-asian", "HIRAGANA": "east-asian", "KATAKANA": "east-asian"}


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(LANGUAGES)
    return identifier


def language_of(text: str) -> str | None:
    r"""The ISO 639-1 code of the text's language, one of LANGUAGES; None where it is too short.

    Digits, ASCII punctuation, LaTeX commands (`\frac`) and capitals tell nothing. Too short is
    under 20 bytes of UTF-8: seven Chinese characters. Source: py3langid's model, a naive Bayes
    over sequences of bytes.
    """
    plain = _NO_WORDS.sub(" ", _COMMAND.sub(" ", text[:_MAX_CHARACTERS])).strip().lower()
    if len(plain.encode("utf-8", "surrogatepass")) < _MIN_BYTES:
        return None
    code: str = _identifier().classify(plain)[0]
    return code


def script_shares(text: str) -> dict[str, float]:
    r"""Each script's share of the letters, largest first: {"LATIN": 0.9, "CYRILLIC": 0.1}.

    Chinese characters and kana count as one, "east-asian"; LaTeX commands count as nothing.
    Empty for a text without letters.
    """
    letters = Counter(filter(str.isalpha, _COMMAND.sub(" ", text)))
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        scripts[_script_of(letter)] += count
    total = scripts.total()
    return {script: count / total for script, count in scripts.most_common()}


@lru_cache(maxsize=65_536)
def _script_of(letter: str) -> str:
    # A character's name begins with its script: "CYRILLIC SMALL LETTER ZHE".
    script = unicodedata.name(letter, "UNKNOWN").split()[0].partition("-")[0]
    return _WRITTEN_TOGETHER.get(script, script)
