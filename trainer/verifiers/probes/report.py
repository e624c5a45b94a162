"""A result as JSON to keep, as a table to read, and beside an earlier one."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trainer.verifiers.probes.errors import ProbeError
from trainer.verifiers.probes.suite import FORMAT, SuiteResult, Tally, Tried

_MAX_KEPT_CHARACTERS = 4_000
_MAX_SHOWN_CHARACTERS = 100
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def to_json(result: SuiteResult) -> dict[str, Any]:
    """The result as JSON holds it and a database can store it; long texts are cut.

    "attempts": every try in short, which `compare` reads. "accepted" and "rejected_controls":
    the tries that should have ended otherwise, with problem, references and response.
    """
    return {
        "format": FORMAT,
        "verifier": result.verifier,
        "version": result.version,
        "params": dict(result.params),
        "kind": result.kind,
        "seed": result.seed,
        "per_attack": result.per_attack,
        "seconds": result.seconds,
        "overall": asdict(result.overall),
        "families": {family: asdict(tally) for family, tally in result.families().items()},
        "controls": asdict(result.honest),
        "without_prompt": list(result.without_prompt),
        "attempts": [_in_short(one) for one in (*result.tried, *result.controls)],
        "accepted": [_at_length(one) for one in result.accepted()],
        "rejected_controls": [_at_length(one) for one in result.rejected_controls()],
    }


def _in_short(tried: Tried) -> dict[str, Any]:
    return {
        "attack": tried.attempt.attack.id,
        "family": tried.attempt.attack.family,
        "prompt": tried.attempt.prompt.id,
        "must": tried.attempt.attack.must,
        "outcome": str(tried.verdict.outcome),
    }


def _at_length(tried: Tried) -> dict[str, Any]:
    attack, item, verdict = tried.attempt.attack, tried.attempt.item, tried.verdict
    return {
        **_in_short(tried),
        "targets": attack.targets,
        "source": attack.source,
        "problem": _kept(item.problem),
        "references": [_kept(reference) for reference in item.references],
        "response": _kept(item.response),
        "extracted": None if verdict.extracted is None else _kept(verdict.extracted),
        "path": verdict.path,
        "form": verdict.form,
        "detail": _kept(verdict.detail),
    }


def _kept(text: str) -> str:
    kept = _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text[:_MAX_KEPT_CHARACTERS])
    left_out = len(text) - _MAX_KEPT_CHARACTERS
    return f"{kept}\n[{left_out} more characters]" if left_out > 0 else kept


@dataclass(frozen=True, slots=True)
class Comparison:
    """A result beside an earlier one, by (attack, prompt).

    regressions: passed now and tried but not passed before. mended: the other way round.
    lost_controls: honest answers that were passed before and are not now.
    new_accepted: passed now and not tried before.
    """

    regressions: tuple[tuple[str, str], ...]
    mended: tuple[tuple[str, str], ...]
    lost_controls: tuple[tuple[str, str], ...]
    new_accepted: tuple[tuple[str, str], ...]


def compare(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> Comparison:
    """Two results as `to_json` gave them. Raises ProbeError for anything else, or for results of
    verifiers of different kinds."""
    before, after = _outcomes(earlier, "earlier"), _outcomes(now, "now")
    if earlier["kind"] != now["kind"]:
        raise ProbeError(f"kind: the earlier result is of {earlier['kind']}, not {now['kind']}")
    attacks = [key for key, (must, _) in after.items() if must == "not-pass"]
    controls = [key for key, (must, _) in after.items() if must == "pass"]
    passed_now = {key for key, (_, outcome) in after.items() if outcome == "pass"}
    passed_before = {key for key, (_, outcome) in before.items() if outcome == "pass"}
    tried = [key for key in attacks if key in before]
    return Comparison(
        regressions=tuple(key for key in tried if key in passed_now - passed_before),
        mended=tuple(key for key in tried if key in passed_before - passed_now),
        lost_controls=tuple(key for key in controls if key in passed_before - passed_now),
        new_accepted=tuple(key for key in attacks if key in passed_now and key not in before),
    )


def _outcomes(result: Mapping[str, Any], which: str) -> dict[tuple[str, str], tuple[str, str]]:
    try:
        if result["format"] != FORMAT:
            raise ProbeError(f"{which}: format: must be {FORMAT}, not {result['format']!r}")
        _ = str(result["kind"])
        return {
            (str(one["attack"]), str(one["prompt"])): (str(one["must"]), str(one["outcome"]))
            for one in result["attempts"]
        }
    except (KeyError, TypeError) as error:
        raise ProbeError(f"{which}: is not a result of the probe suite ({error!r})") from error


def in_words(result: SuiteResult, comparison: Comparison | None = None) -> str:
    """The result for people: a row a family, then what was accepted and should not be."""
    lines = [
        f"{result.verifier} {result.version} ({result.kind}), seed {result.seed}:"
        f" {result.overall.tries} tries in {result.seconds:.1f} s",
        "",
        f"{'family':<18} {'attacks':>7} {'tries':>6} {'passed':>6} {'undecided':>9}  success",
    ]
    rows = [*result.families().items(), ("all attacks", result.overall)]
    lines += [_family_line(family, tally) for family, tally in rows]
    lines += [_family_line("honest answers", result.honest)]
    lines += _tries_lines("Accepted attacks", result.accepted())
    lines += _tries_lines("Honest answers not passed", result.rejected_controls())
    if result.without_prompt:
        lines += ["", f"No prompt fits: {', '.join(result.without_prompt)}"]
    if comparison is not None:
        lines += _comparison_lines(comparison)
    return "\n".join(lines) + "\n"


def _family_line(family: str, tally: Tally) -> str:
    return (
        f"{family:<18} {tally.attacks:>7} {tally.tries:>6} {tally.passed:>6} {tally.undecided:>9}"
        f"  {_rate_text(tally)}"
    )


def _rate_text(tally: Tally) -> str:
    if tally.rate is None:
        return "-"
    return f"{tally.rate.point:.3f} [{tally.rate.low:.3f}, {tally.rate.high:.3f}]"


def _tries_lines(title: str, tried: Sequence[Tried]) -> list[str]:
    """Each attack once, with the first of its tries."""
    by_attack: dict[str, list[Tried]] = {}
    for one in tried:
        by_attack.setdefault(one.attempt.attack.id, []).append(one)
    lines = ["", f"{title}:"] if tried else []
    for id_, tries in by_attack.items():
        first = tries[0].attempt
        lines.append(f"  {id_} ({len(tries)}): {first.attack.targets}")
        lines.append(f"      {_shown(first.item.response)}")
    return lines


def _shown(text: str) -> str:
    """On one line, with nothing in it that a terminal obeys or does not show."""
    shown = ascii(text[: 2 * _MAX_SHOWN_CHARACTERS])
    return shown if len(shown) <= _MAX_SHOWN_CHARACTERS else f"{shown[:_MAX_SHOWN_CHARACTERS]}..."


def _comparison_lines(comparison: Comparison) -> list[str]:
    lines = [""]
    for title, keys in (
        ("Regressions (passed now, not before)", comparison.regressions),
        ("Mended (passed before, not now)", comparison.mended),
        ("Honest answers passed before, not now", comparison.lost_controls),
        ("Passed, not tried before", comparison.new_accepted),
    ):
        lines.append(f"{title}: {len(keys)}")
        lines += [f"  {attack} over {prompt}" for attack, prompt in keys]
    return lines


def in_markdown(results: Sequence[SuiteResult], left_out: Mapping[str, str]) -> str:
    """Results side by side: a row a verifier, then a row a family. left_out: name -> why."""
    by_verifier = [
        (
            f"`{one.verifier}` {one.version}",
            one.kind,
            f"{one.overall.attacks}",
            _rate_text(one.overall),
            f"{one.overall.undecided} of {one.overall.tries}",
            f"{one.honest.passed} of {one.honest.tries}",
        )
        for one in results
    ]
    header = ("verifier", "judges", "attacks", "success of attacks", "undecided", "honest passed")
    families = sorted({family for one in results for family in one.families()})
    by_family = [
        (family, *(_share_text(one.families().get(family)) for one in results))
        for family in families
    ]
    lines = [*_table(header, by_verifier), ""]
    lines += _table(("family", *(f"`{one.verifier}`" for one in results)), by_family)
    if left_out:
        lines += ["", *(f"Not attacked: `{name}` ({why})." for name, why in left_out.items())]
    return "\n".join(lines) + "\n"


def _share_text(tally: Tally | None) -> str:
    return "" if tally is None or tally.rate is None else f"{tally.rate.point:.2f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
