"""Held out is held out by prompt."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.trainer.fitting.rows import Row, answered, make_final, make_row, write
from trainer.config import ConfigError
from trainer.fitting.config import FitConfig, load_fit_config
from trainer.fitting.labels import Example, LabelsError, read_labels
from trainer.fitting.split import Split, split_by_prompt


def split(rows: list[Row], folder: Path, **keys: object) -> Split:
    config = FitConfig.from_dict(keys)
    labels = read_labels([write(rows, folder)], level=config.level)
    return split_by_prompt(labels.examples, config)


def prompts(side: tuple[Example, ...]) -> set[str]:
    return {example.prompt for example in side}


def test_no_prompt_is_on_two_sides_under_whatever_id(tmp_path: Path) -> None:
    rows = answered(20) + [
        row | {"id": f"again-{row['id']}", "prompt_id": f"again-{row['prompt_id']}"}
        for row in answered(20)
    ]
    sides = split(rows, tmp_path)
    train, dev, held_out = map(prompts, (sides.train, sides.dev, sides.held_out))
    assert (len(train), len(dev), len(held_out)) == (13, 3, 4)
    assert len(train | dev | held_out) == 20
    assert len(sides.train) + len(sides.dev) + len(sides.held_out) == len(rows)


def test_the_seed_chooses_and_the_order_of_the_rows_does_not(tmp_path: Path) -> None:
    rows = answered(40)
    first = split(rows, tmp_path, seed=1)
    assert prompts(split(rows[::-1], tmp_path, seed=1).held_out) == prompts(first.held_out)
    assert prompts(split(rows, tmp_path, seed=2).held_out) != prompts(first.held_out)


def test_picks_are_trained_on_and_not_measured(tmp_path: Path) -> None:
    picks = [row | {"id": f"pick-{row['id']}", "sample": None} for row in answered(20)]
    sides = split(answered(20) + picks, tmp_path)
    assert all(example.is_sampled for example in sides.held_out)
    assert sum(not example.is_sampled for example in sides.train) == 13 * 4


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    rows = [row | {"final": make_final()} for row in answered(20)]
    with pytest.raises(LabelsError, match="the labels: all 80 are right; a fit needs both classes"):
        split(rows, tmp_path)


def test_a_side_of_one_class_is_refused_by_its_name(tmp_path: Path) -> None:
    rows = answered(20, a_prompt=1)
    with pytest.raises(LabelsError, match="dev_share: the prompts to tune on: all 1 are"):
        split(rows, tmp_path, dev_share=0.05)


def test_held_out_prompts_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="held_out_share: the held-out prompts: there are none"):
        split([make_row("a"), make_row("b", final=make_final("incorrect"))], tmp_path)


@pytest.mark.parametrize(
    ("keys", "rule"),
    [
        ({"levle": "step"}, "levle: unknown; did you mean level"),
        ({"level": "word"}, "level: must be one of"),
        ({"held_out_share": 1.0}, "held_out_share: must be between 0 and 1"),
        ({"held_out_share": 0.6, "dev_share": 0.5}, "dev_share: must leave prompts to train on"),
        ({"epochs": 0}, "epochs: must be at least 1"),
        ({"epochs": "3"}, "epochs: must be int, not str"),
        ({"hidden_size": 30}, "hidden_size: must be a multiple of twice heads"),
        ({"threshold": 1.0}, "threshold: must be at least 0 and below 1"),
        ({"threshold": float("nan")}, "threshold: must be at least 0 and below 1"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(keys: dict[str, object], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        FitConfig.from_dict(keys)


def test_what_is_given_goes_before_the_file(tmp_path: Path) -> None:
    recipe = tmp_path / "fit.toml"
    recipe.write_text('level = "step"\nseed = 3\n')
    config = load_fit_config(recipe, seed=4, model=None)
    assert config == replace(FitConfig(), level="step", seed=4)
