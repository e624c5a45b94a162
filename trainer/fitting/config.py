"""What a fit is told: one flat TOML file, unknown keys refused."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from trainer.config import read_section, read_toml, require

LEVELS = ("outcome", "step")


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How a verifier is fitted to labels.

    level: "outcome" judges the answer, "step" each step.
    model: what to start from, a folder or a hub id; "" = a small one with random weights.
    separator: what ends each step, at step level.
    context: tokens, or as many as the model reads if these are fewer; what is longer is not trained
    on, and undecided when it is judged.
    held_out_share, dev_share: of the prompts. The held-out ones are for the figures alone; the dev
    ones stop the training and choose temperature and threshold.
    threshold: 0 = chosen on the dev prompts.
    learning_rate: 0 = 5e-4 for random weights, 2e-5 for a model to start from.
    vocabulary, layers, hidden_size, heads: of the model with random weights.
    """

    level: str = "outcome"
    model: str = ""
    separator: str = "\n"
    context: int = 1024
    seed: int = 0
    held_out_share: float = 0.2
    dev_share: float = 0.15
    threshold: float = 0.0
    epochs: int = 20
    patience: int = 3
    batch_size: int = 16
    learning_rate: float = 0.0
    warm_up_share: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    threads: int = 1
    vocabulary: int = 2048
    layers: int = 2
    hidden_size: int = 64
    heads: int = 4

    def __post_init__(self) -> None:
        require(self.level in LEVELS, "level", f"must be one of {LEVELS}")
        require(self.separator != "", "separator", "must not be empty")
        for name in ("epochs", "patience", "batch_size", "threads", "layers", "heads"):
            require(getattr(self, name) >= 1, name, "must be at least 1")
        require(self.context >= 16, "context", "must be at least 16")
        require(self.vocabulary >= 300, "vocabulary", "must be at least 300: every byte has one")
        require(
            self.hidden_size >= 1 and self.hidden_size % (2 * self.heads) == 0,
            "hidden_size",
            f"must be a multiple of twice heads ({2 * self.heads})",
        )
        for name in ("held_out_share", "dev_share"):
            require(0 < getattr(self, name) < 1, name, "must be between 0 and 1")
        require(
            self.held_out_share + self.dev_share < 1,
            "dev_share",
            "must leave prompts to train on beside held_out_share",
        )
        require(0 <= self.threshold < 1, "threshold", "must be at least 0 and below 1")
        require(0 <= self.warm_up_share < 1, "warm_up_share", "must be at least 0 and below 1")
        for name in ("learning_rate", "weight_decay", "seed"):
            require(getattr(self, name) >= 0, name, "must not be negative")
        require(self.max_grad_norm > 0, "max_grad_norm", "must be above 0")

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Raises ConfigError for an unknown key, a wrong type or an impossible value."""
        return read_section(cls, "", data)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def load_fit_config(path: Path | None, **overrides: object) -> FitConfig:
    """The file's settings under those given here; None among these = as the file says.

    Raises ConfigError, naming the key and the rule.
    """
    data = {} if path is None else read_toml(path)
    given = {name: value for name, value in overrides.items() if value is not None}
    return FitConfig.from_dict(data | given)
