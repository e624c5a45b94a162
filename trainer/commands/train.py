"""`python -m trainer train RECIPE --out DIR`, and `cold-start` for the policy it starts from."""

import argparse
import errno
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from trainer.config import REWARD_SOURCES, ConfigError, TrainerConfig, load_config
from trainer.spool import SpoolError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_STOPPED = 3  # exit status of a run that stopped by itself and can go on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of this run")
    parser.add_argument(
        "--cold-starts",
        type=Path,
        help="folder where cold starts are kept and shared (default: in the run's folder)",
    )
    parser.add_argument("--reward", choices=REWARD_SOURCES, help="instead of the recipe's source")
    parser.add_argument("--run-uid", help="names the run on the server for good")
    parser.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")


def add_cold_start_arguments(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser)
    parser.add_argument(
        "--cold-starts", type=Path, required=True, help="folder where cold starts are kept"
    )


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, help="a TOML file, see trainer/recipes")
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="instead of the recipe's; may be given more than once",
    )


def run(options: argparse.Namespace) -> int:
    try:
        config = load_config(options.recipe, options.set)
        config = config.with_overrides(seed=options.seed, reward_source=options.reward)
        _prepare_torch(config)
        return _train(config, options)
    except (ConfigError, SpoolError) as error:
        sys.stderr.write(f"trainer: {error}\n")
        return 2


def run_cold_start(options: argparse.Namespace) -> int:
    try:
        config = load_config(options.recipe, options.set).with_overrides(seed=options.seed)
        _prepare_torch(config)
        from trainer.train import make_cold_start

        with TemporaryDirectory() as scratch:
            make_cold_start(config, cold_starts=options.cold_starts, scratch=Path(scratch))
    except ConfigError as error:
        sys.stderr.write(f"trainer: {error}\n")
        return 2
    return 0


def _prepare_torch(config: TrainerConfig) -> None:
    """Must come before torch is imported: its threads busy-wait by default, which starves the
    other processes of a small machine."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", str(config.run.threads))


def _train(config: TrainerConfig, options: argparse.Namespace) -> int:
    from transformers.utils import logging

    from trainer.hold import HoldError
    from trainer.stages.errors import TrainingError
    from trainer.train import Server, train

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        train(
            config,
            out=options.out,
            cold_starts=options.cold_starts or options.out / "cold-starts",
            uid=options.run_uid,
            resume=options.resume,
            server=Server.from_environment(),
        )
    except (TrainingError, HoldError) as error:
        sys.stderr.write(f"trainer: {error}\n")
        return _STOPPED
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        sys.stderr.write(f"trainer: {error}; make room and go on with --resume\n")
        return _STOPPED
    return 0
