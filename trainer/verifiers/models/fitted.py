"""What `python -m trainer fit-verifier` leaves in a model's folder beside what transformers reads,
and how it puts a text before the model: fitting and judging both do it here."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from trainer.verifiers.base import Item
from trainer.verifiers.models.local import LocalModel

MANIFEST = "verifier.json"


class ManifestError(ValueError):
    """The folder is not one of a fitted verifier; the text says why."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """level: "outcome" or "step". separator: ends each step. threshold: on P(right), chosen when
    it was fitted."""

    level: str
    separator: str
    threshold: float

    def write(self, folder: Path) -> None:
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises ManifestError."""
        try:
            manifest = cls(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            raise ManifestError(f"no {MANIFEST} of a fitted verifier can be read in it") from None
        if type(manifest.threshold) is not float or not 0 < manifest.threshold < 1:
            raise ManifestError(f"threshold in its {MANIFEST} must be between 0 and 1")
        return manifest


def outcome_tokens(local: LocalModel, item: Item) -> list[int] | None:
    """Problem, references and response; None = longer than the model's context."""
    references = " / ".join(item.references) or "none"
    asked = f"Problem:\n{item.problem}\n\nReference:\n{references}\n\nAnswer:\n"
    if local.is_surely_too_long(asked, item.response):
        return None
    start, end = _ends(local)
    tokens = [*start, *local.tokens(asked), *local.tokens(item.response), *end]
    return tokens if len(tokens) <= local.context else None


def step_tokens(
    local: LocalModel, item: Item, separator: str
) -> tuple[list[int], list[int]] | None:
    """Problem and steps, each ended by the separator, and where each step's last token stands.

    As TRL's trainer of process reward models and the verifier `process` lay them out. None = longer
    than the model's context.
    """
    if local.is_surely_too_long(item.problem, *item.steps):
        return None
    start = local.tokenizer.bos_token_id
    tokens = [*([] if start is None else [start]), *local.tokens(item.problem)]
    end_of_step, places = local.tokens(separator), []
    for step in item.steps:
        tokens += [*local.tokens(step), *end_of_step]
        places.append(len(tokens) - 1)
    return (tokens, places) if len(tokens) <= local.context else None


def _ends(local: LocalModel) -> tuple[Sequence[int], Sequence[int]]:
    """The tokens that start and end a text, of the models that have them."""
    tokenizer = local.tokenizer
    starts = (tokenizer.bos_token_id, tokenizer.cls_token_id)
    ends = (tokenizer.eos_token_id, tokenizer.sep_token_id)
    return _first(*starts), _first(*ends)


def _first(*ids: int | None) -> list[int]:
    return next(([id_] for id_ in ids if id_ is not None), [])
