"""A judge behind an OpenAI-compatible endpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from trainer.verifiers import parameters
from trainer.verifiers.base import Item, Verdict, undecided, version_of
from trainer.verifiers.judges.calls import Call, Endpoint, Ledger, Limits, call_all
from trainer.verifiers.judges.prompts import Asking, digest_of_prompt
from trainer.verifiers.texts import storable

# Groups of a judge's parameters, each checked and used by the module that it is of.
_PARTS = {"_asking": Asking, "_endpoint": Endpoint, "_limits": Limits}


@dataclass(frozen=True, slots=True)
class Judge:
    """Asks a chat model whether the response is right, over HTTP.

    base_url: up to and with "/v1". A server on which people choose it restricts the hosts that may
    be called (`judges.calls.allow_only_hosts`). model: as the endpoint names it. prompt, question,
    answer, pass_mark, min_words, max_chars: see `Asking`. max_tokens: of an answer; one that is cut
    off decides nothing. api_key_env: the name of the environment variable that holds the key; the
    key is in no verdict, version or log. The others say how it is called: see `Limits`; the budget
    is this object's, over all its batches.

    What no answer decides is undecided, and says why. A response of fewer than min_words words, or
    one that is an opener with nothing after it, fails unasked, with the path "too-short" or
    "opener": judges accept such texts (arXiv:2507.08794). Where one word is a right answer,
    min_words must be 1.
    """

    base_url: str = "http://127.0.0.1:8000/v1"
    model: str = ""
    prompt: str = "reference-1"
    question: str = ""
    answer: str = "verdict"
    pass_mark: float = 0.5
    min_words: int = 2
    max_chars: int = 100_000
    temperature: float = 0.0
    seed: int = 0
    max_tokens: int = 2048
    api_key_env: str = field(default="", compare=False)
    concurrency: int = field(default=8, compare=False)
    attempts: int = field(default=4, compare=False)
    backoff_s: float = field(default=1.0, compare=False)
    timeout_s: float = field(default=120.0, compare=False)
    deadline_s: float = field(default=3600.0, compare=False)
    budget_calls: int | None = field(default=None, compare=False)
    budget_tokens: int | None = field(default=None, compare=False)
    _asking: Asking = field(init=False, compare=False, repr=False)
    _endpoint: Endpoint = field(init=False, compare=False, repr=False)
    _limits: Limits = field(init=False, compare=False, repr=False)
    _spent: Ledger = field(default_factory=Ledger, init=False, compare=False, repr=False)

    name: ClassVar[str] = "judge"
    channel: ClassVar[str] = "correctness"
    normaliser: ClassVar[str] = "squad-1"

    def __post_init__(self) -> None:
        parameters.text("model", self.model, longest=200)
        parameters.number("temperature", self.temperature, least=0, most=2)
        parameters.whole("seed", self.seed, least=0, most=2**31 - 1)
        parameters.whole("max_tokens", self.max_tokens, least=1, most=1_000_000)
        for field_name, kind in _PARTS.items():
            object.__setattr__(self, field_name, parameters.taken(kind, self))

    @property
    def version(self) -> str:
        return version_of(self, "1")

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; the batch ends by its deadline."""
        asking = self._asking
        verdicts = [asking.verdict_unasked(item) for item in batch]
        asked = [position for position, verdict in enumerate(verdicts) if verdict is None]
        prompts = [asking.prompt_for(batch[position]) for position in asked]
        calls = call_all(
            self._endpoint, [self._body(prompt) for prompt in prompts], self._limits, self._spent
        )
        for position, prompt, call in zip(asked, prompts, calls, strict=True):
            verdicts[position] = self._verdict(prompt, call)
        return [verdict for verdict in verdicts if verdict is not None]

    def _body(self, prompt: str) -> Mapping[str, Any]:
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": self.temperature,
            "seed": self.seed,
            "max_tokens": self.max_tokens,
        }

    def _verdict(self, prompt: str, call: Call) -> Verdict:
        record: dict[str, Any] = {
            "prompt": self.prompt,
            "prompt_sha256": digest_of_prompt(prompt),
            "temperature": self.temperature,
            "seed": self.seed,
            "attempts": call.attempts,
        }
        if call.reply is None:
            unheard = {**record, "model": self.model, "raw": None, "parse": "no-answer"}
            return replace(undecided(call.reason, seconds=call.seconds), record=unheard)
        reply = call.reply
        return self._asking.verdict_on(
            reply.text,
            is_cut_off=reply.is_cut_off,
            seconds=call.seconds,
            record={
                **record,
                "model": storable(reply.model),
                "prompt_tokens": reply.prompt_tokens,
                "answer_tokens": reply.answer_tokens,
            },
        )
