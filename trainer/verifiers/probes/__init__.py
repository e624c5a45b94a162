"""The probe suite: attacks that a sound verifier does not pass, and what runs them.

- `built_in_attacks()`, `attack_from_json(fields)`, `attack_to_json(attack)`,
  `parse_attacks(text)`, `with_attacks(attacks, more)`: the catalogue and attacks added to it.
- `run_suite(verifier, prompts, attacks)` -> `SuiteResult`; `to_json(result)` is what to keep.
- `compare(earlier, now)`: two kept results of one verifier.
- `probes.detector.ProbeDetector`, the verifier `probe`: does a rollout look like an attack?
"""

from trainer.verifiers.probes.attacks import (
    CONTROL,
    Attack,
    attack_from_json,
    attack_to_json,
    built_in_attacks,
    known_families,
    parse_attacks,
    read_attacks,
    with_attacks,
)
from trainer.verifiers.probes.errors import ProbeError
from trainer.verifiers.probes.prompts import KINDS, Prompt, built_in_prompts, read_prompts
from trainer.verifiers.probes.rates import Rate
from trainer.verifiers.probes.report import Comparison, compare, in_markdown, in_words, to_json
from trainer.verifiers.probes.suite import (
    SuiteResult,
    Tally,
    attacked_kind,
    attempts_for,
    probe_success,
    run_suite,
)

__all__ = [
    "CONTROL",
    "KINDS",
    "Attack",
    "Comparison",
    "ProbeError",
    "Prompt",
    "Rate",
    "SuiteResult",
    "Tally",
    "attack_from_json",
    "attack_to_json",
    "attacked_kind",
    "attempts_for",
    "built_in_attacks",
    "built_in_prompts",
    "compare",
    "in_markdown",
    "in_words",
    "known_families",
    "parse_attacks",
    "probe_success",
    "read_attacks",
    "read_prompts",
    "run_suite",
    "to_json",
    "with_attacks",
]
