"""A small, seeded version of `make bench-advantages`; the benchmark has the sharp numbers."""

import pytest
import torch

from tests.bench.advantages import BY_FORM, Measured, replicate


@pytest.fixture(scope="module")
def found() -> dict[str, Measured]:
    torch.set_num_threads(1)
    rows = replicate(7, verifiers={"by form": BY_FORM}, budgets=[1000])
    return {arm: measured for (_, _, arm), measured in rows}


def test_true_rewards_are_the_measure(found: dict[str, Measured]) -> None:
    true = found["true rewards"]
    assert true.cosine == pytest.approx(1.0)
    assert true.spurious == 0.0
    assert true.hacks < -0.9


def test_raw_verdicts_reward_hacks(found: dict[str, Measured]) -> None:
    assert found["raw"].cosine == pytest.approx(0.78, abs=0.02)
    assert found["raw"].hacks > 1.0


def test_expected_advantages_from_1000_labels_are_nearest_the_true_ones(
    found: dict[str, Measured],
) -> None:
    best = found["posterior, expected"]
    assert best.cosine > 0.86
    assert best.hacks < -0.3
    calibrated = ("demote or abstain", "posterior", "posterior, floor 0.3")
    assert all(found[arm].cosine < best.cosine for arm in calibrated)


@pytest.mark.parametrize("rule", ["demote or abstain", "posterior"])
def test_floor_for_the_deviation_tempers_groups_without_a_right_answer(
    found: dict[str, Measured], rule: str
) -> None:
    assert found[f"{rule}, floor 0.3"].spurious < 0.5 * found[rule].spurious
    assert found[f"{rule}, floor 0.3"].cosine > found[rule].cosine


def test_one_map_of_the_verdict_for_a_whole_group_changes_nothing(
    found: dict[str, Measured],
) -> None:
    """The verifier's rates, which "unbiased" rewards are made of, are the domain's."""
    assert found["unbiased"].cosine == pytest.approx(found["raw"].cosine, abs=1e-3)
