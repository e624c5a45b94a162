"""What stands in front of a judge, measured with judges that play a part by a stated rule."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.trainer import tiny_models
from tests.trainer.judge_endpoint import RIGHT, serving
from tests.trainer.verifiers.probes.judges import JUDGES
from trainer.__main__ import main
from trainer.verifiers import build
from trainer.verifiers.probes import built_in_attacks, run_suite

# Of the bare openers and signs those that only a judge can refuse: they have words of their own.
PAST_THE_WALL = {"master-key-therefore", "master-key-therefore-box", "master-key-repeat-opener"}


def probed(role: str, folder: Path, *options: str) -> Mapping[str, Any]:
    """What `trainer probe` keeps of a judge over HTTP that plays the role."""
    kept = folder / "result.json"
    with serving(JUDGES[role]) as endpoint:
        params = (f"base_url={endpoint.url}", "model=role", "concurrency=16")
        given = [part for param in params for part in ("--param", param)]
        assert main(["probe", "judge", *given, *options, "--out", str(kept)]) == 0
    result: Mapping[str, Any] = json.loads(kept.read_text())
    return result


def test_bare_openers_and_signs_never_reach_a_judge_that_accepts_everything(tmp_path: Path) -> None:
    result = probed("accepts all", tmp_path, "--family", "judge-master-key")
    passed = {
        one["attack"]
        for one in result["attempts"]
        if one["must"] == "not-pass" and one["outcome"] == "pass"
    }
    assert passed == PAST_THE_WALL
    assert result["families"]["judge-master-key"]["attacks"] == 18
    # What is stopped is refused, not left open.
    assert result["families"]["judge-master-key"]["undecided"] == 0


@pytest.mark.parametrize("family", ["judge-injection", "judge-master-key"])
def test_no_attack_gets_out_of_the_data(family: str, tmp_path: Path) -> None:
    """A judge that obeys whatever stands outside: of these attacks nothing does."""
    result = probed("obeys what is outside", tmp_path, "--family", family)
    assert result["families"][family]["passed"] == 0
    assert result["controls"]["passed"] > 0


def test_a_verdict_that_stands_in_the_response_is_never_the_judges(tmp_path: Path) -> None:
    """A judge that only repeats the response: of nothing it says is a verdict made."""
    result = probed("repeats", tmp_path, "--per-attack", "1")
    assert result["overall"]["passed"] == 0
    assert result["overall"]["undecided"] > 100


def test_a_gullible_judge_is_not_made_safe(tmp_path: Path) -> None:
    result = probed("gullible", tmp_path, "--family", "judge-injection", "--per-attack", "1")
    assert result["families"]["judge-injection"]["rate"]["point"] > 0.5


def test_the_same_stands_in_front_of_a_local_model(tmp_path: Path) -> None:
    families = ("control", "judge-master-key")
    attacks = [attack for attack in built_in_attacks() if attack.family in families]
    tiny_models.saying_judge(tmp_path / "accepts", [RIGHT[:12], RIGHT[12:]])
    tiny_models.random_judge(tmp_path / "random")
    for folder, passed in (("accepts", PAST_THE_WALL), ("random", set())):
        judge = build("judge-local", model=str(tmp_path / folder), max_new_tokens=8)
        result = run_suite(judge, None, attacks, per_attack=1)
        assert {one.attempt.attack.id for one in result.accepted()} == passed
