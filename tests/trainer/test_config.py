from pathlib import Path
from typing import Any

import pytest

from trainer.config import ConfigError, TrainerConfig, load_config

RECIPE = Path(__file__).parents[2] / "trainer" / "recipes" / "demo.toml"


def test_demo_recipe_spells_out_the_defaults() -> None:
    assert load_config(RECIPE) == TrainerConfig()


@pytest.mark.parametrize("path", sorted(RECIPE.parent.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_can_be_read(path: Path) -> None:
    assert load_config(path).stages


def test_config_survives_a_round_trip() -> None:
    config = TrainerConfig.from_dict(
        {
            "grpo": {"group_size": 4},
            "run": {"seed": 3},
            "task": {"kind": "jsonl", "path": "x.jsonl"},
            "objective": {"name": "gspo", "kl": 0.1},
            "reward": {"channels": [{"verifier": "format", "parameters": {"language": "en"}}]},
            "stages": [{"kind": "grpo", "gate": 0.2, "settings": {"steps": 3}}],
        }
    )
    assert TrainerConfig.from_dict(config.to_dict()) == config
    assert (config.objective.ratio, config.objective.kl) == ("sequence", 0.1)
    assert config.at_stage(0).grpo.steps == 3
    assert config.at_stage(0).grpo.group_size == 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"gripo": {}}, r"gripo: unknown; did you mean grpo\?"),
        ({"grpo": {"groups": 8}}, r"grpo.groups: unknown; did you mean grpo.group_size\?"),
        ({"run": {"zzz": 1}}, "run.zzz: unknown; known: name, seed"),
        ({"grpo": 3}, r"grpo: must be a section, \[grpo\]"),
        ({"grpo": {"group_size": "8"}}, "grpo.group_size: must be int, not str"),
        ({"grpo": {"steps": True}}, "grpo.steps: must be int, not bool"),
        ({"grpo": {"group_size": 1}}, "grpo.group_size: must be at least 2"),
        ({"grpo": {"steps": 0}}, "grpo.steps: must be at least 1"),
        ({"grpo": {"learning_rate": 0}}, "grpo.learning_rate: must be above 0"),
        ({"objective": {"clip_low": 1.5}}, "objective.clip_low: must be between 0 and 1"),
        ({"objective": {"name": "sft"}}, "objective.name: must be one of grpo, dr-grpo"),
        ({"objective": {"name": "process"}}, 'objective.advantage: "steps" wants step scores'),
        (
            {"objective": {"name": "pass-at-k"}, "reward": {"source": "table"}},
            'objective.advantage: "pass-at-k" wants rewards of 0 and 1',
        ),
        (
            {"objective": {"name": "pass-at-k"}, "grpo": {"truncated": "punished"}},
            'grpo.truncated: "pass-at-k" advantages know no punishment',
        ),
        (
            {"objective": {"advantage": "expected"}, "grpo": {"truncated": "punished"}},
            'reward.combination: "expected" advantages of a sum mean nothing',
        ),
        (
            {"reward": {"channels": [{"verifier": "format"}, {"verifier": "format"}]}},
            "reward.channels: name a verifier twice",
        ),
        (
            {"objective": {"name": "ppo"}, "model": {"lora_rank": 4}},
            "model.lora_rank: a critic needs all weights",
        ),
        ({"run": {"on_hold": "panic"}}, "run.on_hold: must be one of go on, pause, stop"),
        ({"grpo": {"truncated": "kept"}}, "grpo.truncated: must be one of judged, wrong"),
        ({"grpo": {"overlong_buffer": 90}}, "grpo.overlong_buffer: must be between 1 and"),
        ({"task": {"kind": "chess"}}, "task.kind: must be one of sums, jsonl"),
        ({"task": {"kind": "jsonl"}}, "task.path: must be named"),
        ({"stages": []}, "stages: must hold at least one stage"),
        ({"stages": {"kind": "grpo"}}, r"stages: must be sections, \[\[stages\]\]"),
        (
            {"stages": [{"kind": "grpo"}, {"kind": "cold_start"}]},
            "stages.kind: cold_start makes the policy .* can only be the first stage",
        ),
        ({"stages": [{"gate": 0.1}]}, r"stages\[1\].kind: is missing"),
        ({"stages": [{"kind": "dpo"}]}, "stages.kind: must be one of cold_start, grpo, rejection"),
        (
            {"stages": [{"kind": "grpo", "settings": {"stepz": 3}}]},
            r"stages\[1\].settings.stepz: unknown; did you mean stages\[1\].settings.steps",
        ),
        (
            {"reward": {"channels": [{"verifier": "monitor"}]}},
            "reward.channels.verifier: monitor is of the channel monitor: .* teaches the policy",
        ),
        (
            {"reward": {"channels": [{"verifier": "math"}]}},
            "reward.channels.verifier: math is of the channel correctness: name it as",
        ),
        ({"model": {"hidden_size": 100}}, r"model.hidden_size: must be a multiple .*\(8\)"),
        ({"task": {"min_terms": 7}}, "task.max_terms: must be at least task.min_terms"),
        ({"task": {"odd_share": 1.1}}, "task.odd_share: must be between 0 and 1"),
        ({"reward": {"source": "raw"}}, "reward.source: must be one of"),
        ({"reward": {"verifier": "luck"}}, "reward.verifier: unknown verifier 'luck'; known"),
        (
            {"reward": {"verifier": "monitor"}},
            "reward.verifier: monitor is of the channel monitor .* teaches the policy to hide",
        ),
        (
            {"reward": {"verifier": "format"}},
            "reward.verifier: format is of the channel format .* nothing of whether the answer",
        ),
        ({"reward": {"wait_s": -1}}, "reward.wait_s: must not be negative"),
    ],
)
def test_bad_setting_is_refused_naming_key_and_fix(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainerConfig.from_dict(data)


def test_whole_number_may_stand_for_a_fraction() -> None:
    assert TrainerConfig.from_dict({"reward": {"wait_s": 5}}).reward.wait_s == 5.0


def test_setting_on_the_command_line_stands_for_the_file_s() -> None:
    config = load_config(
        RECIPE, ["grpo.steps=3", "objective.name=grpo", 'run.name = "x y"', "task.odd_share=0"]
    )
    assert (config.grpo.steps, config.run.name, config.task.odd_share) == (3, "x y", 0.0)
    assert config.objective.aggregation == "sequence"
    assert config.objective.clip_high == 0.28  # the file's own


@pytest.mark.parametrize("setting", ["steps=3", "grpo.steps", "stages.kind=3"])
def test_setting_that_names_no_key_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"--set {setting}"):
        load_config(RECIPE, [setting])


def test_overrides_change_seed_and_reward_alone() -> None:
    config = TrainerConfig().with_overrides(seed=7, reward_source="true")
    assert (config.run.seed, config.reward.source) == (7, "true")
    assert config.with_overrides(seed=0, reward_source="verdict") == TrainerConfig()
    assert config.with_overrides(seed=None, reward_source=None) == config


def test_override_is_checked_like_the_file() -> None:
    with pytest.raises(ConfigError, match=r"reward\.source"):
        TrainerConfig().with_overrides(seed=None, reward_source="guess")


def test_file_that_is_missing_or_no_toml_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[grpo\n")
    with pytest.raises(ConfigError, match=r"broken\.toml is not TOML"):
        load_config(broken)
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.toml"):
        load_config(tmp_path / "nowhere.toml")
