"""Everything a run needs to go on where it stopped, in one file.

Random numbers are not in it: each use makes its own from the run's seed and its place in the run
(`generation.seed_of`).
"""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from trainer.config import ConfigError, TrainerConfig
from trainer.data import code_commit

FILE_NAME = "checkpoint.pt"
# What a run may go on with otherwise: it changes no step that has been made.
_FREE = {
    "run": {"eval_every", "checkpoint_every", "log_completions", "tensorboard", "on_hold"},
    "reward": {"wait_s"},
    "grpo": {"learning_rate"},
    "rejection": {"learning_rate", "problems"},
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is: `steps` have been made, `done` of them in the stage that is number `stage`
    (from 0), and `problems` taken from the task's stream."""

    stage: int = 0
    done: int = 0
    steps: int = 0
    problems: int = 0

    def next_stage(self) -> "Place":
        return Place(self.stage + 1, 0, self.steps, self.problems)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place, and by name the states of what had changed by then: "policy", "optimiser" ..."""

    place: Place
    states: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def first_step(self) -> int:
        """The first step that a run which goes on from here makes (anew); 0 is the look before."""
        return self.place.steps + 1 if self.place.steps else 0

    def save(self, directory: Path, *, config: TrainerConfig, uid: str) -> None:
        """Write it; an interrupted write leaves the previous checkpoint whole."""
        place = self.place
        contents = {
            **self.states,
            "place": [place.stage, place.done, place.steps, place.problems],
            "uid": uid,
            "config": json.dumps(config.to_dict()),
            "commit": code_commit(),
        }
        unfinished = directory / f"{FILE_NAME}.part"
        with unfinished.open("wb") as file:
            torch.save(contents, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(directory / FILE_NAME)


def load(directory: Path, config: TrainerConfig) -> tuple[str, Checkpoint]:
    """The uid of the run that the directory's checkpoint belongs to, and the checkpoint.

    Raises ConfigError when there is none or it was made with other settings, but for the free ones:
    these are named on stderr.
    """
    path = directory / FILE_NAME
    if not path.exists():
        raise ConfigError(f"--resume: there is no checkpoint in {directory}")
    contents: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    was, now = json.loads(contents["config"]), json.loads(json.dumps(config.to_dict()))
    if kept := sorted(_differences(_without_free(was), _without_free(now))):
        named = ", ".join(kept)
        raise ConfigError(
            f"--resume: {directory} was made with other settings ({named}); use its recipe"
        )
    if changed := sorted(_differences(was, now)):
        sys.stderr.write(
            f"warning: goes on with other settings: {', '.join(changed)}; of steps that are made"
            " again the server keeps what it was sent first\n"
        )
    states = {name: state for name, state in contents.items() if isinstance(state, dict)}
    return str(contents["uid"]), Checkpoint(Place(*contents["place"]), states)


def _without_free(config: dict[str, Any]) -> dict[str, Any]:
    stages = [
        {
            "kind": stage["kind"],
            "settings": _others(stage["settings"], _FREE.get(stage["kind"], set())),
        }
        for stage in config["stages"]
    ]
    sections = {name: _others(keys, _FREE.get(name, set())) for name, keys in config.items()}
    return sections | {"stages": stages}


def _others(section: Any, free: set[str]) -> Any:
    if not isinstance(section, dict):
        return section
    return {name: value for name, value in section.items() if name not in free}


def _differences(was: dict[str, Any], now: dict[str, Any]) -> set[str]:
    """The settings, as "section.key", that are not the same."""
    found: set[str] = set()
    for name in was.keys() | now.keys():
        one, other = was.get(name), now.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            found |= {
                f"{name}.{k}" for k in one.keys() | other.keys() if one.get(k) != other.get(k)
            }
        elif one != other:
            found.add(name)
    return found
