"""A verifier's verdict on one criterion, held against what reviewers say of that criterion."""

from dataclasses import replace

import numpy as np
import pytest

from review.stats.criteria import (
    CriterionAnswers,
    CriterionEstimand,
    CriterionItems,
    Said,
    criterion_channel,
    criterion_quality,
)
from review.stats.nonresponse import unanswered_share
from review.stats.windows import Items, Window
from tests.stats.population import make_frame, make_wave
from tests.stats.rows import audit_rows, make_rows

RECALL, FPR, UNDECIDED = CriterionEstimand
CANNOT_TELL = float("nan")
NOTHING = CriterionItems(np.zeros(0), np.zeros(0, np.int64))
REPLICATES = 120


def window_of(*items, count=(400, 100)):
    """One stratum per cell; items are (cell, correct, met, said)."""
    cell_I, correct_I, met_I, said_I = np.array(items, float).T
    pairs = list(zip(cell_I.astype(int), correct_I, strict=True))
    wave = make_wave(1, remaining=count, answers=pairs)
    window = Window(make_frame(2, accepted_M=[1, 0]), np.array(count), (wave,))
    return window, CriterionAnswers([CriterionItems(met_I, said_I.astype(np.int64))], NOTHING)


def quality(window, answers, **options):
    return criterion_quality([window], [criterion_channel(window, answers)], **options)


# Twenty of each cell; an item of the first stands for 20 rollouts, one of the second for 5. The
# answer as a whole is right or wrong without regard to the criterion.
TWENTY_EACH = (
    *[(0, 1, 1, Said.PASS)] * 8,
    *[(0, 0, 1, Said.FAIL)] * 2,
    *[(0, 1, 1, Said.UNDECIDED)] * 2,
    *[(0, 0, 0, Said.PASS)] * 1,
    *[(0, 1, 0, Said.FAIL)] * 7,
    *[(1, 0, 1, Said.PASS)] * 4,
    *[(1, 0, 1, Said.FAIL)] * 6,
    *[(1, 1, 0, Said.PASS)] * 3,
    *[(1, 0, 0, Said.UNDECIDED)] * 7,
)


def test_recall_fpr_and_undecided_by_hand():
    found = quality(*window_of(*TWENTY_EACH))
    assert found[RECALL].point == pytest.approx((20 * 8 + 5 * 4) / (20 * 12 + 5 * 10))
    assert found[FPR].point == pytest.approx((20 * 1 + 5 * 3) / (20 * 8 + 5 * 10))
    assert found[UNDECIDED].point == pytest.approx((20 * 2 + 5 * 7) / 500)
    for result in found.values():
        assert result.n == 40
        assert 0 < result.low < result.point < result.high < 1


def test_undecided_is_not_passed():
    as_failed = [
        (*item[:3], Said.FAIL if item[3] == Said.UNDECIDED else item[3]) for item in TWENTY_EACH
    ]
    undecided, failed = quality(*window_of(*TWENTY_EACH)), quality(*window_of(*as_failed))
    for estimand in (RECALL, FPR):
        assert undecided[estimand].point == pytest.approx(failed[estimand].point)
    assert failed[UNDECIDED].point == 0
    assert failed[UNDECIDED].high > 0.01


@pytest.mark.parametrize(
    "silent",
    [
        (0, CANNOT_TELL, 1, Said.PASS),
        (0, 1, CANNOT_TELL, Said.PASS),
        (0, 1, 1, Said.UNKNOWN),
    ],
    ids=["no answer", "cannot tell", "verdict gone"],
)
def test_what_nobody_can_compare_is_nonresponse(silent):
    window, answers = window_of(*TWENTY_EACH, *[silent] * 4)
    found, without = quality(window, answers), quality(*window_of(*TWENTY_EACH))
    for estimand in CriterionEstimand:
        assert found[estimand].point == pytest.approx(without[estimand].point)
        assert found[estimand].n == 40
    channel = criterion_channel(window, answers)
    assert unanswered_share([channel.window]).share == pytest.approx(4 / 44)


def test_who_answers_it_for_a_few_only_says_nothing():
    found = quality(*window_of(*TWENTY_EACH, *[(0, 1, CANNOT_TELL, Said.PASS)] * 11))
    for result in found.values():
        assert (result.point, result.low, result.high, result.n) == (None, 0.0, 1.0, 40)
        assert result.reason == "the criterion is answered for too few of the labels"


def test_too_few_labels_say_nothing():
    found = quality(*window_of(*TWENTY_EACH[:31]))
    assert {result.reason for result in found.values()} == {"too few labels"}
    assert {result.reason for result in criterion_quality([], []).values()} == {"too few labels"}


def test_without_one_that_misses_the_criterion_there_is_no_fpr():
    found = quality(*window_of(*[(0, 1, 1, Said.PASS)] * 20, *[(1, 0, 1, Said.FAIL)] * 20))
    assert found[RECALL].point == pytest.approx(0.8)
    assert found[FPR].reason == "every labelled rollout meets the criterion"
    found = quality(*window_of(*[(0, 1, 0, Said.PASS)] * 20, *[(1, 0, 0, Said.FAIL)] * 20))
    assert found[FPR].point == pytest.approx(0.8)
    assert found[RECALL].reason == "no labelled rollout meets the criterion"


def test_answers_about_other_items_are_refused():
    window, _ = window_of(*TWENTY_EACH)
    short = CriterionItems(np.ones(3), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="each item"):
        criterion_channel(window, CriterionAnswers([short], NOTHING))


def test_purposive_labels_count_as_themselves_only():
    window, answers = window_of(*TWENTY_EACH)
    picks = Items(np.array([0, 0]), np.array([1.0, 1.0]), np.zeros(2))
    picked = replace(
        window, count_M=np.array([402, 100]), purposive=picks, known_from_I=np.array([1, 1])
    )
    said = CriterionItems(np.ones(2), np.array([Said.PASS, Said.FAIL]))
    found = quality(picked, replace(answers, purposive=said))
    assert found[RECALL].point == pytest.approx((180 + 1) / (290 + 2))


def population(rng, rollouts=20_000):
    """A criterion that has its own way with cells and answers, and a verdict on it."""
    rows = make_rows(rng, rollouts=rollouts)
    met_N = rng.random(rollouts) < np.where(rows.correct_N, 0.7, 0.45)
    passes_N = rng.random(rollouts) < np.where(met_N, 0.8, np.where(rows.correct_N, 0.1, 0.3))
    said_N = np.where(passes_N, Said.PASS, Said.FAIL)
    said_N[rng.random(rollouts) < 0.05] = Said.UNDECIDED
    truth = {
        RECALL: (said_N == Said.PASS)[met_N].mean(),
        FPR: (said_N == Said.PASS)[~met_N].mean(),
        UNDECIDED: (said_N == Said.UNDECIDED).mean(),
    }
    return rows, met_N.astype(float), said_N, truth


def answers_of(drawn, met_N, said_N):
    return CriterionAnswers([CriterionItems(met_N[i], said_N[i]) for i in drawn], NOTHING)


def test_a_census_has_the_truth_as_its_interval():
    rng = np.random.default_rng(5)
    rows, met_N, said_N, truth = population(rng, rollouts=200)
    audit = audit_rows(rows, n=200, rng=rng, waves=1)
    found = quality(audit.window, answers_of(audit.drawn, met_N, said_N))
    for estimand, true in truth.items():
        result = found[estimand]
        assert (result.low, result.point, result.high) == pytest.approx((true, true, true))


def test_intervals_cover_without_bias():
    rng = np.random.default_rng(82)
    rows, met_N, said_N, truth = population(rng)
    results = []
    for _ in range(REPLICATES):
        audit = audit_rows(rows, n=300, rng=rng)
        unsaid_N = np.where(rng.random(len(met_N)) < 0.1, np.nan, met_N)
        results.append(quality(audit.window, answers_of(audit.drawn, unsaid_N, said_N)))
    for estimand, true in truth.items():
        of_one = [result[estimand] for result in results]
        assert np.mean([one.low <= true <= one.high for one in of_one]) >= 0.92, estimand
        errors = [one.point - true for one in of_one]
        assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(REPLICATES), estimand
