import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from review.stats.cells import total_by
from review.stats.design import (
    ACCURACY_ONLY,
    COMPROMISE,
    FPR_ONLY,
    HACKS_ONLY,
    RECALL_ONLY,
    Focus,
    draw_counts,
    item_sd,
    plan_wave,
)
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


def sd_of(frame, f, count=1000, q=0.01, **options):
    count_M = np.broadcast_to(count, len(frame))
    options = {"focus": COMPROMISE} | options
    return item_sd(frame, count_M=count_M, f_M=np.array(f), q_M=frame.accepted_M * q, **options)


def same(first, second):
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("stratum_M", "remaining_H", "planned_H", "weight_H")
    )


def test_hacks_alone_still_leave_every_rollout_a_chance():
    frame = make_frame(4, accepted_M=[0, 0, 1, 1])
    wave = plan(frame, [100, 100, 100, 100], 16, f=[0.1, 0.4, 0.6, 0.9], focus=HACKS_ONLY)
    assert np.all(wave.stratum_M >= 0)
    assert wave.planned_H[wave.stratum_M[0]] == 1


def test_the_frames_own_verifier_need_not_be_named():
    population = make_population(np.random.default_rng(1))
    frame, count_M = population.frame, population.count_M
    f_M = np.where(frame.accepted_M, 0.9, 0.2)
    own = plan(frame, count_M, 60, f=f_M)
    assert same(own, plan(frame, count_M, 60, f=f_M, accepted=[frame.accepted_M]))
    assert same(own, plan(frame, count_M, 60, f=f_M, is_ranking=True))


def test_two_verifiers_of_equal_verdicts_ask_for_what_one_does():
    frame = make_frame(3, accepted_M=[0, 1, 1])
    f = [0.2, 0.9, 0.6]
    twice_M = sd_of(frame, f, accepted=[frame.accepted_M, frame.accepted_M])
    assert twice_M == pytest.approx(np.sqrt(2) * sd_of(frame, f))


def test_a_second_verifier_adds_its_own_variance():
    frame = make_frame(3, accepted_M=[0, 0, 1])
    other_M = np.array([False, True, True])
    f = [0.2, 0.5, 0.9]
    both_M = sd_of(frame, f, focus=FPR_ONLY, accepted=[frame.accepted_M, other_M])
    alone = [sd_of(frame, f, focus=FPR_ONLY, accepted=[v]) for v in (frame.accepted_M, other_M)]
    assert both_M**2 == pytest.approx(alone[0] ** 2 + alone[1] ** 2)


def test_ranking_looks_only_where_verifiers_differ():
    frame = make_frame(4, accepted_M=[0, 0, 1, 1])
    other_M = np.array([False, True, True, False])
    sd_M = sd_of(
        frame,
        [0.2, 0.3, 0.9, 0.6],
        focus=RECALL_ONLY,
        accepted=[frame.accepted_M, other_M],
        is_ranking=True,
    )
    assert sd_M[[0, 2]].tolist() == [0, 0]
    # Both verifiers' answers there count once each: |V - V'| = 1.
    assert sd_M[1] / sd_M[3] == pytest.approx(np.sqrt(0.3 * 0.7 / (0.6 * 0.4)))


def test_ranking_adds_up_over_all_pairs():
    frame = make_frame(3, accepted_M=[1, 0, 0])
    verdicts = [np.array(v, bool) for v in ([1, 0, 0], [1, 1, 0], [1, 1, 1])]
    options = {"focus": FPR_ONLY, "is_ranking": True}
    f = [0.8, 0.5, 0.3]
    pairs = ([0, 1], [0, 2], [1, 2])
    expected_M = sum(
        sd_of(frame, f, accepted=[verdicts[i] for i in p], **options) ** 2 for p in pairs
    )
    assert sd_of(frame, f, accepted=verdicts, **options) ** 2 == pytest.approx(expected_M)


def test_a_ranking_wave_spends_on_disagreement_and_still_reaches_the_rest():
    frame = make_frame(4, accepted_M=[0, 0, 1, 1])
    other_M = np.array([False, True, True, False])
    verdicts = [frame.accepted_M, other_M]
    options = {"f": [0.2, 0.3, 0.9, 0.6], "accepted": verdicts, "is_ranking": True}
    wave = plan(frame, [50_000, 500, 50_000, 500], 100, mix=0.1, **options)
    labels_M = wave.planned_H[wave.stratum_M]
    assert len(set(wave.stratum_M)) == 4
    assert labels_M[[1, 3]].sum() == 90
    assert labels_M[[0, 2]].tolist() == [5, 5]
    bare = plan(frame, [50_000, 500, 50_000, 500], 100, mix=0.0, **options)
    assert bare.planned_H[bare.stratum_M[[0, 2]]].tolist() == [1, 1]


@pytest.mark.parametrize("focus", [COMPROMISE, ACCURACY_ONLY])
def test_verifiers_that_never_differ_are_not_ranked(focus):
    frame = make_frame(3, accepted_M=[0, 1, 1])
    f = [0.2, 0.9, 0.6]
    twins = [frame.accepted_M, frame.accepted_M]
    ranked_M = sd_of(frame, f, focus=focus, accepted=twins, is_ranking=True)
    assert np.array_equal(ranked_M, sd_of(frame, f, focus=focus, accepted=twins))


def test_accuracy_cannot_rank_verifiers():
    frame = make_frame(2, accepted_M=[0, 1])
    verdicts = [frame.accepted_M, ~frame.accepted_M]
    ranked_M = sd_of(frame, [0.2, 0.9], focus=ACCURACY_ONLY, accepted=verdicts, is_ranking=True)
    assert np.array_equal(
        ranked_M, sd_of(frame, [0.2, 0.9], focus=ACCURACY_ONLY, accepted=verdicts)
    )


def test_slices_weigh_together_as_much_as_the_whole():
    frame = make_frame(4, accepted_M=[0, 1, 0, 1])
    f = [0.2, 0.9, 0.3, 0.7]
    whole_M = np.ones(4)
    once_M = sd_of(frame, f, slices=[whole_M])
    assert once_M == pytest.approx(np.sqrt(2) * sd_of(frame, f))
    assert sd_of(frame, f, slices=[whole_M, whole_M]) == pytest.approx(once_M)


def test_a_slice_of_interest_gets_more_labels():
    population = make_population(np.random.default_rng(1))
    frame, count_M = population.frame, population.count_M
    inside_M = (frame.domain_M == 2).astype(float)
    f_M = np.where(frame.accepted_M, 0.9, 0.2)
    plain, sliced = (plan(frame, count_M, 200, f=f_M, slices=slices) for slices in ((), [inside_M]))

    def labels_inside(wave):
        return inside_M @ (count_M / wave.weight_H[wave.stratum_M])

    assert labels_inside(sliced) > 1.5 * labels_inside(plain)
    assert sliced.n == plain.n == 200


def test_a_slice_that_holds_part_of_a_cell_counts_in_part():
    frame = make_frame(2, accepted_M=[0, 0])
    sd_M = sd_of(frame, [0.5, 0.5], focus=ACCURACY_ONLY, slices=[np.array([0.5, 0.0])])
    # Whole: v / (N v), for N = 2000. Slice: the share's square, in units of 1000 * .5^2 * v.
    assert sd_M**2 == pytest.approx([1 / 2000 + 1 / 1000, 1 / 2000])


def test_an_empty_slice_changes_nothing():
    frame = make_frame(2, accepted_M=[0, 1])
    assert np.array_equal(sd_of(frame, [0.2, 0.9], slices=[np.zeros(2)]), sd_of(frame, [0.2, 0.9]))


@pytest.mark.parametrize(
    "options",
    [
        {"accepted": [np.array([True])]},
        {"slices": [np.ones(3)]},
        {"slices": [np.array([0.0, 1.5])]},
        {"slices": [np.array([0.0, np.nan])]},
    ],
)
def test_verdicts_and_slices_that_do_not_fit_the_frame_are_refused(options):
    with pytest.raises(ValueError, match="cell"):
        sd_of(make_frame(2, accepted_M=[0, 1]), [0.2, 0.9], **options)


@settings(max_examples=150)
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
    focus = data.draw(st.sampled_from([COMPROMISE, RECALL_ONLY, HACKS_ONLY]))
    others = data.draw(st.integers(0, 2))
    wave = plan_wave(
        frame,
        remaining_M=remaining_M,
        count_M=count_M,
        f_M=f_M,
        q_M=frame.accepted_M * (1 - f_M) * 0.3,
        n=n,
        focus=focus,
        mix=data.draw(st.sampled_from([0.0, 0.15, 1.0])),
        accepted=[column(st.booleans()) for _ in range(others)],
        slices=[column(st.sampled_from([0.0, 0.3, 1.0])) for _ in range(others)],
        is_ranking=data.draw(st.booleans()),
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
