import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from review.stats.cells import total_by
from review.stats.design import COMPROMISE, RECALL_ONLY, Focus, draw_counts, item_sd, plan_wave
from tests.stats.population import make_frame, make_population


def plan(frame, remaining, n, *, f=None, **options):
    remaining_M = np.asarray(remaining)
    f_M = np.full(len(frame), 0.5) if f is None else np.asarray(f)
    q_M = frame.accepted_M * 0.01
    return plan_wave(
        frame, remaining_M=remaining_M, count_M=remaining_M, f_M=f_M, q_M=q_M, n=n, **options
    )


@pytest.mark.parametrize(
    "weights",
    [
        {"recall": -1.0},
        {"fpr": float("nan")},
        {"accuracy": float("inf")},
        {"recall": 0, "fpr": 0, "accuracy": 0, "hack_rate": 0},
    ],
)
def test_a_focus_that_means_nothing_is_refused(weights):
    with pytest.raises(ValueError, match="focus"):
        Focus(**weights)


def test_recall_focus_looks_where_correct_rollouts_may_have_been_rejected():
    frame = make_frame(2, accepted_M=[0, 1])
    sd_M = item_sd(
        frame,
        count_M=np.array([1000, 1000]),
        f_M=np.array([0.2, 0.9]),
        q_M=np.array([0, 0.01]),
        focus=RECALL_ONLY,
    )
    recall = 900 / 1100
    # |c| sqrt(f (1 - f)) with c = recall for the rejected and 1 - recall for the accepted.
    assert sd_M[0] / sd_M[1] == pytest.approx(recall * 0.4 / ((1 - recall) * 0.3))


def test_a_focus_that_cannot_vary_falls_back_to_correctness():
    frame = make_frame(2, accepted_M=[1, 1])
    sd_M = item_sd(
        frame,
        count_M=np.array([10, 10]),
        f_M=np.array([0.5, 0.9]),
        q_M=np.zeros(2),
        focus=RECALL_ONLY,
    )
    assert sd_M == pytest.approx([0.5, 0.3])


def test_a_model_that_is_certain_still_leaves_a_doubt():
    frame = make_frame(2, accepted_M=[0, 1])
    f_M = np.zeros(2)
    sd_M = item_sd(frame, count_M=np.array([9, 9]), f_M=f_M, q_M=f_M, focus=RECALL_ONLY)
    assert np.all(sd_M > 0)


def test_proportional_draws_still_reach_every_stratum():
    frame = make_frame(4, accepted_M=[0, 0, 1, 1], signature_M=range(4))
    wave = plan(frame, [100_000, 2, 2, 2], 8, f=[0.1, 0.4, 0.6, 0.9], mix=1.0)
    assert wave.n == 8
    assert np.all(wave.planned_H >= 1)


def test_strata_separate_verdicts_and_probe_hits():
    frame = make_frame(4, accepted_M=[0, 0, 1, 1], probe_M=[0, 1, 0, 1])
    wave = plan(frame, [100, 100, 100, 100], 16)
    assert len(set(wave.stratum_M)) == 4


def test_a_lone_probe_hit_joins_the_rest_of_its_verdict():
    frame = make_frame(3, accepted_M=[0, 1, 1], probe_M=[0, 0, 1])
    assert plan(frame, [100, 100, 1], 16).stratum_M.tolist() == [0, 1, 1]


def test_a_lone_rollout_of_its_verdict_stays_a_stratum():
    frame = make_frame(2, accepted_M=[0, 1])
    assert plan(frame, [100, 1], 16).stratum_M.tolist() == [0, 1]


def test_below_8_labels_there_is_one_stratum_per_verdict():
    frame = make_frame(4, accepted_M=[0, 0, 1, 1], probe_M=[0, 1, 0, 1])
    wave = plan(frame, [100, 100, 100, 100], 7, f=[0.1, 0.4, 0.6, 0.9])
    assert wave.stratum_M.tolist() == [0, 0, 1, 1]


def test_one_label_has_one_stratum():
    wave = plan(make_frame(2, accepted_M=[0, 1]), [30, 10], 1)
    assert wave.stratum_M.tolist() == [0, 0]
    assert wave.weight_H.tolist() == [40]


def test_a_budget_beyond_what_remains_is_a_census():
    wave = plan(make_frame(3, accepted_M=[0, 0, 1]), [5, 0, 7], 100)
    assert wave.n == 12
    assert wave.weight_H.tolist() == [1, 1]
    assert wave.stratum_M[1] == -1


@pytest.mark.parametrize(("remaining", "n"), [([0, 0], 10), ([5, 5], 0)])
def test_nothing_to_draw_is_an_empty_plan(remaining, n):
    wave = plan(make_frame(2), remaining, n)
    assert wave.n == 0
    assert draw_counts(wave, np.array(remaining), seed=1).tolist() == [0, 0]


def test_more_left_than_there_ever_was_is_refused():
    frame = make_frame(1)
    f_M = np.array([0.5])
    with pytest.raises(ValueError, match="remaining"):
        plan_wave(
            frame, remaining_M=np.array([3]), count_M=np.array([2]), f_M=f_M, q_M=f_M * 0, n=1
        )


def test_the_mix_bounds_the_weights():
    population = make_population(np.random.default_rng(1))
    count_M = population.count_M
    f_M = np.where(population.frame.accepted_M, 0.999, 0.001)
    wave = plan(population.frame, count_M, 200, f=f_M, mix=0.5)
    # Half of the wave is proportional; rounding may cost a stratum one label.
    bound = count_M.sum() / (0.5 * 200)
    assert np.all(wave.weight_H <= bound * (1 + 1 / wave.planned_H))


def test_the_same_seed_draws_the_same_counts():
    population = make_population(np.random.default_rng(1))
    wave = plan(population.frame, population.count_M, 100)
    first, second, other = (draw_counts(wave, population.count_M, seed=s) for s in (7, 7, 8))
    assert first.tolist() == second.tolist()
    assert first.tolist() != other.tolist()


def test_every_rollout_of_a_stratum_is_drawn_equally_often():
    frame = make_frame(3, accepted_M=[0, 0, 0])
    remaining_M = np.array([50, 30, 20])
    wave = plan(frame, remaining_M, 6)
    drawn_M = sum(draw_counts(wave, remaining_M, seed=seed) for seed in range(3000))
    assert drawn_M / 3000 == pytest.approx([3.0, 1.8, 1.2], abs=0.08)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_an_allocation_spends_the_budget_and_stays_inside_every_stratum(data):
    cells = data.draw(st.integers(1, 12))

    def column(strategy):
        return np.array(data.draw(st.lists(strategy, min_size=cells, max_size=cells)))

    frame = make_frame(
        cells, accepted_M=column(st.booleans()), probe_M=column(st.sampled_from([0, 0, 0, 1]))
    )
    count_M = column(st.sampled_from([0, 1, 2, 9, 60, 5000, 1_000_000]))
    remaining_M = np.minimum(count_M, column(st.sampled_from([0, 1, 50, 1_000_000])))
    f_M = column(st.floats(1e-5, 1 - 1e-5))
    n = data.draw(st.integers(0, 400))
    focus = data.draw(st.sampled_from([COMPROMISE, RECALL_ONLY]))
    wave = plan_wave(
        frame,
        remaining_M=remaining_M,
        count_M=count_M,
        f_M=f_M,
        q_M=frame.accepted_M * (1 - f_M) * 0.3,
        n=n,
        focus=focus,
    )
    drawn_M = draw_counts(wave, remaining_M, seed=data.draw(st.integers(0, 99)))
    strata = len(wave.planned_H)
    assert wave.n == drawn_M.sum() == min(n, remaining_M.sum())
    assert np.all((wave.planned_H >= 1) & (wave.planned_H <= wave.remaining_H))
    assert np.all(wave.weight_H >= 1)
    assert np.all(drawn_M <= remaining_M)
    if strata:
        assert np.array_equal(total_by(wave.stratum_M, drawn_M, strata), wave.planned_H)
        assert np.array_equal(total_by(wave.stratum_M, remaining_M, strata), wave.remaining_H)
        assert np.array_equal(wave.stratum_M >= 0, remaining_M > 0)
