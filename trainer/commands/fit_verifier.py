"""`python -m trainer fit-verifier LABELS --out DIR`."""

import argparse
import sys
from pathlib import Path

from trainer.config import ConfigError
from trainer.fitting.config import LEVELS, load_fit_config
from trainer.fitting.labels import LabelsError

_OVERRIDES = ("level", "model", "threshold", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("labels", type=Path, nargs="+", help="exports of labels, format jsonl")
    parser.add_argument("--out", type=Path, required=True, help="new folder of the verifier")
    parser.add_argument("--recipe", type=Path, help="a TOML file with the keys of FitConfig")
    parser.add_argument("--level", choices=LEVELS, help="judge answers or steps")
    parser.add_argument("--model", help="what to start from: a folder or a hub id")
    parser.add_argument("--threshold", type=float, help="on P(right); else chosen on dev prompts")
    parser.add_argument("--seed", type=int)


def run(options: argparse.Namespace) -> int:
    from trainer.fit_verifier import fit_verifier

    try:
        given = {name: getattr(options, name) for name in _OVERRIDES}
        fit_verifier(load_fit_config(options.recipe, **given), options.labels, options.out)
    except (ConfigError, LabelsError) as error:
        sys.stderr.write(f"trainer: {error}\n")
        return 2
    return 0
