import numpy as np
import pytest

from review.stats.cells import CellFrame
from review.stats.design import COMPROMISE, RECALL_ONLY, plan_wave
from review.stats.estimands import Estimand
from review.stats.estimators import estimate_all
from review.stats.preview import expected
from review.stats.working_model import fit_working_model, hack_model
from tests.stats.population import CORRECT, HACK, audit, make_frame, make_population

SMALL = make_frame(4, accepted_M=[0, 0, 1, 1], probe_M=[0, 1, 0, 1])


def preview(frame=SMALL, count=1000, *, f=(0.1, 0.3, 0.9, 0.6), q=0.02, n=200, waves=4, **options):
    return expected(
        frame,
        count_M=np.broadcast_to(count, len(frame)),
        f_M=np.array(f),
        q_M=frame.accepted_M * q,
        n=n,
        waves=waves,
        **options,
    )


def width(estimate):
    return estimate.high - estimate.low


@pytest.fixture(scope="module")
def population():
    return make_population(np.random.default_rng(11))


@pytest.fixture(scope="module")
def models(population):
    """The working and the hack model, fitted to the truth."""
    frame, outcomes_MO, count_M = population.frame, population.outcomes_MO, population.count_M
    correct_M = outcomes_MO[:, CORRECT]
    f_M = fit_working_model(frame, labelled_M=count_M, correct_M=correct_M).f_M
    q_M = hack_model(
        frame, f_M=f_M, wrong_accepted_M=count_M - correct_M, hacks_M=outcomes_MO[:, HACK]
    )
    return {"f_M": f_M, "q_M": q_M}


@pytest.mark.parametrize(("n", "replicates"), [(300, 30), (1000, 15)])
@pytest.mark.parametrize("focus", [COMPROMISE, RECALL_ONLY])
def test_the_widths_are_those_of_real_audits(population, models, n, replicates, focus):
    frame, count_M = population.frame, population.count_M
    preview = expected(frame, count_M=count_M, n=n, waves=4, focus=focus, **models)
    rng = np.random.default_rng(3)
    windows = [audit(population, n=n, rng=rng, focus=focus) for _ in range(replicates)]
    results = [estimate_all([window]) for window in windows]
    # What the focus leaves to chance depends on the first, still unlearned, waves.
    named = Estimand if focus is COMPROMISE else [Estimand.RECALL]
    for estimand in named:
        real = np.mean([width(result[estimand]) for result in results])
        assert width(preview.intervals[estimand]) == pytest.approx(real, rel=0.25), estimand


def test_the_points_are_the_models_values(population, models):
    result = expected(population.frame, count_M=population.count_M, n=300, waves=4, **models)
    truth = population.truth()
    for estimand, interval in result.intervals.items():
        assert interval.low < interval.point < interval.high
        assert interval.point == pytest.approx(truth[estimand], abs=0.01)


def test_the_expected_draws_spend_the_budget(population, models):
    count_M = population.count_M
    result = expected(population.frame, count_M=count_M, n=300, waves=4, **models)
    assert result.labels_M.sum() == pytest.approx(300)
    assert np.all(result.labels_M >= 0)
    assert np.all(result.labels_M <= count_M + 1)


def test_the_strata_are_those_of_the_first_wave(population, models):
    frame, count_M = population.frame, population.count_M
    first = plan_wave(frame, remaining_M=count_M, count_M=count_M, n=75, **models)
    result = expected(frame, count_M=count_M, n=300, waves=4, **models)
    assert result.strata == len(first.planned_H)


def test_more_labels_narrow_every_interval():
    few, more = preview(n=100), preview(n=400)
    for estimand in Estimand:
        assert width(more.intervals[estimand]) < width(few.intervals[estimand])


def test_a_wave_has_at_least_8_labels():
    assert preview(n=40, waves=20).intervals == preview(n=40, waves=5).intervals


def test_a_census_leaves_nothing_to_chance():
    result = preview(count=20, n=500, waves=1)
    assert result.labels_M.tolist() == [20, 20, 20, 20]
    assert width(result.intervals[Estimand.RECALL]) == 0


def test_a_census_may_end_before_the_last_wave():
    result = preview(count=[0, 0, 1, 40], n=41, waves=4)
    assert result.labels_M.sum() == pytest.approx(41, abs=1)
    assert result.intervals[Estimand.PRECISION].reason is None


@pytest.mark.parametrize("n", [0, 7, 31])
def test_too_few_labels_promise_nothing(n):
    result = preview(n=n, waves=1)
    for interval in result.intervals.values():
        assert (interval.point, interval.low, interval.high) == (None, 0, 1)
        assert interval.reason == "too few labels"
    assert preview(n=32, waves=1).intervals[Estimand.RECALL].point is not None


def test_an_empty_window_promises_nothing():
    result = preview(count=0)
    assert result.strata == 0
    assert all(interval.reason for interval in result.intervals.values())
    nothing = preview(CellFrame(*([] for _ in range(6))), [], f=[])
    assert all(interval.reason for interval in nothing.intervals.values())


def test_without_a_correct_rollout_to_expect_there_is_no_recall():
    intervals = preview(f=[1e-5] * 4).intervals
    assert intervals[Estimand.RECALL].reason == "no correct rollout expected among the labels"
    assert intervals[Estimand.FPR].reason is None


def test_without_an_incorrect_rollout_to_expect_there_is_no_fpr():
    intervals = preview(f=[1 - 1e-5] * 4).intervals
    assert intervals[Estimand.FPR].reason == "no incorrect rollout expected among the labels"
    assert intervals[Estimand.RECALL].reason is None


def test_without_accepted_rollouts_there_is_no_precision():
    intervals = preview(make_frame(2), f=[0.2, 0.4]).intervals
    assert intervals[Estimand.PRECISION].reason == "no rollout in the denominator"


def test_slices_of_interest_have_intervals_of_their_own(population, models):
    frame, count_M = population.frame, population.count_M
    inside, rest = ((frame.domain_M == 2).astype(float), (frame.domain_M != 2).astype(float))
    options = {"count_M": count_M, "n": 300, "waves": 4, **models}
    both = expected(frame, slices=[inside, rest], **options)
    alone = expected(frame, slices=[inside], **options)
    assert len(both.slices) == 2
    assert both.slices[0][Estimand.RECALL].point == alone.slices[0][Estimand.RECALL].point
    assert both.slices[0][Estimand.RECALL].point < both.slices[1][Estimand.RECALL].point
    for estimand in (Estimand.RECALL, Estimand.FPR, Estimand.ACCURACY):
        assert width(alone.slices[0][estimand]) < width(both.slices[0][estimand])


def test_ranking_expects_labels_where_verifiers_differ():
    other_M = np.array([False, False, True, False])
    verdicts = [SMALL.accepted_M, other_M]
    ranked = preview(accepted=verdicts, is_ranking=True)
    assert ranked.labels_M[3] > 150
    assert ranked.labels_M[3] > preview(accepted=verdicts).labels_M[3]
    assert np.all(ranked.labels_M > 0)
