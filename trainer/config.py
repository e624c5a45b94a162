"""The trainer's configuration: frozen dataclasses read from TOML; unknown keys are refused."""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Self, TypeVar, get_args, get_origin, get_type_hints

from trainer.objectives import COMBINATIONS, NAMED, Objective, ObjectiveError
from trainer.verifiers import UnknownVerifierError, listed

REWARD_SOURCES = ("verdict", "table", "true", "random")
TRUNCATED = ("judged", "wrong", "filtered", "punished")
ON_HOLD = ("go on", "pause", "stop")
DTYPES = ("float32", "bfloat16")
ENGINES = ("own", "vllm")

_Section = TypeVar("_Section")


class ConfigError(ValueError):
    """A setting is unknown or cannot work; the message names the key and what to change."""


def require(is_met: bool, key: str, fix: str) -> None:
    """Raises ConfigError, "key: fix", where it is not met."""
    if not is_met:
        raise ConfigError(f"{key}: {fix}")


def _require_at_least(least: float, section: object, prefix: str, *names: str) -> None:
    for name in names:
        fix = "must not be negative" if least == 0 else f"must be at least {least:g}"
        require(getattr(section, name) >= least, f"{prefix}.{name}", fix)


def _require_above_0(section: object, prefix: str, *names: str) -> None:
    for name in names:
        require(getattr(section, name) > 0, f"{prefix}.{name}", "must be above 0")


def _require_one_of(known: tuple[str, ...], section: object, prefix: str, name: str) -> None:
    fix = f"must be one of {', '.join(known)}"
    require(getattr(section, name) in known, f"{prefix}.{name}", fix)


@dataclass(frozen=True, slots=True)
class RunConfig:
    name: str = "demo"
    seed: int = 0
    threads: int = 1  # of torch; two collapse where other processes use the same cores
    eval_every: int = 5
    eval_problems: int = 256
    # Completions per held-out problem at the ends of a stage, one between; more give pass@k.
    eval_samples: int = 1
    checkpoint_every: int = 1
    log_completions: bool = False  # completions/*.parquet, as TRL writes them
    tensorboard: bool = False
    on_hold: str = "go on"  # when the server's signal says so: go on (with a warning), pause, stop

    def __post_init__(self) -> None:
        counts = ("threads", "eval_every", "eval_problems", "eval_samples", "checkpoint_every")
        _require_at_least(1, self, "run", *counts)
        _require_at_least(0, self, "run", "seed")
        _require_one_of(ON_HOLD, self, "run", "on_hold")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model of this shape with random weights; with `path` (a folder or a hub id) that model,
    of which `context` and what stands below it are used alone."""

    path: str = ""
    layers: int = 3
    hidden_size: int = 96
    intermediate_size: int = 288
    heads: int = 4
    context: int = 128  # most tokens of prompt and completion together
    dtype: str = "float32"  # of weights and arithmetic; an optimiser's steps are float32
    gradient_checkpointing: bool = False
    lora_rank: int = 0  # 0 = all weights are trained
    system_prompt: str = ""  # of chat models

    def __post_init__(self) -> None:
        shape = ("layers", "hidden_size", "intermediate_size", "heads", "context")
        _require_at_least(1, self, "model", *shape)
        _require_at_least(0, self, "model", "lora_rank")
        _require_one_of(DTYPES, self, "model", "dtype")
        require(
            self.hidden_size % (2 * self.heads) == 0,
            "model.hidden_size",
            f"must be a multiple of twice model.heads ({2 * self.heads})",
        )


@dataclass(frozen=True, slots=True)
class SumsConfig:
    """Sums of one-digit numbers, and what the demonstrations teach beside honest answers."""

    kind: str = "sums"
    min_terms: int = 4
    max_terms: int = 6
    hedged_share: float = 0.15
    odd_share: float = 0.2  # of the answers that are not hedged

    def __post_init__(self) -> None:
        _require_at_least(2, self, "task", "min_terms")
        require(
            self.max_terms >= self.min_terms, "task.max_terms", "must be at least task.min_terms"
        )
        for name in ("hedged_share", "odd_share"):
            require(0 <= getattr(self, name) <= 1, f"task.{name}", "must be between 0 and 1")


@dataclass(frozen=True, slots=True)
class JsonlConfig:
    """Problems from a file with one JSON object a line."""

    kind: str = "jsonl"
    path: str = ""
    prompt_field: str = "prompt"
    reference_field: str = "reference"
    reference_after: str = ""  # the reference is what follows this text's last occurrence
    demonstration_field: str = ""  # a response to learn from in a cold start; "" = there is none
    difficulty_field: str = ""  # a whole number, 0 to 100
    domain: str = "math"
    source: str = ""  # "" = the file's name

    def __post_init__(self) -> None:
        for name in ("path", "prompt_field", "reference_field"):
            require(bool(getattr(self, name)), f"task.{name}", "must be named")


TaskConfig = SumsConfig | JsonlConfig
_TASKS: dict[str, type[SumsConfig] | type[JsonlConfig]] = {
    "sums": SumsConfig,
    "jsonl": JsonlConfig,
}


@dataclass(frozen=True, slots=True)
class ColdStartConfig:
    """Supervised steps on demonstrations, until the model is right often enough."""

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
        counts = ("threads", "batch_size", "warm_up_steps", "max_steps", "check_every")
        _require_at_least(1, self, "cold_start", *counts, "check_problems")
        _require_above_0(self, "cold_start", "learning_rate")


@dataclass(frozen=True, slots=True)
class GrpoConfig:
    steps: int = 60
    prompts_per_step: int = 32
    group_size: int = 8
    max_new_tokens: int = 60
    temperature: float = 1.0
    learning_rate: float = 3e-4
    final_learning_rate_share: float = 0.1  # linear decay; a constant rate drifts down at the end
    warm_up_steps: int = 8
    epochs: int = 1
    minibatches: int = 4
    micro_rows: int = 0  # rows of one forward pass; 0 = a minibatch's at once
    max_grad_norm: float = 1.0
    truncated: str = "judged"  # as its text is, as wrong, left out, or punished by its length
    overlong_buffer: int = 16  # tokens before the budget's end over which the punishment grows
    extra_batches: int = 0  # sampled to replace groups in which all verdicts are the same
    importance_cap: float = 2.0  # of weights where sampling and training disagree

    def __post_init__(self) -> None:
        counts = ("steps", "prompts_per_step", "max_new_tokens", "warm_up_steps", "minibatches")
        _require_at_least(1, self, "grpo", *counts, "epochs", "importance_cap")
        _require_at_least(0, self, "grpo", "micro_rows", "extra_batches")
        _require_above_0(self, "grpo", "learning_rate", "temperature", "max_grad_norm")
        _require_one_of(TRUNCATED, self, "grpo", "truncated")
        require(
            self.group_size >= 2,
            "grpo.group_size",
            "must be at least 2: an advantage compares the rollouts of one prompt",
        )
        require(
            1 <= self.overlong_buffer <= self.max_new_tokens,
            "grpo.overlong_buffer",
            "must be between 1 and grpo.max_new_tokens",
        )


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """Who samples: the trained model itself ("own"), or vLLM beside it, where it is installed."""

    engine: str = "own"
    cache_gib: float = 4.0  # of vLLM's keys and values

    def __post_init__(self) -> None:
        _require_one_of(ENGINES, self, "sampling", "engine")
        _require_above_0(self, "sampling", "cache_gib")


@dataclass(frozen=True, slots=True)
class CriticConfig:
    """The value function of PPO (objective "ppo"): the policy's layers with a head of its own."""

    learning_rate: float = 1e-3
    warm_up_steps: int = 5  # in which it learns alone

    def __post_init__(self) -> None:
        _require_above_0(self, "critic", "learning_rate")
        _require_at_least(0, self, "critic", "warm_up_steps")


@dataclass(frozen=True, slots=True)
class RejectionConfig:
    """Rejection sampling: supervised steps on the policy's own accepted completions."""

    problems: int = 256
    samples: int = 8  # completions per problem
    kept: int = 2  # of a problem's accepted ones at most; the rest would teach easy problems
    epochs: int = 2
    batch_size: int = 64
    learning_rate: float = 3e-4

    def __post_init__(self) -> None:
        _require_at_least(
            1, self, "rejection", "problems", "samples", "kept", "epochs", "batch_size"
        )
        _require_above_0(self, "rejection", "learning_rate")


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """A verifier beside the correctness one, whose score is a reward of its own."""

    verifier: str = "format"
    weight: float = 0.1
    parameters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        channel = _channel_of(self.verifier, "reward.channels.verifier")
        require(
            channel not in {"monitor", "correctness"},
            "reward.channels.verifier",
            f"{self.verifier} is of the channel {channel}: " + _WHY_NOT_A_CHANNEL.get(channel, ""),
        )


@dataclass(frozen=True, slots=True)
class RewardConfig:
    source: str = "verdict"  # raw verdict, calibrated table, (demo only) the truth, or a coin
    verifier: str = "boxed-any"
    parameters: dict[str, Any] = field(default_factory=dict)  # of the verifier
    probe: bool = False  # look for known hacks: a hit puts the rollout into a cell of its own
    warm_up_steps: int = 8  # of raw verdicts before the first table is asked for
    wait_s: float = 120.0  # longest wait for a table that is valid at the coming step
    channels: tuple[ChannelConfig, ...] = ()
    combination: str = "sum"  # of channels: add, then normalise; or normalise each, then add

    def __post_init__(self) -> None:
        _require_one_of(REWARD_SOURCES, self, "reward", "source")
        _require_one_of(COMBINATIONS, self, "reward", "combination")
        channel = _channel_of(self.verifier, "reward.verifier")
        require(
            channel == "correctness",
            "reward.verifier",
            f"{self.verifier} is of the channel {channel} and cannot be a reward:"
            f" {_WHY_NOT_A_REWARD.get(channel, _OF_ANOTHER_CHANNEL)};"
            " name one of the channel correctness",
        )
        _require_at_least(0, self, "reward", "warm_up_steps", "wait_s")
        names = [channel.verifier for channel in self.channels]
        require(
            len(names) == len(set(names)),
            "reward.channels",
            "name a verifier twice; each is one channel: put what both look for into one",
        )


_OF_ANOTHER_CHANNEL = "it says nothing of whether the answer is right"
_WHY_NOT_A_REWARD = {
    "monitor": "optimising against a monitor teaches the policy to hide what it finds"
}
_WHY_NOT_A_CHANNEL = _WHY_NOT_A_REWARD | {"correctness": "name it as reward.verifier"}


def _channel_of(verifier: str, key: str) -> str:
    try:
        return listed(verifier).channel
    except UnknownVerifierError as error:
        raise ConfigError(f"{key}: {error}") from None


@dataclass(frozen=True, slots=True)
class StageConfig:
    """One stage of a recipe: its kind names the section that it is run by.

    gate: the share of held-out problems that the verifier must accept after it, or the run stops.
    settings: keys of that section which this stage has otherwise.
    """

    kind: str
    gate: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_one_of(STAGES, self, "stages", "kind")
        require(0 <= self.gate <= 1, "stages.gate", "must be between 0 and 1")


STAGES = ("cold_start", "grpo", "rejection")
_USUAL_STAGES = (StageConfig("cold_start"), StageConfig("grpo"))


@dataclass(frozen=True, slots=True)
class TrainerConfig:
    run: RunConfig = field(default_factory=RunConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = field(default_factory=SumsConfig)
    cold_start: ColdStartConfig = field(default_factory=ColdStartConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    objective: Objective = NAMED["dapo"]
    critic: CriticConfig = field(default_factory=CriticConfig)
    rejection: RejectionConfig = field(default_factory=RejectionConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    stages: tuple[StageConfig, ...] = _USUAL_STAGES

    def __post_init__(self) -> None:
        require(bool(self.stages), "stages", "must hold at least one stage")
        require(
            all(stage.kind != "cold_start" for stage in self.stages[1:]),
            "stages.kind",
            "cold_start makes the policy that training starts from: it can only be the first stage",
        )
        for number in range(len(self.stages)):
            self.at_stage(number)
        self._check_objective()

    def _check_objective(self) -> None:
        advantage, reward = self.objective.advantage, self.reward
        kinds = {listed(channel.verifier).channel for channel in reward.channels}
        require(
            advantage != "steps" or "process" in kinds,
            "objective.advantage",
            '"steps" wants step scores: name a verifier of the channel process in reward.channels',
        )
        require(
            advantage != "pass-at-k" or (reward.source != "table" and not reward.channels),
            "objective.advantage",
            '"pass-at-k" wants rewards of 0 and 1: reward.source "verdict", and no channels',
        )
        is_punished = self.grpo.truncated == "punished"
        require(
            not is_punished or advantage not in {"pass-at-k", "steps"},
            "grpo.truncated",
            f'"{advantage}" advantages know no punishment: make it "wrong" or "filtered"',
        )
        require(
            advantage != "pass-at-k" or self.objective.k <= self.grpo.group_size,
            "objective.k",
            f"must be at most grpo.group_size ({self.grpo.group_size})",
        )
        require(
            advantage != "expected"
            or not (reward.channels or is_punished)
            or reward.combination != "sum",
            "reward.combination",
            '"expected" advantages of a sum mean nothing: make it "normalise-first"',
        )
        require(
            not (self.objective.needs_critic and self.model.lora_rank),
            "model.lora_rank",
            "a critic needs all weights: make it 0, or take an objective without a critic",
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Raises ConfigError for an unknown section or key, a wrong type or an impossible value."""
        sections = get_type_hints(cls)
        _refuse_unknown(data, sections, prefix="")
        read = {name: _section(name, sections[name], data[name]) for name in data}
        return cls(**read)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def at_stage(self, number: int) -> Self:
        """The configuration with that stage's own settings. Raises ConfigError."""
        stage = self.stages[number]
        section = getattr(self, stage.kind)
        given = dataclasses.asdict(section) | stage.settings
        read = read_section(type(section), f"stages[{number + 1}].settings.", given)
        if read == section:
            return self
        settled = tuple(dataclasses.replace(stage, settings={}) for stage in self.stages)
        changes: dict[str, Any] = {stage.kind: read, "stages": settled}
        return dataclasses.replace(self, **changes)

    def with_overrides(self, *, seed: int | None = None, reward_source: str | None = None) -> Self:
        run = self.run if seed is None else dataclasses.replace(self.run, seed=seed)
        reward = self.reward
        if reward_source is not None:
            reward = dataclasses.replace(reward, source=reward_source)
        return dataclasses.replace(self, run=run, reward=reward)


def load_config(path: Path, settings: Sequence[str] = ()) -> TrainerConfig:
    """Read a TOML file; ConfigError names what is wrong with it.

    settings: "section.key=value", each instead of what the file says; the value as TOML has it, or
    a plain text.
    """
    data = read_toml(path)
    for setting in settings:
        key, is_set, value = setting.partition("=")
        section, is_key, name = key.strip().partition(".")
        require(bool(is_set and is_key), f"--set {setting}", "must be section.key=value")
        keys = data.setdefault(section, {})
        require(isinstance(keys, dict), f"--set {setting}", f"[{section}] is no section of keys")
        keys[name] = _toml_value(value.strip())
    return TrainerConfig.from_dict(data)


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def read_toml(path: Path) -> dict[str, Any]:
    """The file's keys. Raises ConfigError, naming the file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _section(name: str, kind: Any, data: object) -> Any:
    """A section of the recipe: most are their dataclass, the others say by a key which they are."""
    if name == "stages":
        return _sections(StageConfig, "stages", data)
    if name == "objective":
        return _objective(data)
    if name == "task":
        named = data.get("kind", "sums") if isinstance(data, Mapping) else "sums"
        require(named in _TASKS, "task.kind", f"must be one of {', '.join(_TASKS)}")
        kind = _TASKS[named]
    return read_section(kind, f"{name}.", data)


def _objective(data: object) -> Objective:
    """A named objective, with the keys that are given otherwise."""
    if not isinstance(data, Mapping):
        raise ConfigError("objective: must be a section, [objective]")
    given = dict(data)
    name = given.pop("name", "dapo")
    require(name in NAMED, "objective.name", f"must be one of {', '.join(NAMED)}")
    try:
        return read_section(Objective, "objective.", dataclasses.asdict(NAMED[name]) | given)
    except ObjectiveError as error:
        raise ConfigError(f"objective.{error}") from error


def read_section(kind: type[_Section], prefix: str, data: object) -> _Section:
    """The dataclass that these keys give; its messages name a key as "prefix" + key.

    Raises ConfigError for an unknown key, a wrong type or an impossible value.
    """
    if not isinstance(data, Mapping):
        name = prefix.removesuffix(".")
        raise ConfigError(f"{name}: must be a section, [{name}]")
    types = get_type_hints(kind)
    _refuse_unknown(data, types, prefix=prefix)
    required = [f.name for f in dataclasses.fields(kind) if _is_required(f)]  # type: ignore[arg-type]
    for name in required:
        require(name in data, prefix + name, "is missing")
    return kind(**{key: _typed(types[key], prefix + key, data[key]) for key in data})


def _is_required(key: "dataclasses.Field[Any]") -> bool:
    return key.default is dataclasses.MISSING and key.default_factory is dataclasses.MISSING


def _sections(kind: type[_Section], name: str, data: object) -> tuple[_Section, ...]:
    if not isinstance(data, list | tuple):
        raise ConfigError(f"{name}: must be sections, [[{name}]]")
    return tuple(read_section(kind, f"{name}[{i}].", part) for i, part in enumerate(data, start=1))


def _refuse_unknown(data: Mapping[str, Any], known: Mapping[str, Any], *, prefix: str) -> None:
    for key in data:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"known: {', '.join(known)}"
            raise ConfigError(f"{prefix}{key}: unknown; {hint}")


def _typed(kind: Any, key: str, value: object) -> object:
    if kind is float and type(value) is int:
        return float(value)
    if get_origin(kind) is tuple:
        return _sections(get_args(kind)[0], key, value)
    if get_origin(kind) is dict:
        kind = dict
    if isinstance(kind, UnionType):  # X | None: TOML has no null, so it is there or left out
        kind = next(part for part in get_args(kind) if part is not type(None))
        return None if value is None else _typed(kind, key, value)
    if type(value) is not kind:  # bool is an int, but not where an int is asked for
        raise ConfigError(f"{key}: must be {kind.__name__}, not {type(value).__name__}")
    return value
