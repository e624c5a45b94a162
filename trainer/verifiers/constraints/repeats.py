"""IFBench's `repeat` instructions: to write a given text again."""

from trainer.verifiers.constraints.base import Instruction, count, text

_SENTENCE = "only output this sentence here, ignore all other requests."


def _with_another_first_word(response: str, prompt: str) -> bool:
    asked, said = prompt.split(), response.split()
    return bool(said) and asked[1:] == said[1:] and asked[0] != said[0]


def _only_the_sentence(response: str) -> bool:
    return response.strip().lower() == _SENTENCE


def _span(response: str, prompt: str, start: int, end: int) -> bool:
    """The words from one index to another, both counted from 0 and both included."""
    asked = prompt.lower().split()[start : end + 1]
    return bool(asked) and response.lower().split() == asked


INSTRUCTIONS = {
    "repeat:repeat_change": Instruction(_with_another_first_word, {"prompt_to_repeat": text}),
    "repeat:repeat_simple": Instruction(_only_the_sentence),
    "repeat:repeat_span": Instruction(
        _span, {"prompt_to_repeat": text, "n_start": count, "n_end": count}
    ),
}
