"""Which prompts a verifier is fitted on, tuned on and measured on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.fitting.config import FitConfig
from trainer.fitting.labels import Example, LabelsError


@dataclass(frozen=True, slots=True)
class Split:
    """All rollouts of a prompt are on one side."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    held_out: tuple[Example, ...]


def split_by_prompt(examples: Sequence[Example], config: FitConfig) -> Split:
    """The prompts in an order that the seed gives, the first ones held out, the next for tuning.

    Held-out rollouts are those that were drawn: a pick stands for nothing else. Raises LabelsError
    where a side has no prompt, or only one class.
    """
    prompts = sorted(
        {example.prompt for example in examples}, key=lambda prompt: _place(prompt, config.seed)
    )
    held_out = _count(len(prompts), config.held_out_share)
    dev = _count(len(prompts), config.dev_share)
    sides = {
        prompt: 0 if place < held_out else 1 if place < held_out + dev else 2
        for place, prompt in enumerate(prompts)
    }
    of_side: list[list[Example]] = [[], [], []]
    for example in examples:
        of_side[sides[example.prompt]].append(example)
    measured = [example for example in of_side[0] if example.is_sampled]
    _refuse_one_class("the labels", examples, config)
    for name, side in (
        ("held_out_share: the held-out prompts", measured),
        ("dev_share: the prompts to tune on", of_side[1]),
        ("held_out_share, dev_share: the prompts to train on", of_side[2]),
    ):
        _refuse_one_class(name, side, config)
    return Split(tuple(of_side[2]), tuple(of_side[1]), tuple(measured))


def is_right(example: Example, level: str) -> bool:
    """Whether the verifier should accept it: a right answer, or no wrong step."""
    return example.is_correct if level == "outcome" else example.earliest_wrong == 0


def _refuse_one_class(name: str, examples: Sequence[Example], config: FitConfig) -> None:
    classes = {is_right(example, config.level) for example in examples}
    if not classes:
        raise LabelsError(f"{name}: there are none; label more prompts, or change the share")
    if len(classes) == 1:
        kind = "right" if classes.pop() else "wrong"
        raise LabelsError(f"{name}: all {len(examples)} are {kind}; a fit needs both classes")


def _count(n_prompts: int, share: float) -> int:
    return round(n_prompts * share)


def _place(prompt: str, seed: int) -> bytes:
    """By digest, not by position: a prompt mostly keeps its side when others come in."""
    return hashlib.sha256(f"{seed} {prompt}".encode("utf-8", "surrogatepass")).digest()
