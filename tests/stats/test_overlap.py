"""A seeded simulation of the rule for second reviews: what do reviewers' errors leave behind?"""

import numpy as np
import pytest

from tests.stats.reviewers import make_items, recall_and_fpr, review

ITEMS = 200_000


@pytest.fixture(scope="module")
def items():
    return make_items(ITEMS, np.random.default_rng(5))


def outcome(items, **options):
    """Bias of recall and false positive rate, and reviews per item."""
    accepted_I, correct_I = items
    reviewed = review(correct_I, accepted_I, np.random.default_rng(6), **options)
    truth = recall_and_fpr(correct_I, accepted_I)
    recall, fpr = recall_and_fpr(reviewed.final_I, accepted_I)
    return recall - truth[0], fpr - truth[1], reviewed.per_item


def test_single_reviews_belittle_the_verifier(items):
    recall, fpr, per_item = outcome(items, has_contradictions=False, by_chance=0)
    assert recall == pytest.approx(-0.026, abs=0.005)
    assert fpr == pytest.approx(0.036, abs=0.005)
    assert per_item == 1


def test_second_reviews_at_random_alone_help_little(items):
    recall, fpr, per_item = outcome(items, has_contradictions=False, by_chance=0.2)
    assert recall < -0.015
    assert fpr > 0.02
    assert per_item == pytest.approx(1.2, abs=0.03)


def test_second_reviews_of_contradictions_remove_most_of_the_bias(items):
    recall, fpr, per_item = outcome(items)
    assert abs(recall) <= 0.006
    assert abs(fpr) <= 0.006
    assert per_item <= 1.35


def test_reviewers_who_never_err_leave_no_bias(items):
    assert outcome(items, errors=(0.0, 0.0, 0.0))[:2] == (0, 0)
