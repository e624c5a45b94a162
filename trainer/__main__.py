"""Command line of the trainer: `python -m trainer train RECIPE --out DIR`, `... probe VERIFIER`,
`... fit-verifier LABELS --out DIR`."""

import argparse
import os
import sys
from pathlib import Path

from trainer import probe
from trainer.config import REWARD_SOURCES, ConfigError, TrainerConfig, load_config
from trainer.fitting.config import LEVELS, load_fit_config
from trainer.fitting.labels import LabelsError
from trainer.spool import SpoolError


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.command == "probe":
        return probe.run(options)
    try:
        if options.command == "fit-verifier":
            _fit_verifier(options)
            return 0
        config = load_config(options.recipe).with_overrides(
            seed=options.seed, reward_source=options.reward
        )
        _prepare_torch(config.run.threads)
        _train(config, options) if options.command == "train" else _cold_start(config, options)
    except (ConfigError, LabelsError, SpoolError) as error:
        sys.stderr.write(f"trainer: {error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser(
        "train",
        help="train one policy; streams to ASSAY_URL with ASSAY_TOKEN where they are set",
    )
    train.add_argument("--out", type=Path, required=True, help="folder of this run")
    train.add_argument("--reward", choices=REWARD_SOURCES, help="instead of the recipe's source")
    train.add_argument("--run-uid", help="names the run on the server for good")
    train.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    cold_start = commands.add_parser(
        "cold-start", help="only make the policy that training starts from"
    )
    cold_start.set_defaults(reward=None)
    probe.add_arguments(commands.add_parser("probe", help="attack a verifier"))
    for command in (train, cold_start):
        command.add_argument("recipe", type=Path, help="a TOML file, see trainer/recipes")
        command.add_argument("--seed", type=int, help="instead of the recipe's")
        command.add_argument(
            "--cold-starts",
            type=Path,
            required=command is cold_start,
            help="folder where cold starts are kept and shared (default: in the run's folder)",
        )
    fit = commands.add_parser("fit-verifier", help="fit a verifier to labels that were exported")
    fit.add_argument("labels", type=Path, nargs="+", help="exports of labels, format jsonl")
    fit.add_argument("--out", type=Path, required=True, help="new folder of the verifier")
    fit.add_argument("--recipe", type=Path, help="a TOML file with the keys of FitConfig")
    fit.add_argument("--level", choices=LEVELS, help="judge answers or steps")
    fit.add_argument("--model", help="what to start from: a folder or a hub id")
    fit.add_argument("--threshold", type=float, help="on P(right); else chosen on the dev prompts")
    fit.add_argument("--seed", type=int)
    return parser


def _prepare_torch(threads: int) -> None:
    """Must come before torch is imported: its threads busy-wait by default, which starves the
    other processes of a small machine."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def _train(config: TrainerConfig, options: argparse.Namespace) -> None:
    from trainer.train import Server, train

    train(
        config,
        out=options.out,
        cold_starts=options.cold_starts or options.out / "cold-starts",
        uid=options.run_uid,
        resume=options.resume,
        server=Server.from_environment(),
    )


def _cold_start(config: TrainerConfig, options: argparse.Namespace) -> None:
    from trainer.demo import task
    from trainer.demo.cold_start import cold_start
    from trainer.model import Tokenizer

    cold_start(config, Tokenizer(task.VOCABULARY), options.cold_starts)


def _fit_verifier(options: argparse.Namespace) -> None:
    from trainer.fit_verifier import fit_verifier

    names = ("level", "model", "threshold", "seed")
    config = load_fit_config(options.recipe, **{name: getattr(options, name) for name in names})
    fit_verifier(config, options.labels, options.out)


if __name__ == "__main__":
    sys.exit(main())
