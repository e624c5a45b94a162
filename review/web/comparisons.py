"""The scorecard's second half: differences on the same labels, drift, and the steps."""

from collections.abc import Sequence

from review.calibration.comparisons import (
    COMPARED,
    Drift,
    against_primary,
    drifts,
    rankings,
)
from review.calibration.models import Estimate
from review.runs.models import Run
from review.stats.comparisons import Difference
from review.stats.drift import Slope
from review.verifiers.models import VerifierVersion
from review.verifiers.queries import correctness_verifiers_of, late_verifiers
from review.web.estimands import MEANINGS, PROCESS, label_of
from review.web.figures import percent, percent_range, span
from review.web.words import said

Cell = dict[str, str | None]


def context(run: Run, stored: Sequence[Estimate]) -> dict[str, object]:
    others = [*correctness_verifiers_of(run)[1:], *late_verifiers(run)]
    return {
        "compared": [label_of(estimand) for estimand in COMPARED],
        "against": [
            {"verifier": str(verifier), "cells": _against(run, verifier)} for verifier in others
        ],
        "ranks": _ranks(run),
        "drifts": [_drift(each) for each in drifts(run)],
        "process": [_process(row) for row in stored if row.estimand in PROCESS],
    }


def _against(run: Run, verifier: VerifierVersion) -> list[Cell] | None:
    found = against_primary(run, verifier)
    return None if found is None else [difference(found[estimand]) for estimand in COMPARED]


def _ranks(run: Run) -> list[dict[str, object]]:
    """By verifier its possible ranks for each estimand."""
    found = rankings(run)
    names = list(next(iter(found.values()), {}))
    return [
        {
            "verifier": name,
            "cells": [_rank(by_name[name].best, by_name[name].worst) for by_name in found.values()],
        }
        for name in names
    ]


def _rank(best: int, worst: int) -> str:
    return str(best) if best == worst else span(str(best), str(worst))


def difference(difference: Difference) -> Cell:
    if difference.point is None:
        return {"point": None, "interval": None, "reason": said(difference.reason)}
    return {
        "point": points(difference.point),
        "interval": points_range(difference.low, difference.high),
        "reason": None,
    }


def _drift(drift: Drift) -> dict[str, object]:
    return {
        "label": label_of(drift.estimand),
        "slope": _slope(drift.slope),
        "change": difference(drift.change),
    }


def _slope(slope: Slope) -> Cell:
    """Per ten steps."""
    if slope.point is None or slope.low is None or slope.high is None:
        return {"point": None, "interval": None, "reason": said(slope.reason)}
    return {
        "point": points(10 * slope.point),
        "interval": points_range(10 * slope.low, 10 * slope.high),
        "reason": None,
    }


def _process(row: Estimate) -> dict[str, object]:
    label, meaning = MEANINGS[row.estimand]
    return {
        "label": label,
        "help": meaning,
        "verifier": str(row.verifier) if row.verifier else None,
        "point": percent(row.point),
        "interval": percent_range(row.low, row.high),
        "labels": row.labels,
        "reason": said(row.reason),
    }


def points(share: float) -> str:
    """A difference of shares, in percentage points: +4.2."""
    return f"{100 * share:+.1f}"


def points_range(low: float, high: float) -> str:
    return span(points(low), points(high))
