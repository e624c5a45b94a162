import json
from pathlib import Path

import pytest

from trainer.demo.gains import (
    figures,
    figures_line,
    gain_share,
    mean_over_seeds,
    plot,
    pooled_share,
    table,
)
from trainer.demo.plans import ARMS, COMPARISONS
from trainer.demo.report import SeedResult
from trainer.metrics import Row

PLANS = [ARMS[name] for name in COMPARISONS["hack"]]


def make_rows(start: float, final: float) -> list[Row]:
    return [
        {
            "step": step,
            "eval_reward": 0.5,
            "eval_true_accuracy": truth,
            "eval_true_pass_at_8": truth + 0.1,
        }
        for step, truth in ((0, start), (60, final))
    ]


def make_result(seed: int, *, calibrated: float, true: float = 0.7) -> SeedResult:
    finals = {"calibrated-300": calibrated, "raw": 0.02, "true": true, "random": 0.28}
    return SeedResult(
        seed=seed,
        rows={arm: make_rows(0.3, final) for arm, final in finals.items()},
        publications={"calibrated-300": []},
        n_labels={"calibrated-300": 300},
    )


RESULTS = [make_result(0, calibrated=0.66), make_result(1, calibrated=0.62)]


def test_interval_over_seeds_is_students() -> None:
    mean = mean_over_seeds([0.8, 0.9, 1.0])
    # t of 2 degrees of freedom at 97.5 %: 4.302653; standard error 0.1 / sqrt(3).
    assert (mean.low, mean.high) == pytest.approx((0.9 - 0.248414, 0.9 + 0.248414), abs=1e-6)
    assert mean.n == 3


def test_single_seed_has_no_interval() -> None:
    assert str(mean_over_seeds([0.5])) == "0.500"


def test_share_is_of_the_gain_of_the_true_reward() -> None:
    share = gain_share(RESULTS, ARMS["calibrated-300"])
    assert share is not None
    assert share.point == pytest.approx((0.9 + 0.8) / 2)


def test_pooled_share_weighs_seeds_by_what_was_to_be_gained() -> None:
    weak = make_result(2, calibrated=0.35, true=0.31)
    share, pooled = (
        of([*RESULTS, weak], ARMS["calibrated-300"]) for of in (gain_share, pooled_share)
    )
    assert share is not None
    assert share.point == pytest.approx((0.9 + 0.8 + 5.0) / 3)
    assert pooled == pytest.approx((0.36 + 0.32 + 0.05) / (0.4 + 0.4 + 0.01))


def test_share_of_a_ceiling_that_gained_nothing_is_not_known() -> None:
    flat = make_result(2, calibrated=0.5, true=0.3)
    assert gain_share([*RESULTS, flat], ARMS["calibrated-300"]) is None


def test_share_without_its_ceiling_is_not_known() -> None:
    assert gain_share(RESULTS, ARMS["calibrated-300-constant"]) is None


def test_figures_name_every_arm_and_leave_open_what_was_not_run() -> None:
    found = figures(RESULTS, PLANS)
    assert found["gain_share_300"] == pytest.approx(0.85)
    assert found["gain_share_1000"] is None
    assert found["gain_share_1000_low"] is None
    assert (found["raw_final"], found["random_final"], found["seeds"]) == (0.02, 0.28, 2)
    assert found["calibrated_300_final"] == pytest.approx(0.64)


def test_last_line_is_one_json_object() -> None:
    line = figures_line(RESULTS, PLANS)
    assert "\n" not in line
    assert json.loads(line)["bench"] == "hack"
    assert json.loads(line)["figures"]["true_final"] == 0.7


def test_table_has_a_line_for_each_arm_with_its_interval() -> None:
    lines = table(RESULTS, PLANS).splitlines()
    assert "seeds 0, 1, which start at 0.300" in lines[1]
    calibrated = next(line for line in lines if line.startswith(ARMS["calibrated-300"].label))
    assert "0.640 [0.386, 0.894]" in calibrated
    assert calibrated.endswith("300")
    true = next(line for line in lines if line.startswith(ARMS["true"].label))
    assert true.split()[-1] == "-"


def test_plot_is_written_as_png_and_svg(tmp_path: Path) -> None:
    paths = plot(RESULTS, PLANS, tmp_path)
    assert [path.name for path in paths] == ["hack.png", "hack.svg"]
    assert all(path.stat().st_size > 10_000 for path in paths)
