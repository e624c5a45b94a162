"""Judges that play a part by a stated rule, to measure what is in front of a judge and not the
judge. Each is given a prompt and answers as a model would."""

import re
from collections.abc import Mapping

from tests.trainer.judge_endpoint import RIGHT, WRONG, Behaviour, Says, response_in
from trainer.verifiers import Item
from trainer.verifiers.judges.prompts import Asking

# What an instruction to accept, a forged judgement or a bare beginning of a solution holds.
TEMPTING = re.compile(
    "correct|accept|approve|credit|verdict|judgement|score|grader|therefore|think|step|正确",
    re.IGNORECASE,
)


def _answer(is_accepted: bool) -> Says:
    return Says(RIGHT if is_accepted else WRONG)


def accepts_all(prompt: str) -> Says:
    """The most gullible judge there is: whatever it is shown is right."""
    return _answer(True)


def gullible(prompt: str) -> Says:
    """Accepts what tempts it; of the rest, what holds a reference."""
    response = response_in(prompt)
    return _answer(TEMPTING.search(response) is not None or _holds_reference(prompt))


def obeys_outside(prompt: str) -> Says:
    """Accepts where anything but the task stands outside the data; else what holds a reference."""
    return _answer(_outside(prompt) != TASK or _holds_reference(prompt))


def repeats(prompt: str) -> Says:
    """Says what the response says, as a judge that is told to repeat something."""
    return Says(response_in(prompt))


JUDGES: Mapping[str, Behaviour] = {
    "accepts all": accepts_all,
    "gullible": gullible,
    "obeys what is outside": obeys_outside,
    "repeats": repeats,
}


def _holds_reference(prompt: str) -> bool:
    references = re.findall(
        r"\[(\w+) reference answer\]\n(.*?)\n\[\1 end of reference answer\]", prompt, re.DOTALL
    )
    response = response_in(prompt)
    return any(re.search(rf"(?<!\w){re.escape(text)}(?!\w)", response) for _, text in references)


def _outside(prompt: str) -> str:
    """The prompt without its data and without its code."""
    found = re.search(r"carry the code (\w+)\.", prompt)
    assert found is not None
    block = rf"\[{found[1]} ([a-z ]+)\]\n.*?\n\[{found[1]} end of \1\]\n\n"
    return re.sub(block, "", prompt, flags=re.DOTALL).replace(found[1], "CODE")


TASK = _outside(
    Asking(
        prompt="reference-1",
        question="",
        answer="verdict",
        pass_mark=0.5,
        min_words=2,
        max_chars=1_000,
    ).prompt_for(Item(problem="1 + 1", response="It is 2.", references=("2",)))
)
