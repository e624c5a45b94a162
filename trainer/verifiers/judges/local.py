"""A generative judge in a local folder, asked and read as the judge over HTTP is."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

from trainer.verifiers import parameters
from trainer.verifiers.base import Item, Verdict, undecided, version_of
from trainer.verifiers.judges.prompts import Asking, digest_of_prompt
from trainer.verifiers.models.local import (
    DTYPES,
    LocalModel,
    UnusableModelError,
    digest_of,
    loaded,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class LocalJudge:
    """Has a local model go through the response step by step and then say whether it is right.

    After ThinkPRM (arXiv:2504.16828): a critique of each step, then a verdict. model: the folder;
    its weights are part of the version. prompt, question, answer, pass_mark, min_words, max_chars:
    see `Asking`. max_new_tokens: of an answer; one that is cut off, by these or by timeout_s,
    decides nothing. temperature: 0 = the likeliest token each time. Items are judged one by one,
    each from the same seed, so that none's verdict depends on its neighbours.
    """

    model: str = ""
    prompt: str = "steps-1"
    question: str = ""
    answer: str = "verdict"
    pass_mark: float = 0.5
    min_words: int = 2
    max_chars: int = 100_000
    temperature: float = 0.0
    seed: int = 0
    max_new_tokens: int = 2048
    dtype: str = "auto"
    timeout_s: float = field(default=300.0, compare=False)
    _asking: Asking = field(init=False, compare=False, repr=False)
    _digest: str = field(init=False, compare=False, repr=False)

    name: ClassVar[str] = "judge-local"
    channel: ClassVar[str] = "correctness"
    normaliser: ClassVar[str] = "squad-1"

    def __post_init__(self) -> None:
        parameters.number("temperature", self.temperature, least=0, most=2)
        parameters.whole("seed", self.seed, least=0, most=2**31 - 1)
        parameters.whole("max_new_tokens", self.max_new_tokens, least=1, most=1_000_000)
        parameters.one_of("dtype", self.dtype, DTYPES)
        parameters.seconds("timeout_s", self.timeout_s)
        object.__setattr__(self, "_asking", parameters.taken(Asking, self))
        object.__setattr__(self, "_digest", digest_of(self.model))

    @property
    def version(self) -> str:
        return f"{version_of(self, '1')}-{self._digest[:8]}"

    def verify(self, batch: Sequence[Item]) -> list[Verdict]:
        """Judge each item, in order; where the model does not load all asked are undecided."""
        return [self._asking.verdict_unasked(item) or self._asked(item) for item in batch]

    def _asked(self, item: Item) -> Verdict:
        started = perf_counter()
        prompt = self._asking.prompt_for(item)
        record = {
            "model": f"sha256-{self._digest}",
            "prompt": self.prompt,
            "prompt_sha256": digest_of_prompt(prompt),
            "temperature": self.temperature,
            "seed": self.seed,
        }
        try:
            local = loaded("AutoModelForCausalLM", self.model, self.dtype, self._digest)
            with local.lock:
                said = _Generation(local, self).answer_to(prompt)
        # Out of memory, on either device, is a RuntimeError of torch.
        except (UnusableModelError, _TooLongError, RuntimeError) as error:
            reason = "the model failed" if isinstance(error, RuntimeError) else str(error)
            unheard = {**record, "raw": None, "parse": "no-answer"}
            return replace(undecided(reason, seconds=perf_counter() - started), record=unheard)
        return self._asking.verdict_on(
            said.text,
            is_cut_off=said.is_cut_off,
            seconds=perf_counter() - started,
            record={
                **record,
                "prompt_tokens": said.prompt_tokens,
                "answer_tokens": said.answer_tokens,
            },
        )


class _TooLongError(ValueError):
    """Prompt and answer do not fit into the model's context."""


@dataclass(frozen=True, slots=True)
class _Said:
    text: str
    is_cut_off: bool
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class _Generation:
    local: LocalModel
    judge: LocalJudge

    def answer_to(self, prompt: str) -> _Said:
        import torch

        room = self.local.context - self.judge.max_new_tokens
        if self.local.is_surely_too_long(prompt):
            raise _TooLongError(f"longer than the model's {self.local.context} tokens")
        prompt_1S = self._prompt_tokens(prompt)
        if prompt_1S.shape[1] > room:
            raise _TooLongError(
                f"{prompt_1S.shape[1]} tokens and {self.judge.max_new_tokens} for the answer are "
                f"more than the model's {self.local.context}"
            )
        device = self.local.model.device
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            torch.inference_mode(),
        ):
            torch.manual_seed(self.judge.seed)
            output_1S = self._generate(prompt_1S.to(device))
        answer = output_1S[0, prompt_1S.shape[1] :].tolist()
        return _Said(
            text=str(self.local.tokenizer.decode(answer, skip_special_tokens=True)),
            is_cut_off=not answer or answer[-1] not in self._ends(),
            prompt_tokens=prompt_1S.shape[1],
            answer_tokens=len(answer),
        )

    def _prompt_tokens(self, text: str) -> "Tensor":
        """The prompt (1, S) as the model's chat template has it, else as it is."""
        import torch

        tokenizer = self.local.tokenizer
        if not tokenizer.chat_template:
            start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
            return torch.tensor([[*start, *self.local.tokens(text + "\n\n")]])
        for mark in tokenizer.all_special_tokens:  # else the template would read them as its own
            text = text.replace(mark, f"{mark[0]}\u200b{mark[1:]}")
        encoded: Any = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        prompt_1S: Tensor = encoded["input_ids"]
        return prompt_1S

    def _generate(self, prompt_1S: "Tensor") -> "Tensor":
        import torch
        import transformers

        settings: Any = transformers.GenerationConfig
        is_sampled = self.judge.temperature > 0
        # Given in full: a folder may bring defaults of its own.
        config = settings(
            max_new_tokens=self.judge.max_new_tokens,
            max_time=self.judge.timeout_s,
            do_sample=is_sampled,
            temperature=self.judge.temperature if is_sampled else None,
            top_k=0 if is_sampled else None,
            top_p=1.0 if is_sampled else None,
            eos_token_id=sorted(self._ends()),
            pad_token_id=self.local.tokenizer.pad_token_id or min(self._ends(), default=0),
        )
        model: Any = self.local.model
        mask_1S = torch.ones_like(prompt_1S)
        output_1S: Tensor = model.generate(
            prompt_1S, attention_mask=mask_1S, generation_config=config
        )
        return output_1S

    def _ends(self) -> set[int]:
        """The tokens that end an answer: those of the model and the tokenizer's own."""
        config: Any = self.local.model.generation_config
        ids = config.eos_token_id if config is not None else None
        own = self.local.tokenizer.eos_token_id
        listed = ids if isinstance(ids, list) else [ids]
        return {end for end in [*listed, own] if isinstance(end, int)}
