"""Command line of the trainer: `python -m trainer train RECIPE --out DIR`, `... probe VERIFIER`,
`... fit-verifier LABELS --out DIR`."""

import argparse
import sys

from trainer.commands import fit_verifier, probe, train


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, add_arguments, run, words in (
        (
            "train",
            train.add_arguments,
            train.run,
            "train one policy; streams to ASSAY_URL with ASSAY_TOKEN where they are set",
        ),
        (
            "cold-start",
            train.add_cold_start_arguments,
            train.run_cold_start,
            "only make the policy that training starts from",
        ),
        ("probe", probe.add_arguments, probe.run, "attack a verifier"),
        (
            "fit-verifier",
            fit_verifier.add_arguments,
            fit_verifier.run,
            "fit a verifier to labels that were exported",
        ),
    ):
        command = commands.add_parser(name, help=words)
        add_arguments(command)
        command.set_defaults(run=run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
