"""Figures on held-out prompts, worked by hand, and how often their intervals hold."""

import numpy as np
import pytest

from trainer.fitting.figures import HeldOut, ratio, ratio_difference


def held_out(n: int, *, a_prompt: int = 1, weight: float = 1.0) -> HeldOut:
    return HeldOut([f"p-{i // a_prompt}" for i in range(n)], np.full(n, weight), seed=0)


def test_a_share_is_weighted_and_among_its_own_items() -> None:
    prompts = [f"p-{i}" for i in range(20)]
    weight = np.r_[np.full(10, 3.0), np.full(10, 1.0)]
    hit = np.r_[np.ones(5), np.zeros(5), np.ones(10)]
    items = HeldOut(prompts, weight, seed=0)
    share = items.share(hit, among_I=np.ones(20))
    assert share.point == pytest.approx((5 * 3 + 10) / 40)
    assert share.low is not None
    assert share.high is not None
    assert 0.3 < share.low < share.point < share.high < 0.9
    assert (share.n, share.n_prompts) == (20, 20)
    assert items.share(hit, among_I=np.r_[np.ones(10), np.zeros(10)]).point == pytest.approx(0.5)


def test_rollouts_of_one_prompt_count_as_one_draw() -> None:
    hit = np.repeat([1, 0], 50)
    alone = held_out(100).share(hit, among_I=np.ones(100))
    together = held_out(100, a_prompt=5).share(hit, among_I=np.ones(100))
    assert alone.point == together.point == 0.5
    assert (together.high or 0) - (together.low or 0) > 1.8 * ((alone.high or 0) - (alone.low or 0))


def test_none_of_thirty_is_not_certainly_none() -> None:
    share = held_out(30).share(np.zeros(30), among_I=np.ones(30))
    assert (share.point, share.low, share.method) == (0.0, 0.0, "Wilson, effective prompts")
    assert share.high == pytest.approx(0.1135, abs=1e-3)
    clustered = held_out(30, a_prompt=3).share(np.ones(30), among_I=np.ones(30))
    assert clustered.low == pytest.approx(0.7225, abs=1e-3)


def test_too_few_prompts_give_a_reason() -> None:
    share = held_out(45, a_prompt=5).share(np.ones(45), among_I=np.ones(45))
    assert (share.point, share.low, share.high) == (None, None, None)
    assert share.reason == "9 of the 10 prompts that it needs"
    none = held_out(20).share(np.ones(20), among_I=np.zeros(20))
    assert none.reason == "0 of the 10 prompts that it needs"
    assert HeldOut([], [], seed=0).share([], among_I=[]).point is None


def test_the_harmonic_mean_is_process_benchs_f1() -> None:
    wrong = np.arange(40) < 20
    hit = np.r_[np.ones(10), np.zeros(10), np.ones(15), np.zeros(5)]
    f1 = held_out(40).harmonic_mean([hit, hit], [wrong, ~wrong])
    assert f1.point == pytest.approx(2 * 0.5 * 0.75 / 1.25)
    assert (f1.low or 1) < f1.point < (f1.high or 0)


def test_an_f1_of_zero_has_the_bounds_of_its_shares() -> None:
    wrong = np.arange(40) < 20
    f1 = held_out(40).harmonic_mean([~wrong, ~wrong], [wrong, ~wrong])
    assert (f1.point, f1.low) == (0.0, 0.0)
    a = 0.1611  # Wilson's upper bound of 0 in 20
    assert f1.high == pytest.approx(2 * a / (a + 1), abs=1e-3)


def test_the_auc_counts_ties_half_and_weighs() -> None:
    rng = np.random.default_rng(3)
    score, right = rng.integers(0, 5, 60) / 4, rng.random(60) < 0.5
    weight = rng.random(60) + 0.5
    items = HeldOut([f"p-{i // 2}" for i in range(60)], weight, seed=0)
    pairs = [
        (weight[i] * weight[j], (score[i] > score[j]) + (score[i] == score[j]) / 2)
        for i in np.flatnonzero(right)
        for j in np.flatnonzero(~right)
    ]
    expected = sum(w * above for w, above in pairs) / sum(w for w, _ in pairs)
    auc = items.auc(score, right, among_I=np.ones(60))
    assert auc.point == pytest.approx(expected)
    assert (auc.low or 1) < expected < (auc.high or 0)
    assert items.auc(score, np.ones(60, bool), among_I=np.ones(60)).reason == "one class alone"


def test_the_difference_from_oneself_is_exactly_nothing() -> None:
    hit, among = np.arange(30) % 3 == 0, np.ones(30)
    difference = held_out(30).figure(ratio_difference, hit, hit, among, among_I=among)
    assert (difference.point, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_bars_of_the_diagram_hold_each_item_once() -> None:
    score = np.linspace(0, 1, 200)
    bins = held_out(200).reliability(score, score > 0.5, among_I=np.ones(200))
    assert sum(bin_.share.n for bin_ in bins) == 200
    assert [bin_.share.point for bin_ in bins] == [0.0] * 5 + [1.0] * 5
    assert bins[0].mean_predicted == pytest.approx(0.05, abs=0.01)
    narrow = held_out(20).reliability(np.full(20, 0.5), np.ones(20), among_I=np.ones(20))
    assert (narrow[0].mean_predicted, narrow[0].share.point) == (None, None)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """80 prompts of 3 rollouts that are right together, weights between 1 and 5."""
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        chance = np.repeat(rng.beta(3, 1, size=80), 3)
        prompts = [f"p-{i // 3}" for i in range(240)]
        items = HeldOut(prompts, rng.uniform(1, 5, 240), seed=seed)
        share = items.mean(rng.random(240) < chance, among_I=np.ones(240))
        held += (share.low or 1) <= 0.75 <= (share.high or 0)
    assert 180 <= held <= 200


def test_a_ratio_is_of_totals() -> None:
    assert ratio(np.array([[1.0, 4.0], [3.0, 4.0]])).tolist() == [0.25, 0.75]
