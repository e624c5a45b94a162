"""A verifier that was fitted to people's labels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

from trainer.verifiers import parameters
from trainer.verifiers.base import Item, Outcome, ParameterError, Verdict, undecided
from trainer.verifiers.models.fitted import Manifest, ManifestError, outcome_tokens
from trainer.verifiers.models.local import LocalModel, UnusableModelError, digest_of, loaded

if TYPE_CHECKING:
    from torch import Tensor

# N = rows, S = tokens


@dataclass(frozen=True, slots=True)
class Learned:
    """Passes when P(the answer is right) is at the threshold or above.

    P is by a sequence classifier that `fit-verifier` left in a folder: it reads problem, references
    and response. What is too long for its model is undecided, never cut off. The version holds a
    digest of the weights and of all else in the folder that decides: another fit is another
    version, and the same one is the same wherever the folder lies.

    model: the folder. threshold: 0 = the one that was chosen when it was fitted. batch_size: texts
    that go through the model at once.
    """

    model: str = ""
    threshold: float = 0.0
    batch_size: int = field(default=16, compare=False)
    _manifest: Manifest = field(init=False, compare=False, repr=False)
    _digest: str = field(init=False, compare=False, repr=False)

    name: ClassVar[str] = "learned"
    channel: ClassVar[str] = "correctness"
    normaliser: ClassVar[str] = "squad-1"

    def __post_init__(self) -> None:
        parameters.number("threshold", self.threshold, least=0, most=1)
        parameters.whole("batch_size", self.batch_size, least=1, most=10_000)
        digest = digest_of(self.model)
        try:
            manifest = Manifest.read(Path(self.model))
        except ManifestError as error:
            raise ParameterError(f"model: {error}") from None
        if manifest.level != "outcome":
            raise ParameterError("model: judges steps; the verifier for these is process")
        object.__setattr__(self, "_manifest", manifest)
        object.__setattr__(self, "_digest", digest)

    @property
    def version(self) -> str:
        fitted = f"1-{self._digest[:12]}"
        return f"{fitted}-t{float(self.threshold)!r}" if self.threshold else fitted

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; where the model does not load all are undecided."""
        started = perf_counter()
        try:
            local = loaded("AutoModelForSequenceClassification", self.model, "auto", self._digest)
            with local.lock:
                scores = self._scores(local, batch)
        except UnusableModelError as error:
            return [undecided(str(error))] * len(batch)
        except RuntimeError:  # out of memory, on either device
            return [undecided("the model failed")] * len(batch)
        seconds = (perf_counter() - started) / max(len(batch), 1)
        too_long = undecided(f"longer than the model's {local.context} tokens", seconds=seconds)
        return [too_long if score is None else self._verdict(score, seconds) for score in scores]

    def _verdict(self, score: float, seconds: float) -> Verdict:
        if not isfinite(score):
            return undecided("the model's score is no number", seconds=seconds)
        threshold = self.threshold or self._manifest.threshold
        outcome = Outcome.PASS if score >= threshold else Outcome.FAIL
        return Verdict(outcome, score, None, "model", "none", 0, seconds)

    def _scores(self, local: LocalModel, batch: Sequence[Item]) -> list[float | None]:
        """P(right) of each item; None where it is too long. Those of about the same length go
        through the model together."""
        rows = [outcome_tokens(local, item) for item in batch]
        scores: list[float | None] = [None] * len(rows)
        short = sorted((len(row), i) for i, row in enumerate(rows) if row is not None)
        for first in range(0, len(short), self.batch_size):
            places = [i for _, i in short[first : first + self.batch_size]]
            found = _probabilities(local, [row for i in places if (row := rows[i]) is not None])
            for i, score in zip(places, found, strict=True):
                scores[i] = score
        return scores


def _probabilities(local: LocalModel, rows: Sequence[Sequence[int]]) -> list[float]:
    import torch

    model: Any = local.model
    token_NS, mask_NS = padded(rows, model.config.pad_token_id or 0)
    with torch.inference_mode():
        logits = model(input_ids=token_NS.to(model.device), attention_mask=mask_NS.to(model.device))
    right_N = logits.logits.float().softmax(dim=-1)[:, 1]
    scores: list[float] = right_N.tolist()
    return scores


def padded(rows: Sequence[Sequence[int]], pad_id: int) -> "tuple[Tensor, Tensor]":
    """Tokens (N, S), padded on the right, and a mask that is 0 on the padding."""
    import torch

    shape = len(rows), max(map(len, rows))
    token_NS, mask_NS = torch.full(shape, pad_id), torch.zeros(shape, dtype=torch.long)
    for i, row in enumerate(rows):
        token_NS[i, : len(row)] = torch.tensor(row)
        mask_NS[i, : len(row)] = 1
    return token_NS, mask_NS
