"""The preview of a rule: what it would cost, and the intervals to expect."""

from collections.abc import Iterator, Sequence

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from review.flows.preview import Outlook, Preview
from review.stats.estimands import Estimand
from review.stats.preview import ExpectedInterval
from review.web.estimands import MAIN, label_of
from review.web.figures import bar, duration, half_width, percent_range, step_range
from review.web.words import said

BUDGETS = (gettext_lazy("Half"), gettext_lazy("This budget"), gettext_lazy("Double"))


def outlook_context(preview: Preview, *, verifiers: int) -> dict[str, object]:
    return {
        "steps": step_range(preview.first_step, preview.last_step),
        "is_stand_in": preview.is_stand_in,
        "frame_size": preview.frame_size,
        "cells": preview.cells,
        "strata": preview.strata,
        "pace": duration(preview.seconds_per_label),
        "is_pace_measured": preview.is_pace_measured,
        "columns": BUDGETS,
        "is_of_first": verifiers > 1,
        "costs": list(_costs(preview.outlooks)),
        "intervals": [_row(estimand, preview.outlooks) for estimand in MAIN],
        "slices": [
            {
                "name": name,
                "intervals": [_interval(intervals[Estimand(estimand)]) for estimand in MAIN],
            }
            for name, intervals in preview.outlooks[1].slices.items()
        ],
        "estimands": [label_of(estimand) for estimand in MAIN],
    }


def _costs(outlooks: Sequence[Outlook]) -> Iterator[dict[str, object]]:
    yield {"label": _("Labels"), "values": [f"{each.labels:,}" for each in outlooks]}
    yield {
        "label": _("Second reviews, about"),
        "values": [f"{each.second_reviews:,.0f}" for each in outlooks],
    }
    if any(each.gold for each in outlooks):
        yield {"label": _("Known answers"), "values": [f"{each.gold:,}" for each in outlooks]}
    yield {
        "label": _("Reviewers' time, about"),
        "values": [duration(3600 * each.hours) for each in outlooks],
    }


def _row(estimand: str, outlooks: Sequence[Outlook]) -> dict[str, object]:
    return {
        "label": label_of(estimand),
        "values": [_interval(each.intervals[Estimand(estimand)]) for each in outlooks],
    }


def _interval(expected: ExpectedInterval) -> dict[str, object]:
    if expected.point is None:
        return {
            "half_width": None,
            "interval": None,
            "bar": None,
            "reason": said(expected.reason),
        }
    return {
        "half_width": half_width((expected.high - expected.low) / 2),
        "interval": percent_range(expected.low, expected.high),
        "bar": bar(expected.low, expected.high, expected.point),
        "reason": None,
    }
