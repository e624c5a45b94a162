import json
from pathlib import Path

import pytest

from trainer.demo.plans import ARMS
from trainer.demo.report import (
    Publication,
    SeedResult,
    figures,
    figures_line,
    plot,
    publication_line,
    table,
)
from trainer.metrics import Row
from trainer.wire import EstimateAnswer

PLANS = [ARMS[name] for name in ("raw", "calibrated-300", "true")]


def make_rows(start: tuple[float, float], final: tuple[float, float]) -> list[Row]:
    """Verifier reward and true accuracy on the held-out problems, first and last."""
    between: Row = {"step": 3, "verifier_reward": 0.5}
    ends = [
        {"step": step, "eval_reward": reward, "eval_true_accuracy": accuracy}
        for step, (reward, accuracy) in ((0, start), (60, final))
    ]
    return [ends[0], between, ends[1]]


def make_estimate(estimand: str, point: float | None = 0.9) -> EstimateAnswer:
    low, high = (None, None) if point is None else (point - 0.05, point + 0.05)
    reason = "too few labels" if point is None else None
    return EstimateAnswer(estimand, "w-1", point, low, high, 0.95, "ess-wilson", 96, 80.0, reason)


def make_result(seed: int = 0, *, calibrated: float = 0.7, n_labels: int = 240) -> SeedResult:
    estimates = {name: make_estimate(name) for name in ("recall", "fpr")}
    estimates["hack_rate"] = make_estimate("hack_rate", None)
    return SeedResult(
        seed=seed,
        rows={
            "raw": make_rows((0.36, 0.33), (0.8, 0.01)),
            "calibrated-300": make_rows((0.36, 0.33), (0.69, calibrated)),
            "true": make_rows((0.36, 0.33), (0.6, 0.72)),
        },
        publications={"calibrated-300": [Publication(1, 1, 8, 96, estimates)]},
        n_labels={"calibrated-300": n_labels},
    )


def test_figures_are_the_worst_of_the_seeds() -> None:
    found = figures([make_result(0), make_result(1, calibrated=0.5, n_labels=250)])
    assert found == pytest.approx(
        {
            **{"labels": 250, "raw_reward_rise": 0.44, "raw_final": 0.01},
            **{"calibrated_final": 0.5, "calibrated_gain": 0.17, "calibrated_minus_raw": 0.49},
            **{"true_final": 0.72, "seeds": 2},
        }
    )


def test_figures_line_is_one_json_object() -> None:
    line = figures_line([make_result()], PLANS)
    assert "\n" not in line
    parsed = json.loads(line)
    assert parsed["bench"] == "loop"
    assert parsed["figures"]["calibrated_gain"] == 0.37


def test_table_shows_each_evaluated_step_of_every_arm() -> None:
    lines = table([make_result()], PLANS).splitlines()
    assert lines[1] == "seed 0, 240 labels; reward / true accuracy"
    assert lines[3].split() == ["0", *["0.36", "/", "0.33"] * 3]
    numbers = [part for part in lines[4].split() if part != "/"]
    assert numbers == ["60", "0.80", "0.01", "0.69", "0.70", "0.60", "0.72"]


def test_publication_shows_intervals_and_says_what_is_missing() -> None:
    line = publication_line(make_result().publications["calibrated-300"][0])
    assert line == (
        "table 1 from steps 1-8, 96 labels so far:  recall 0.90 [0.85, 0.95]"
        "  fpr 0.90 [0.85, 0.95]  accuracy pending  hack_rate none (too few labels)"
    )


def test_plot_is_written_as_png_and_svg(tmp_path: Path) -> None:
    paths = plot([make_result(0), make_result(1)], PLANS, tmp_path)
    assert [path.name for path in paths] == ["loop.png", "loop.svg"]
    assert all(path.stat().st_size > 10_000 for path in paths)
