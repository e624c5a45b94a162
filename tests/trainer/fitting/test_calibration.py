"""Temperature and thresholds, worked on made-up probabilities."""

import numpy as np
import pytest

from trainer.fitting.calibration import (
    fit_temperature,
    log_loss,
    named_step,
    outcome_threshold,
    sigmoid,
    step_threshold,
)


def test_the_temperature_undoes_an_overconfident_scale() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 1.5, 20_000)
    right = rng.random(20_000) < sigmoid(true)
    found = fit_temperature(3 * true, right, np.ones(20_000))
    assert found.value == pytest.approx(3, rel=0.06)
    assert found.log_loss_with < found.log_loss_without
    assert fit_temperature(true, right, np.ones(20_000)).value == pytest.approx(1, rel=0.06)


def test_a_few_labels_that_are_told_apart_make_nothing_certain() -> None:
    right = np.arange(20) < 10
    found = fit_temperature(np.where(right, 4.0, -4.0), right, np.ones(20))
    assert sigmoid(np.array([4 / found.value])) == pytest.approx(11 / 12, abs=0.01)


def test_labels_weigh_in_the_log_loss() -> None:
    right = np.array([True, False])
    loss = log_loss(np.array([2.0, 2.0]), right, np.array([3.0, 1.0]))
    assert loss == pytest.approx((3 * np.log1p(np.exp(-2)) + np.log1p(np.exp(2))) / 4)
    assert np.isfinite(log_loss(np.array([-5_000.0, 0]), right, np.ones(2)))


def test_the_threshold_of_answers_parts_the_classes() -> None:
    score = np.array([0.7, 0.8, 0.85, 0.9])
    right = np.array([False, False, True, True])
    assert outcome_threshold(score, right, np.ones(4)) == pytest.approx(0.825)


def test_the_threshold_of_steps_finds_the_first_wrong_one() -> None:
    scores = [np.array([0.9, 0.95]), np.array([0.92, 0.6, 0.5]), np.array([0.7, 0.99])]
    threshold = step_threshold(scores, [0, 2, 1], np.ones(3))
    assert 0.7 < threshold < 0.9
    assert [named_step(score, threshold) for score in scores] == [0, 2, 1]


def test_one_score_alone_still_gives_a_threshold() -> None:
    threshold = outcome_threshold(np.array([1.0, 1.0]), np.array([True, False]), np.ones(2))
    assert 0 < threshold < 1
