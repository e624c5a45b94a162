import numpy as np
import pytest
from scipy.special import expit, logit

from review.stats.estimators import estimate_all
from review.stats.reward_table import FALLBACK_KEYS, RewardNumbers, Rule, reward_numbers
from tests.stats.population import Population, audit, make_frame

# The demo: a verifier of boxed sums that accepts any box equal to the reference string.
HONEST, HEDGE, DECIMAL, PADDED, WRONG, NO_ANSWER = range(6)
CORRECT = {HONEST: 0.98, HEDGE: 0.0, DECIMAL: 0.85, PADDED: 0.85, WRONG: 0.02, NO_ANSWER: 0.0}
ROLLOUTS = {HONEST: 620, HEDGE: 300, DECIMAL: 150, PADDED: 100, WRONG: 820, NO_ANSWER: 60}
# The signature without its verdict: boxed/integer/1, boxed/integer/2+, boxed/decimal/1, ...
FAMILY = np.array([0, 1, 2, 3, 0, 4])
SHARES = {-1: 0.05, 0: 0.2, 1: 0.25, 2: 0.25, 3: 0.25}


def demo(rng) -> Population:
    kinds, bins, counts = [], [], []
    for kind, rollouts in ROLLOUTS.items():
        has_class = kind not in (HEDGE, NO_ANSWER)
        for share_bin, share in (SHARES if has_class else {-1: 1.0}).items():
            kinds.append(kind)
            bins.append(share_bin)
            counts.append(round(rollouts * share))
    correct_M = rng.binomial(counts, [CORRECT[kind] for kind in kinds])
    kind_M = np.array(kinds)
    frame = make_frame(len(kinds), accepted_M=kind_M <= HEDGE, share_bin_M=bins, signature_M=kind_M)
    return Population(frame, np.stack([correct_M, counts - correct_M, 0 * correct_M], axis=1))


def numbers(frame, *, count, labelled, correct, **options) -> RewardNumbers:
    options = {
        "undecided_M": np.zeros(len(frame), bool),
        "family_M": np.zeros(len(frame), int),
    } | options
    return reward_numbers(
        frame,
        count_M=np.array(count),
        labelled_M=np.array(labelled),
        correct_M=np.array(correct),
        **options,
    )


def table_after_audit(seed) -> tuple[Population, RewardNumbers]:
    rng = np.random.default_rng(seed)
    population = demo(rng)
    window = audit(population, n=96, rng=rng)
    assert all(estimate.point is not None for estimate in estimate_all([window]).values())
    labels = window.labels()
    table = numbers(
        population.frame,
        count=population.count_M,
        labelled=labels.answered_M,
        correct=labels.correct_M,
        family_M=FAMILY[population.frame.signature_M],
    )
    return population, table


@pytest.mark.parametrize("seed", range(5))
def test_96_labels_of_the_demo_find_hedges_and_odd_spellings(seed):
    population, table = table_after_audit(seed)
    value_M = table.cells.value(Rule.DEMOTE_OR_ABSTAIN)
    abstain_M = table.cells.abstain(Rule.DEMOTE_OR_ABSTAIN)
    kind_M = population.frame.signature_M
    assert np.all(value_M[kind_M == HEDGE] < 0.08)
    assert np.all(value_M[kind_M == HONEST] > 0.75)
    assert population.count_M[kind_M == HONEST] @ value_M[kind_M == HONEST] / 620 > 0.9
    odd_M = (kind_M == DECIMAL) | (kind_M == PADDED)
    assert abstain_M.tolist() == odd_M.tolist()
    assert np.all(value_M[kind_M >= DECIMAL] == 0)


def test_rewards_are_multiples_of_1_1024():
    _, table = table_after_audit(0)
    for rule in Rule:
        for rows in (table.cells, table.pooled, table.fallback):
            assert np.all(rows.value(rule) * 1024 % 1 == 0)


def test_only_demote_or_abstain_abstains():
    _, table = table_after_audit(0)
    assert table.cells.abstain(Rule.DEMOTE_OR_ABSTAIN).any()
    assert not table.cells.abstain(Rule.POSTERIOR).any()
    assert not table.cells.abstain(Rule.UNBIASED).any()


def test_the_posterior_rule_pays_the_probability():
    _, table = table_after_audit(0)
    assert table.cells.value(Rule.POSTERIOR) == pytest.approx(table.cells.p_correct_R, abs=5e-4)


def test_bounds_hold_the_probability():
    _, table = table_after_audit(0)
    for rows in (table.cells, table.pooled, table.fallback):
        assert np.all((rows.low_R <= rows.p_correct_R) & (rows.p_correct_R <= rows.high_R))


def test_pooled_rows_are_means_over_their_cells_rollouts():
    population, table = table_after_audit(0)
    honest_M = population.frame.signature_M == HONEST
    (row,) = set(table.pooled_M[honest_M])
    mean = np.average(table.cells.p_correct_R[honest_M], weights=population.count_M[honest_M])
    assert table.pooled.p_correct_R[row] == pytest.approx(mean)
    assert table.pooled.n_R[row] == table.cells.n_R[honest_M].sum()


def test_the_share_left_out_is_that_of_the_odd_spellings():
    population, table = table_after_audit(0)
    odd_M = np.isin(population.frame.signature_M, (DECIMAL, PADDED))
    left_out = population.count_M[odd_M].sum()
    assert table.left_out == pytest.approx(left_out / population.count_M.sum())
    rejected = population.count_M[~population.frame.accepted_M].sum()
    assert table.left_out_of_rejections == pytest.approx(left_out / rejected)


def test_shrinkage_by_hand():
    """The signature moves to its labels, then the cell; bounds are 1.645 sd of the logit away."""
    frame = make_frame(1, accepted_M=[1])
    table = numbers(frame, count=[100], labelled=[8], correct=[2])
    f = table.model.f_M[0]
    p = f + (2 - 8 * f) / 12
    p = p + (2 - 8 * p) / 28
    assert table.cells.p_correct_R == pytest.approx([p])
    sd = table.model.eta_sd_M[0]
    assert table.cells.low_R == pytest.approx([expit(logit(p) - 1.6449 * sd)], abs=1e-4)


def test_older_labels_may_count_as_fractions():
    frame = make_frame(1, accepted_M=[1])
    whole = numbers(frame, count=[100], labelled=[4], correct=[2])
    halves = numbers(frame, count=[100], labelled=[8 / 2], correct=[4 / 2])
    assert halves.cells.p_correct_R == pytest.approx(whole.cells.p_correct_R)


def test_without_labels_nothing_abstains_and_the_prior_answers():
    frame = make_frame(2, accepted_M=[1, 0], signature_M=[0, 1])
    table = numbers(frame, count=[100, 100], labelled=[0, 0], correct=[0, 0])
    assert table.cells.p_correct_R == pytest.approx(expit([1.6, -1.6]))
    assert not table.cells.abstain(Rule.DEMOTE_OR_ABSTAIN).any()


def test_a_signature_with_most_rejections_never_abstains():
    frame = make_frame(4, accepted_M=[1, 0, 0, 0], signature_M=[0, 1, 1, 2], share_bin_M=range(4))
    counts = {"count": [500, 200, 200, 300], "labelled": [9, 9, 9, 9], "correct": [9, 8, 8, 8]}
    table = numbers(frame, **counts)
    assert table.cells.abstain(Rule.DEMOTE_OR_ABSTAIN).tolist() == [False, False, False, True]
    overridden = numbers(frame, **counts, max_share_of_rejections=1.0)
    assert overridden.cells.abstain(Rule.DEMOTE_OR_ABSTAIN).tolist() == [False, True, True, True]


def test_undecided_abstains_until_it_is_proven_wrong():
    frame = make_frame(3, accepted_M=[1, 0, 0], signature_M=[0, 1, 2])
    table = numbers(
        frame,
        count=[500, 200, 200],
        labelled=[9, 2, 30],
        correct=[9, 0, 0],
        undecided_M=np.array([False, True, True]),
    )
    assert table.cells.abstain(Rule.DEMOTE_OR_ABSTAIN).tolist() == [False, True, False]


def test_an_accepted_probe_hit_is_paid_its_lower_bound():
    frame = make_frame(2, accepted_M=[1, 1], probe_M=[0, 1])
    table = numbers(frame, count=[500, 20], labelled=[20, 2], correct=[20, 2])
    value_M = table.cells.value(Rule.DEMOTE_OR_ABSTAIN)
    assert value_M[0] == pytest.approx(table.cells.p_correct_R[0], abs=5e-4)
    assert value_M[1] == pytest.approx(table.cells.low_R[1], abs=5e-4)


def test_rates_compare_cells_that_differ_in_the_verdict_alone():
    frame = make_frame(3, accepted_M=[1, 0, 0], signature_M=[0, 1, 2])
    table = numbers(
        frame,
        count=[600, 400, 100],
        labelled=[30, 30, 30],
        correct=[27, 6, 15],
        family_M=np.array([0, 0, 1]),
    )
    p_M = table.cells.p_correct_R
    tpr = 600 * p_M[0] / (600 * p_M[0] + 400 * p_M[1])
    fpr = 600 * (1 - p_M[0]) / (600 * (1 - p_M[0]) + 400 * (1 - p_M[1]))
    assert table.cells.tpr_R[:2] == pytest.approx([tpr, tpr])
    assert table.cells.fpr_R[:2] == pytest.approx([fpr, fpr])
    unbiased_M = table.cells.unbiased()
    assert unbiased_M[:2] == pytest.approx([(1 - fpr) / (tpr - fpr), -fpr / (tpr - fpr)])
    # Over the look-alikes its mean is their true accuracy.
    assert 600 * unbiased_M[0] + 400 * unbiased_M[1] == pytest.approx(600 * p_M[0] + 400 * p_M[1])
    # The third signature has one verdict only: it says nothing about who was right.
    assert np.isnan(unbiased_M[2])
    assert table.cells.value(Rule.UNBIASED)[2] == pytest.approx(p_M[2], abs=5e-4)


def test_rates_of_look_alikes_without_rollouts_are_undefined():
    frame = make_frame(2, accepted_M=[1, 1], signature_M=[0, 1])
    table = numbers(
        frame, count=[50, 0], labelled=[5, 0], correct=[5, 0], family_M=np.array([0, 1])
    )
    assert np.isnan(table.cells.tpr_R[1])
    assert np.isnan(table.cells.unbiased()[1])


def test_fallbacks_are_the_verdicts_own_rates():
    population, table = table_after_audit(0)
    rows = dict(zip(FALLBACK_KEYS, table.fallback.p_correct_R, strict=True))
    accepted_M = population.frame.accepted_M
    accepted = np.average(
        table.cells.p_correct_R[accepted_M], weights=population.count_M[accepted_M]
    )
    assert rows["pass/p0"] == pytest.approx(accepted)
    assert rows["pass"] == pytest.approx(accepted)
    assert rows["fail"] < rows["pass"]
    assert rows["pass/p1"] < rows["pass/p0"]


def test_an_unknown_rejection_never_abstains_and_an_unknown_undecided_does():
    _, table = table_after_audit(0)
    abstain_R = table.fallback.abstain(Rule.DEMOTE_OR_ABSTAIN)
    assert [key for key, is_out in zip(FALLBACK_KEYS, abstain_R, strict=True) if is_out] == [
        "undecided/p0",
        "undecided/p1",
        "undecided",
    ]


def test_a_frame_without_cells_is_refused():
    with pytest.raises(ValueError, match="cells"):
        numbers(make_frame(0), count=[], labelled=[], correct=[])
