"""IFEval's instructions on the response as a whole: case, language, its start and its end."""

from collections.abc import Callable

from trainer.verifiers.constraints.base import (
    ArgumentError,
    CannotTellError,
    Instruction,
    count,
    relation,
    text,
)
from trainer.verifiers.constraints.text import tokens
from trainer.verifiers.language import LANGUAGES, language_of

# Codes that the benchmarks write for a language with another code here.
_SAME_LANGUAGE = {"nb": "no", "zh-cn": "zh", "zh-tw": "zh"}


def _language(value: object) -> str:
    if not isinstance(value, str):
        raise ArgumentError("must be a language's code")
    code = _SAME_LANGUAGE.get(value.lower(), value.lower())
    if code not in LANGUAGES:
        raise ArgumentError(f"must be one of: {', '.join(sorted(LANGUAGES))}")
    return code


def _is_in(response: str, language: str) -> bool:
    found = language_of(response)
    if found is None:
        raise CannotTellError("the response is too short to tell its language")
    return found == language


def _is_english_in_capitals(response: str) -> bool:
    return response.isupper() and _is_in(response, "en")


def _is_english_in_lower_case(response: str) -> bool:
    return response.islower() and _is_in(response, "en")


def _capital_words(response: str, wanted: int, compare: Callable[[int, int], bool]) -> bool:
    return compare(sum(map(str.isupper, tokens(response))), wanted)


def _has_no_comma(response: str) -> bool:
    return "," not in response


def _ends_with(response: str, phrase: str) -> bool:
    return response.strip().strip('"').lower().endswith(phrase.lower())


def _is_quoted(response: str) -> bool:
    stripped = response.strip()
    return len(stripped) > 1 and stripped[0] == stripped[-1] == '"'


def _repeats_prompt(response: str, prompt: str) -> bool:
    return response.strip().lower().startswith(prompt.lower())


def _has_two_responses(response: str) -> bool:
    """Two different texts, six asterisks between them; none may be around them but one each."""
    parts = [part.strip() for part in response.split("******")]
    if not all(parts[1:-1]):
        return False
    texts = list(filter(None, parts))
    return len(texts) == 2 and texts[0] != texts[1]


INSTRUCTIONS = {
    "change_case:capital_word_frequency": Instruction(
        _capital_words, {"capital_frequency": count, "capital_relation": relation}
    ),
    "change_case:english_capital": Instruction(_is_english_in_capitals),
    "change_case:english_lowercase": Instruction(_is_english_in_lower_case),
    "combination:repeat_prompt": Instruction(_repeats_prompt, {"prompt_to_repeat": text}),
    "combination:two_responses": Instruction(_has_two_responses),
    "language:response_language": Instruction(_is_in, {"language": _language}),
    "punctuation:no_comma": Instruction(_has_no_comma),
    "startend:end_checker": Instruction(_ends_with, {"end_phrase": text}),
    "startend:quotation": Instruction(_is_quoted),
}
