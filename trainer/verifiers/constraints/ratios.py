"""IFBench's `ratio` instructions: shares of sentences, of stop words, of a reference's trigrams."""

from collections import Counter

from trainer.verifiers.constraints.base import Instruction, percentage, text
from trainer.verifiers.constraints.text import QUOTES, bare_words, sentences, words

_TOLERANCE = 2.0
# English words that carry grammar rather than meaning, and what an apostrophe leaves of them.
_STOP_WORDS = frozenset(
    words(
        "a an the"
        " i me my myself we our ours ourselves you your yours yourself yourselves he him his"
        " himself she her hers herself it its itself they them their theirs themselves"
        " what which who whom this that these those"
        " am is are was were be been being have has had having do does did doing can will should"
        " and but if or because as until while than so nor"
        " of at by for with about against between into through during before after above below to"
        " from up down in out on off over under"
        " again further then once here there when where why how just now"
        " all any both each few more most other some such no not only own same too very"
        " s t d ll m o re ve y ain aren couldn didn doesn don hadn hasn haven isn ma mightn mustn"
        " needn shan shouldn wasn weren won wouldn"
    )
)


def _overlap(response: str, reference: str, wanted: float) -> bool:
    """Of the response's different trigrams (of characters), the share that the reference has."""
    found = _trigrams(response)
    if not found:
        return False
    return abs(100 * len(found & _trigrams(reference)) / len(found) - wanted) <= _TOLERANCE


def _trigrams(text: str) -> set[str]:
    return {text[start : start + 3] for start in range(len(text) - 2)}


def _stop_words(response: str, most: float) -> bool:
    found = words(response)
    if not found:
        return False
    return 100 * sum(word.lower() in _STOP_WORDS for word in found) / len(found) <= most


def _ends(response: str) -> Counter[str]:
    """How many sentences end in each mark; a quotation mark after it is passed over."""
    bare = (sentence.rstrip(QUOTES) for sentence in sentences(response))
    return Counter(sentence[-1:] for sentence in bare)


def _two_statements_a_question(response: str) -> bool:
    ends = _ends(response)
    return ends["."] == 2 * ends["?"] > 0


def _balanced(response: str) -> bool:
    ends = _ends(response)
    return ends["."] == ends["?"] == ends["!"] > 0


def _three_equal_sentences(response: str) -> bool:
    """As long as each other in characters, and no word twice."""
    found = sentences(response)
    if len(found) != 3 or len(set(map(len, found))) != 1:
        return False
    used = bare_words(response.lower())
    return len(used) == len(set(used))


INSTRUCTIONS = {
    "ratio:overlap": Instruction(_overlap, {"reference_text": text, "percentage": percentage}),
    "ratio:sentence_balance": Instruction(_balanced),
    "ratio:sentence_type": Instruction(_two_statements_a_question),
    "ratio:sentence_words": Instruction(_three_equal_sentences),
    "ratio:stop_words": Instruction(_stop_words, {"percentage": percentage}),
}
