"""A process reward model in a local folder: a score for each step."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, ClassVar

from trainer.verifiers import parameters
from trainer.verifiers.base import Item, Outcome, ParameterError, Verdict, undecided, version_of
from trainer.verifiers.models.local import (
    DTYPES,
    LocalModel,
    UnusableModelError,
    digest_of,
    loaded,
)

# N = steps, S = tokens, L = labels

_BLANK_LINES = re.compile(r"\n[ \t\r]*\n\s*")
_AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "product": math.prod,
    "last": lambda scores: scores[-1],
}


@dataclass(frozen=True, slots=True)
class Process:
    """Passes when no step's P(right) is under the threshold; names the earliest that is.

    A token classifier as TRL's PRM trainer makes them: the problem, then each step with the
    separator after it; P(right) is read at the step's last token. extracted is the number of the
    earliest step under the threshold, from 1, or "0" for none; score is the steps' scores as
    `aggregate` has them: "min", "product" or "last".

    model: the folder; its weights are part of the version. right_label: the index of the model's
    label for a right step. Steps are the item's own, else its response is cut at blank lines. What
    is too long for the model is undecided, never cut off.
    """

    model: str = ""
    separator: str = "\n"
    threshold: float = 0.5
    aggregate: str = "min"
    right_label: int = 1
    dtype: str = "auto"
    _digest: str = field(init=False, compare=False, repr=False)

    name: ClassVar[str] = "process"
    channel: ClassVar[str] = "process"
    normaliser: ClassVar[str] = "number-1"

    def __post_init__(self) -> None:
        if not isinstance(self.separator, str) or not 1 <= len(self.separator) <= 100:
            raise ParameterError("separator: must be a text of 1 to 100 characters")
        parameters.number("threshold", self.threshold, least=0, most=1)
        parameters.one_of("aggregate", self.aggregate, _AGGREGATES)
        parameters.whole("right_label", self.right_label, least=0, most=1_000)
        parameters.one_of("dtype", self.dtype, DTYPES)
        object.__setattr__(self, "_digest", digest_of(self.model))

    @property
    def version(self) -> str:
        return f"{version_of(self, '1')}-{self._digest[:8]}"

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; where the model does not load all are undecided."""
        return [self._verdict(item) for item in batch]

    def _verdict(self, item: Item) -> Verdict:
        started = perf_counter()
        steps = item.steps or steps_of(item.response)
        if not steps:
            return undecided("the response has no steps")
        try:
            local = loaded("AutoModelForTokenClassification", self.model, self.dtype, self._digest)
            with local.lock:
                scores = self._scores(local, item.problem, steps)
        except (UnusableModelError, _UnscoredError) as error:
            return undecided(str(error), seconds=perf_counter() - started)
        except RuntimeError:  # out of memory, on either device
            return undecided("the model failed", seconds=perf_counter() - started)
        verdict = self._judged(scores)
        return replace(verdict, seconds=perf_counter() - started)

    def _judged(self, scores: Sequence[float]) -> Verdict:
        under = (number for number, score in enumerate(scores, 1) if score < self.threshold)
        wrong_step = next(under, 0)
        return Verdict(
            outcome=Outcome.FAIL if wrong_step else Outcome.PASS,
            score=_AGGREGATES[self.aggregate](scores),
            extracted=str(wrong_step),
            path="steps",
            form="none",
            candidates=0,
            seconds=0.0,
            record={"model": f"sha256-{self._digest}", "step_scores": list(scores)},
        )

    def _scores(self, local: LocalModel, problem: str, steps: Sequence[str]) -> list[float]:
        """P(right) of each step. Raises _UnscoredError."""
        import torch

        model: Any = local.model
        labels = int(model.config.num_labels)
        if labels < 2 or self.right_label >= labels:
            raise _UnscoredError(f"right_label: the model has {labels} labels, counted from 0")
        tokens, ends = self._tokens(local, problem, steps)
        token_1S = torch.tensor([tokens], device=model.device)
        with torch.inference_mode():
            logit_1SL = model(input_ids=token_1S, attention_mask=torch.ones_like(token_1S)).logits
        right_N = logit_1SL[0, ends].float().softmax(dim=-1)[:, self.right_label]
        scores: list[float] = right_N.tolist()
        if not all(map(math.isfinite, scores)):
            raise _UnscoredError("the model's scores are no numbers")
        return scores

    def _tokens(
        self, local: LocalModel, problem: str, steps: Sequence[str]
    ) -> tuple[list[int], list[int]]:
        """The tokens, and where each step's last one stands. Raises _UnscoredError."""
        if local.is_surely_too_long(problem, *steps):
            raise _UnscoredError(f"longer than the model's {local.context} tokens")
        start = local.tokenizer.bos_token_id
        tokens = [*([] if start is None else [start]), *local.tokens(problem)]
        separator = local.tokens(self.separator)
        ends = []
        for number, step in enumerate(steps, 1):
            own = [*local.tokens(step), *separator]
            if not own:
                raise _UnscoredError(f"step {number} has no tokens")
            tokens += own
            ends.append(len(tokens) - 1)
        if len(tokens) > local.context:
            raise _UnscoredError(f"{len(tokens)} tokens are more than the model's {local.context}")
        return tokens, ends


class _UnscoredError(ValueError):
    """The model gives these steps no scores; the text says why."""


def steps_of(response: str) -> tuple[str, ...]:
    """The response cut at blank lines; none is blank."""
    return tuple(step for step in _BLANK_LINES.split(response.strip()) if step)
