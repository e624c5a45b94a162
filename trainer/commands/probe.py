"""The command `python -m trainer probe`: attack a verifier and say which attacks it accepts.

Exit status: 0; 1 when an attack is accepted that an earlier result (--against) did not accept, or
when more than --at-most of the attacks succeed; 2 when it cannot run.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.verifiers import ParameterError, UnknownVerifierError, build, known_names, listed
from trainer.verifiers.probes import (
    KINDS,
    Attack,
    ProbeError,
    SuiteResult,
    attacked_kind,
    built_in_attacks,
    compare,
    in_markdown,
    in_words,
    known_families,
    read_attacks,
    read_prompts,
    run_suite,
    to_json,
    with_attacks,
)
from trainer.verifiers.probes.suite import PER_ATTACK

_CANNOT_RUN = (ProbeError, ParameterError, UnknownVerifierError, ImportError)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("verifier", nargs="?", help="name of a built-in verifier")
    which.add_argument("--all", action="store_true", help="every one that takes no parameters")
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--kind", choices=KINDS, help="what it judges, if not as registered")
    parser.add_argument("--family", action="append", default=[], help="only these attacks")
    parser.add_argument("--prompts", type=Path, help="JSON lines, instead of the built-in prompts")
    parser.add_argument("--attacks", type=Path, help="JSON lines, beside the built-in attacks")
    parser.add_argument("--per-attack", type=_count, default=PER_ATTACK, help="prompts at most")
    parser.add_argument("--seed", type=int, default=0, help="draws the prompts of an attack")
    parser.add_argument("--markdown", action="store_true", help="a table for a README")
    parser.add_argument("--out", type=Path, help="keep the result, as JSON")
    parser.add_argument("--against", type=Path, help="a result kept before")
    parser.add_argument("--at-most", type=_share, help="the success rate that is let pass, 0 to 1")


def run(options: argparse.Namespace) -> int:
    """Run the command; answers its exit status."""
    try:
        return _all(options) if options.all else _one(options)
    except _CANNOT_RUN as error:
        sys.stderr.write(f"trainer: {error}\n")
        return 2


def _one(options: argparse.Namespace) -> int:
    listed(options.verifier)
    attacks = _attacks(options)
    earlier = None if options.against is None else _kept_result(options.against)
    kind = options.kind or attacked_kind(options.verifier)
    prompts = None
    if options.prompts is not None:
        prompts = read_prompts(options.prompts, kind=kind or "judge")
    verifier = build(options.verifier, **_params(options.param))
    result = run_suite(
        verifier, prompts, attacks, kind=kind, seed=options.seed, per_attack=options.per_attack
    )
    kept = to_json(result)
    comparison = None if earlier is None else compare(earlier, kept)
    _write(in_markdown([result], {}) if options.markdown else in_words(result, comparison))
    if options.out is not None:
        _keep(kept, options.out)
    is_worse = comparison is not None and bool(comparison.regressions)
    return int(is_worse or _is_above([result], options.at_most))


def _all(options: argparse.Namespace) -> int:
    """Every verifier that can be built as it comes; the others are named with the reason."""
    for name in ("param", "kind", "prompts", "out", "against"):
        if getattr(options, name):
            raise ProbeError(f"--{name}: goes with one verifier, not with --all")
    attacks = _attacks(options)
    results, left_out = [], {}
    for name in known_names():
        if listed(name).channel != "correctness":
            continue
        try:
            results.append(
                run_suite(
                    build(name), None, attacks, seed=options.seed, per_attack=options.per_attack
                )
            )
        except _CANNOT_RUN as error:
            left_out[name] = str(error)
    if options.markdown:
        _write(in_markdown(results, left_out))
    else:
        _write("\n".join(map(in_words, results)))
        _write("".join(f"\nNot attacked: {name} ({why})\n" for name, why in left_out.items()))
    return int(_is_above(results, options.at_most))


def _attacks(options: argparse.Namespace) -> tuple[Attack, ...]:
    """The attacks to try; the controls are always among them."""
    attacks = built_in_attacks()
    if options.attacks is not None:
        attacks = with_attacks(attacks, read_attacks(options.attacks))
    if not options.family:
        return attacks
    families = {attack.family for attack in attacks}
    for family in options.family:
        if family not in families:
            known = ", ".join(sorted(families | set(known_families())))
            raise ProbeError(f"--family: no attack is of {family!r}; known: {known}")
    return tuple(one for one in attacks if one.is_control or one.family in options.family)


def _params(given: Sequence[str]) -> dict[str, Any]:
    """Values are JSON where they are, and text otherwise."""
    params: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name.isidentifier():
            raise ProbeError(f"--param: must be NAME=VALUE, not {text!r}")
        try:
            params[name] = json.loads(value)
        except ValueError:
            params[name] = value
    return params


def _kept_result(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProbeError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ProbeError(f"{path}: is not JSON: {error}") from error
    if not isinstance(result, dict):
        raise ProbeError(f"{path}: is not a result of the probe suite")
    return result


def _keep(result: dict[str, Any], path: Path) -> None:
    try:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ProbeError(f"cannot write {path}: {error.strerror}") from error


def _is_above(results: Sequence[SuiteResult], at_most: float | None) -> bool:
    rates = [result.overall.rate for result in results]
    return at_most is not None and any(rate is not None and rate.point > at_most for rate in rates)


def _write(text: str) -> None:
    sys.stdout.write(text)


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, not {text}")
    return share


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return count
