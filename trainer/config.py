"""The trainer's configuration: frozen dataclasses read from TOML; unknown keys are refused."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self, TypeVar, get_type_hints

from trainer.verifiers import UnknownVerifierError, listed

REWARD_SOURCES = ("verdict", "table", "true")

_Section = TypeVar("_Section")


class ConfigError(ValueError):
    """A setting is unknown or cannot work; the message names the key and what to change."""


def require(is_met: bool, key: str, fix: str) -> None:
    """Raises ConfigError, "key: fix", where it is not met."""
    if not is_met:
        raise ConfigError(f"{key}: {fix}")


@dataclass(frozen=True, slots=True)
class RunConfig:
    name: str = "demo"
    seed: int = 0
    threads: int = 1  # of torch; two collapse where other processes use the same cores
    eval_every: int = 5
    eval_problems: int = 256
    checkpoint_every: int = 1
    log_completions: bool = False

    def __post_init__(self) -> None:
        for name in ("threads", "eval_every", "eval_problems", "checkpoint_every"):
            require(getattr(self, name) >= 1, f"run.{name}", "must be at least 1")
        require(self.seed >= 0, "run.seed", "must not be negative")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    layers: int = 3
    hidden_size: int = 96
    intermediate_size: int = 288
    heads: int = 4
    context: int = 128

    def __post_init__(self) -> None:
        for name in ("layers", "hidden_size", "intermediate_size", "heads", "context"):
            require(getattr(self, name) >= 1, f"model.{name}", "must be at least 1")
        require(
            self.hidden_size % (2 * self.heads) == 0,
            "model.hidden_size",
            f"must be a multiple of twice model.heads ({2 * self.heads})",
        )


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """Sums of one-digit numbers, and what the demonstrations teach beside honest answers."""

    min_terms: int = 4
    max_terms: int = 6
    hedged_share: float = 0.15
    odd_share: float = 0.2  # of the answers that are not hedged

    def __post_init__(self) -> None:
        require(self.min_terms >= 2, "task.min_terms", "must be at least 2")
        require(
            self.max_terms >= self.min_terms, "task.max_terms", "must be at least task.min_terms"
        )
        for name in ("hedged_share", "odd_share"):
            require(0 <= getattr(self, name) <= 1, f"task.{name}", "must be between 0 and 1")


@dataclass(frozen=True, slots=True)
class ColdStartConfig:
    """Supervised steps before the reinforcement learning, until the model is right often enough."""

    threads: int = 2  # of torch; this part runs by itself, unlike the training
    learning_rate: float = 2e-3
    batch_size: int = 64
    warm_up_steps: int = 30
    min_steps: int = 150
    max_steps: int = 600
    check_every: int = 20
    check_problems: int = 128
    target_accuracy: float = 0.3

    def __post_init__(self) -> None:
        for name in ("threads", "batch_size", "max_steps", "check_every", "check_problems"):
            require(getattr(self, name) >= 1, f"cold_start.{name}", "must be at least 1")
        require(self.learning_rate > 0, "cold_start.learning_rate", "must be above 0")


@dataclass(frozen=True, slots=True)
class GrpoConfig:
    steps: int = 60
    prompts_per_step: int = 32
    group_size: int = 8
    max_new_tokens: int = 60
    learning_rate: float = 3e-4
    final_learning_rate_share: float = 0.1  # linear decay; a constant rate drifts down at the end
    warm_up_steps: int = 8
    minibatches: int = 4
    clip_low: float = 0.2
    clip_high: float = 0.28
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("steps", "prompts_per_step", "max_new_tokens", "warm_up_steps", "minibatches"):
            require(getattr(self, name) >= 1, f"grpo.{name}", "must be at least 1")
        require(
            self.group_size >= 2,
            "grpo.group_size",
            "must be at least 2: an advantage compares the rollouts of one prompt",
        )
        require(self.learning_rate > 0, "grpo.learning_rate", "must be above 0")
        require(0 < self.clip_low < 1, "grpo.clip_low", "must be between 0 and 1")
        require(self.clip_high > 0, "grpo.clip_high", "must be above 0")


@dataclass(frozen=True, slots=True)
class RewardConfig:
    source: str = "verdict"  # the raw verdict, the calibrated table, or (demo only) the truth
    verifier: str = "boxed-any"
    probe: bool = False  # look for known hacks: a hit puts the rollout into a cell of its own
    warm_up_steps: int = 8  # of raw verdicts before the first table is asked for
    wait_s: float = 120.0  # longest wait for a table that is valid at the coming step

    def __post_init__(self) -> None:
        require(self.source in REWARD_SOURCES, "reward.source", f"must be one of {REWARD_SOURCES}")
        _refuse_as_reward(self.verifier)
        require(self.warm_up_steps >= 0, "reward.warm_up_steps", "must not be negative")
        require(self.wait_s >= 0, "reward.wait_s", "must not be negative")


def _refuse_as_reward(verifier: str) -> None:
    """A reward is about correctness. Other channels are sent with the rollouts, if at all."""
    try:
        channel = listed(verifier).channel
    except UnknownVerifierError as error:
        raise ConfigError(f"reward.verifier: {error}") from None
    reason = (
        "optimising against a monitor teaches the policy to hide what it finds"
        if channel == "monitor"
        else "it says nothing of whether the answer is right"
    )
    require(
        channel == "correctness",
        "reward.verifier",
        f"{verifier} is of the channel {channel} and cannot be a reward: {reason};"
        " name one of the channel correctness",
    )


@dataclass(frozen=True, slots=True)
class TrainerConfig:
    run: RunConfig = field(default_factory=RunConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    cold_start: ColdStartConfig = field(default_factory=ColdStartConfig)
    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Raises ConfigError for an unknown section or key, a wrong type or an impossible value."""
        sections = get_type_hints(cls)
        _refuse_unknown(data, sections, prefix="")
        return cls(**{name: read_section(sections[name], f"{name}.", data[name]) for name in data})

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def with_overrides(self, *, seed: int | None, reward_source: str | None) -> Self:
        run = self.run if seed is None else dataclasses.replace(self.run, seed=seed)
        reward = self.reward
        if reward_source is not None:
            reward = dataclasses.replace(reward, source=reward_source)
        return dataclasses.replace(self, run=run, reward=reward)


def load_config(path: Path) -> TrainerConfig:
    """Read a TOML file; ConfigError names what is wrong with it."""
    return TrainerConfig.from_dict(read_toml(path))


def read_toml(path: Path) -> dict[str, Any]:
    """The file's keys. Raises ConfigError, naming the file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def read_section(kind: type[_Section], prefix: str, data: object) -> _Section:
    """The dataclass that these keys give; its messages name a key as "prefix" + key.

    Raises ConfigError for an unknown key, a wrong type or an impossible value.
    """
    if not isinstance(data, Mapping):
        name = prefix.removesuffix(".")
        raise ConfigError(f"{name}: must be a section, [{name}]")
    types = get_type_hints(kind)
    _refuse_unknown(data, types, prefix=prefix)
    return kind(**{key: _typed(types[key], prefix + key, data[key]) for key in data})


def _refuse_unknown(data: Mapping[str, Any], known: Mapping[str, Any], *, prefix: str) -> None:
    for key in data:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"known: {', '.join(known)}"
            raise ConfigError(f"{prefix}{key}: unknown; {hint}")


def _typed(kind: type, key: str, value: object) -> object:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:  # bool is an int, but not where an int is asked for
        raise ConfigError(f"{key}: must be {kind.__name__}, not {type(value).__name__}")
    return value
