"""The scorecard's part on rubrics: each verifier on each of its criteria, the weakest first."""

from collections.abc import Mapping
from itertools import groupby

from review.calibration.models import Estimand, Estimate
from review.calibration.queries import criteria_scorecard
from review.runs.models import Run
from review.web.estimands import CRITERIA, FEWEST_FOR_POINT, MEANINGS
from review.web.figures import percent, percent_range
from review.web.words import said

ByEstimand = Mapping[str, Estimate]


def context(run: Run) -> dict[str, object]:
    stored = criteria_scorecard(run)
    found = [
        {row.estimand: row for row in rows}
        for _, rows in groupby(stored, lambda row: (row.verifier_id, row.criterion))
    ]
    return {
        "criteria": [_shown(rows) for rows in sorted(found, key=_strength)],
        "criteria_columns": [MEANINGS[estimand] for estimand in CRITERIA],
    }


def _strength(rows: ByEstimand) -> tuple[float, float, str, str]:
    """How far a pass tells met from missed: recall less FPR. What is not known comes last, and
    last of all what has no partner."""
    recall, fpr = rows[Estimand.CRITERION_RECALL], rows[Estimand.CRITERION_FPR]
    name = str(recall.verifier), recall.criterion
    if recall.point is None or fpr.point is None:
        return (1.0 if recall.labels else 2.0, 0.0, *name)
    return (0.0, recall.point - fpr.point, *name)


def _shown(rows: ByEstimand) -> dict[str, object]:
    first = rows[Estimand.CRITERION_RECALL]
    # Where nothing was counted, one reason stands for all.
    reason = said(first.reason) if not first.labels else None
    return {
        "verifier": str(first.verifier),
        "criterion": first.criterion,
        "reason": reason,
        "cells": [] if reason else [_cell(rows[estimand]) for estimand in CRITERIA],
        "labels": first.labels,
        "unanswered": percent(first.unanswered_share) if first.unanswered_share else None,
    }


def _cell(row: Estimate) -> dict[str, str | None]:
    if row.point is None:
        return {"point": None, "interval": None, "reason": said(row.reason)}
    has_point = row.labels >= FEWEST_FOR_POINT
    return {
        "point": percent(row.point) if has_point else None,
        "interval": percent_range(row.low, row.high),
        "reason": None,
    }
