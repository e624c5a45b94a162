"""IFBench's `sentence` instructions: what each sentence is to be like."""

from itertools import pairwise

from trainer.verifiers.constraints.base import Instruction, count, position, text
from trainer.verifiers.constraints.text import bare_words, has_word, sentences, stripped_words


def _alliteration_grows(response: str) -> bool:
    """Each sentence has more words in runs of one initial than the sentence before."""
    found = [_alliterating(sentence) for sentence in sentences(response)]
    return all(before < after for before, after in pairwise(found))


def _alliterating(sentence: str) -> int:
    initials = [word[0] for word in stripped_words(sentence.lower())]
    sames = [before == after for before, after in pairwise(initials)]
    starts = sum(same and not before for before, same in pairwise([False, *sames]))
    return sum(sames) + starts


def _word_counts_grow(response: str, by: int) -> bool:
    found = [len(bare_words(sentence)) for sentence in sentences(response)]
    return bool(found) and all(after - before == by for before, after in pairwise(found))


def _keyword_in(response: str, keyword: str, nth: int) -> bool:
    found = sentences(response)
    return len(found) >= nth and has_word(found[nth - 1], keyword)


INSTRUCTIONS = {
    "sentence:alliteration_increment": Instruction(_alliteration_grows),
    "sentence:increment": Instruction(_word_counts_grow, {"small_n": count}),
    "sentence:keyword": Instruction(_keyword_in, {"word": text, "N": position}),
}
