"""Who samples for the trained model: itself, or an engine that serves a copy of it."""

from collections.abc import Sequence
from typing import Protocol

from trainer.generation import Completions

# B = prompts


class Engine(Protocol):
    """Draws completions of the policy."""

    is_exact: bool  # whether its log-probabilities are the trained model's own

    def refresh(self) -> None:
        """Sample from the weights as they are now."""

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[str],
        *,
        n: int,
        budget: int,
        temperature: float,
    ) -> Completions:
        """n completions of at most `budget` tokens for each of B prompts.

        prompts: their tokens. keys: (B,) what a prompt's draws depend on, beside the run's seed.
        """
