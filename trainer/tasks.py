"""What a policy is asked: problems to train on, held-out ones, and demonstrations to start from."""

import hashlib
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from trainer.config import ConfigError, JsonlConfig, SumsConfig, TaskConfig
from trainer.data import Prompt
from trainer.demo import task as sums

# Of a file's problems at most this share is held out.
_LARGEST_HELD_OUT_SHARE = 0.2


class Task(Protocol):
    """A stream of problems. `vocabulary`: the strings that its texts are made of, if few."""

    @property
    def vocabulary(self) -> Sequence[str] | None: ...

    def training(self, *, seed: int, first: int, n: int) -> list[Prompt]:
        """Problems number `first` to `first + n - 1` of the seed's endless stream."""

    def held_out(self, n: int) -> list[Prompt]:
        """Problems that are never trained on, the same for every seed."""

    def demonstrations(self, *, seed: int, n: int) -> list[tuple[Prompt, str]]:
        """Problems with a response to learn from. Raises ConfigError where there are none."""

    def is_correct(self, response: str, prompt: Prompt) -> bool | None:
        """What is true, where a rubric knows; None = nobody but people can tell."""


def task_of(config: TaskConfig, *, n_held_out: int) -> Task:
    """The recipe's task. Raises ConfigError, naming the key, for one that cannot be read."""
    if isinstance(config, SumsConfig):
        return Sums(config, n_held_out=n_held_out)
    return Jsonl(config, n_held_out=n_held_out)


class Sums:
    """The demo's sums, which never end."""

    vocabulary: Sequence[str] = sums.VOCABULARY

    def __init__(self, config: SumsConfig, *, n_held_out: int) -> None:
        self._config = config
        self._held_out = sums.held_out_problems(config, n_held_out)
        self._streams: dict[int, list[sums.Problem]] = {}

    def training(self, *, seed: int, first: int, n: int) -> list[Prompt]:
        stream = self._streams.get(seed, [])
        if len(stream) < first + n:
            size = max(first + n, 2 * len(stream))  # a longer stream begins with the shorter one
            stream = sums.training_problems(
                self._config, seed=seed, size=size, held_out=self._held_out
            )
            self._streams[seed] = stream
        return [
            _sum_prompt(f"train-{seed}-{i}", problem)
            for i, problem in enumerate(stream[first : first + n], start=first)
        ]

    def held_out(self, n: int) -> list[Prompt]:
        return [_sum_prompt(f"eval-{i}", problem) for i, problem in enumerate(self._held_out[:n])]

    def demonstrations(self, *, seed: int, n: int) -> list[tuple[Prompt, str]]:
        rng = random.Random(seed)  # noqa: S311 - no secret
        problems = sums.cold_start_problems(
            self._config, seed=seed, size=n, held_out=self._held_out
        )
        return [
            (_sum_prompt(f"shown-{i}", problem), sums.demonstration(problem, self._config, rng))
            for i, problem in enumerate(problems)
        ]

    def is_correct(self, response: str, prompt: Prompt) -> bool | None:
        return sums.is_correct(response, prompt.text)


def _sum_prompt(uid: str, problem: sums.Problem) -> Prompt:
    terms = problem.text.count("+") + problem.text.count("-") + 1
    return Prompt(
        uid,
        problem.text,
        str(problem.answer),
        sums.DOMAIN,
        sums.SOURCE,
        difficulty=min(100, 10 * terms),
    )


class Jsonl:
    """Problems of a file, in another order each time through it."""

    vocabulary: Sequence[str] | None = None

    def __init__(self, config: JsonlConfig, *, n_held_out: int) -> None:
        self._config = config
        rows = [*_rows(Path(config.path))]
        prompts = [self._prompt(row, number) for number, row in rows]
        self._refuse_contradictions([number for number, _ in rows], prompts)
        # By a hash of the text, so that a problem stays held out when the file grows.
        order = sorted(range(len(rows)), key=lambda i: (_digest(prompts[i].text), i))
        n_held_out = min(n_held_out, int(_LARGEST_HELD_OUT_SHARE * len(rows)))
        if n_held_out < 1:
            raise ConfigError(f"task.path: {config.path} holds too few problems to hold one out")
        self._held_out = [prompts[i] for i in order[:n_held_out]]
        excluded = {prompt.text for prompt in self._held_out}
        kept = [i for i in sorted(order[n_held_out:]) if prompts[i].text not in excluded]
        if not kept:
            raise ConfigError(f"task.path: {config.path} holds one problem alone, over and over")
        self._training = [prompts[i] for i in kept]
        self._rows = [rows[i] for i in kept]
        self._orders: dict[tuple[int, int], list[int]] = {}

    def training(self, *, seed: int, first: int, n: int) -> list[Prompt]:
        return [self._problem(seed, number) for number in range(first, first + n)]

    def held_out(self, n: int) -> list[Prompt]:
        return self._held_out[:n]

    def demonstrations(self, *, seed: int, n: int) -> list[tuple[Prompt, str]]:
        name = self._config.demonstration_field
        if not name:
            raise ConfigError(
                "task.demonstration_field: a cold start needs responses to learn from"
            )
        shown = [
            (prompt, _text(row, name, "task.demonstration_field", number))
            for prompt, (number, row) in zip(self._training, self._rows, strict=True)
        ]
        random.Random(seed).shuffle(shown)  # noqa: S311 - no secret
        return list(itertools.islice(itertools.cycle(shown), n))

    def is_correct(self, response: str, prompt: Prompt) -> bool | None:
        return None

    def _refuse_contradictions(self, lines: Sequence[int], prompts: Sequence[Prompt]) -> None:
        first: dict[str, tuple[int, Prompt]] = {}
        for number, prompt in zip(lines, prompts, strict=True):
            line, known = first.setdefault(prompt.uid, (number, prompt))
            if known != prompt:
                raise ConfigError(
                    f"task.path: lines {line} and {number} of {self._config.path} ask the same and"
                    " differ in the reference or the difficulty; keep one of them"
                )

    def _problem(self, seed: int, number: int) -> Prompt:
        epoch, place = divmod(number, len(self._training))
        return self._training[self._order(seed, epoch)[place]]

    def _order(self, seed: int, epoch: int) -> list[int]:
        if (seed, epoch) not in self._orders:
            order = list(range(len(self._training)))
            random.Random(f"{seed}/{epoch}").shuffle(order)  # noqa: S311 - no secret
            self._orders = {(seed, epoch): order}
        return self._orders[seed, epoch]

    @cached_property
    def _source(self) -> str:
        return self._config.source or Path(self._config.path).name

    def _prompt(self, row: dict[str, Any], number: int) -> Prompt:
        config = self._config
        reference = _text(row, config.reference_field, "task.reference_field", number)
        if config.reference_after:
            _, mark, reference = reference.rpartition(config.reference_after)
            if not mark:
                raise ConfigError(
                    f"task.reference_after: line {number} has no {config.reference_after!r} in"
                    f" {config.reference_field!r}"
                )
        text = _text(row, config.prompt_field, "task.prompt_field", number)
        return Prompt(
            f"{self._source}-{_digest(text)[:16]}",
            text,
            reference.strip(),
            config.domain,
            self._source,
            difficulty=_difficulty(row, config.difficulty_field, number),
        )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"task.path: cannot read {path}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"task.path: line {number} of {path} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ConfigError(f"task.path: line {number} of {path} is no JSON object")
        yield number, row


def _text(row: dict[str, Any], name: str, key: str, number: int) -> str:
    """A field as text; tests of a code problem, say, are an object: its JSON."""
    if name not in row or row[name] in (None, ""):
        known = ", ".join(row)
        raise ConfigError(f"{key}: line {number} has no {name!r}; it has: {known}")
    value = row[name]
    return value if isinstance(value, str) else json.dumps(value)


def _difficulty(row: dict[str, Any], name: str, number: int) -> int | None:
    if not name or row.get(name) is None:
        return None
    value = row[name]
    if type(value) is not int or not 0 <= value <= 100:
        raise ConfigError(f"task.difficulty_field: line {number}: must be a whole number, 0 to 100")
    return value


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
