"""How far reviewers agree, how fast they are, and how right on known answers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from review.accounts.models import User
from review.labeling.models import Answer, Cause, Label, Lease
from review.labeling.queries import FINAL, SlotLabel, labels_by_rollout
from review.sampling.models import AuditRule, Draw, WaveState
from review.stats.agreement import (
    Agreement,
    StepAgreement,
    nominal_agreement,
    step_agreement,
)
from review.stats.cells import FloatArray
from review.stats.intervals import Interval, wilson

CODES = {Answer.INCORRECT: 0.0, Answer.CORRECT: 1.0, Answer.CANNOT_TELL: 2.0}


@dataclass(frozen=True, slots=True)
class AgreementReport:
    """From the random second reviews alone: the others were asked for because of their labels.

    raw: of the pairs as they are. weighted: of the rollouts that they stand for; the sample has
    more hard ones than the run, so raw agreement looks worse than it is.
    """

    raw: Agreement
    weighted: Agreement
    hacks: Agreement
    steps: StepAgreement


def agreement_of(rule: AuditRule) -> AgreementReport:
    """Agreement in the rule's queue."""
    pairs = _random_pairs(rule)
    weight_I = np.array([weight for weight, _ in pairs], dtype=float)
    answer_IR = _ratings([[CODES[Answer(x.answer)] for x in pair] for _, pair in pairs])
    hack_IR = _ratings([[_hack(x) for x in pair] for _, pair in pairs])
    step_IR = _ratings([[_step(x) for x in pair] for _, pair in pairs])
    return AgreementReport(
        raw=nominal_agreement(answer_IR),
        weighted=nominal_agreement(answer_IR, weight_I=weight_I),
        hacks=nominal_agreement(hack_IR),
        steps=step_agreement(step_IR),
    )


def _random_pairs(rule: AuditRule) -> list[tuple[float, list[SlotLabel]]]:
    """The design weight of each draw with a random second review, and its first two labels."""
    windows = list(rule.windows.all())
    draws = Draw.objects.filter(window__in=windows).exclude(wave__state=WaveState.CANCELLED)
    weights = dict(draws.values_list("rollout_id", "weight"))
    pairs: list[tuple[float, list[SlotLabel]]] = []
    for (_, rollout_id), labels in labels_by_rollout(windows).items():
        pair = labels[:2]
        is_random = [label.slot for label in pair] == [1, 2] and pair[1].cause == Cause.RANDOM
        if is_random and rollout_id in weights:
            pairs.append((weights[rollout_id], pair))
    return pairs


def _ratings(rows: Sequence[Sequence[float]]) -> FloatArray:
    return np.array(rows, dtype=float).reshape(-1, 2)


def _hack(label: SlotLabel) -> float:
    return np.nan if label.is_hack is None else float(label.is_hack)


def _step(label: SlotLabel) -> float:
    if label.has_no_wrong_step:
        return 0.0
    return np.nan if label.earliest_wrong_step is None else float(label.earliest_wrong_step)


@dataclass(frozen=True, slots=True)
class ReviewerReport:
    """gold: share of right ones of the known answers that they decided, with Wilson's interval."""

    reviewer: User
    labels: int
    median_seconds: float | None
    gold: Interval


def reviewers_of(rule: AuditRule) -> list[ReviewerReport]:
    """Everybody who has labelled in the rule's queue, the busiest first."""
    labels: dict[int, list[Label]] = defaultdict(list)
    rows = Label.objects.filter(assignment__queue__rule=rule, **FINAL)
    for label in rows.select_related("assignment__rollout__gold_item").defer(
        "assignment__rollout__messages", "assignment__rollout__steps"
    ):
        labels[label.reviewer_id].append(label)
    taken = _taken(rule)
    people = User.objects.in_bulk(list(labels))
    reports = [_report(people[pk], mine, taken) for pk, mine in labels.items()]
    return sorted(reports, key=lambda report: (-report.labels, report.reviewer.username))


def _taken(rule: AuditRule) -> dict[tuple[object, int], float]:
    """When each reviewer last took each item."""
    rows = Lease.objects.filter(assignment__queue__rule=rule).order_by("taken_at")
    return {
        (assignment_id, reviewer_id): taken_at.timestamp()
        for assignment_id, reviewer_id, taken_at in rows.values_list(
            "assignment_id", "reviewer_id", "taken_at"
        )
    }


def _report(
    reviewer: User, labels: Sequence[Label], taken: dict[tuple[object, int], float]
) -> ReviewerReport:
    keys = [(label.assignment_id, reviewer.pk) for label in labels]
    seconds = [
        label.created_at.timestamp() - taken[key]
        for key, label in zip(keys, labels, strict=True)
        if key in taken
    ]
    decided = [label for label in labels if label.answer != Answer.CANNOT_TELL]
    gold = [label for label in decided if label.assignment.cause == Cause.GOLD]
    right = sum(label.answer == label.assignment.rollout.gold_item.answer for label in gold)
    return ReviewerReport(
        reviewer=reviewer,
        labels=len(labels),
        median_seconds=median(seconds) if seconds else None,
        gold=wilson(right, len(gold)),
    )
