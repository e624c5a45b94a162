"""The verifier scorecard, and the labelled rollouts behind each of its numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET

from review.calibration.labelled_rollouts import Labelled, labelled_behind
from review.calibration.models import Estimand, Estimate
from review.calibration.queries import scorecard as stored_scorecard
from review.core.errors import MissingError
from review.rollouts.models import Rollout
from review.rollouts.queries import step_summaries
from review.rollouts.slices import describe
from review.runs.models import Run
from review.verifiers.queries import correctness_verifiers_of
from review.web import access, comparisons, criteria
from review.web.access import ReviewRequest
from review.web.estimands import FEWEST_FOR_POINT, MEANINGS, PROCESS, SCORED, label_of
from review.web.figures import answer_words, bar, percent, percent_range
from review.web.navigation import project_frame
from review.web.words import said

ROWS_A_PAGE = 25
# Where a high number is a bad one: the worst first means the highest first.
BAD_WHEN_HIGH = {Estimand.FPR, Estimand.HACK_RATE}


@dataclass(slots=True)
class Row:
    """One verifier on one part of the run."""

    first: Estimate
    estimates: dict[str, Estimate] = field(default_factory=dict)


@require_GET
@login_required
def scorecard(request: ReviewRequest, run_id: UUID) -> HttpResponse:
    run = access.run_led(request.user, run_id)
    sort = request.GET.get("sort", "")
    is_worst_last = request.GET.get("order") == "last"
    stored = stored_scorecard(run)
    rows = _sorted(_rows(stored), sort, is_worst_last=is_worst_last)
    own = correctness_verifiers_of(run)
    rollouts = sum(summary.rollouts for summary in step_summaries(run))
    context = project_frame(request, run.project, "") | {
        "run": {"id": run.pk, "name": run.name},
        "rows": [_shown(row, run, str(own[0]) if own else "", rollouts) for row in rows],
        "columns": [_column(run, estimand, sort, is_worst_last) for estimand in SCORED],
        "meanings": [MEANINGS[estimand] for estimand in SCORED],
        "slices_url": reverse("web:slices", args=[run.project.slug]),
        "disagreements_url": reverse("web:disagreements", args=[run.pk]),
        "replay_url": reverse("web:replay-new", args=[run.pk]),
    }
    context |= comparisons.context(run, stored) | criteria.context(run)
    return render(request, "web/scorecard.html", context)


def _rows(stored: Sequence[Estimate]) -> list[Row]:
    grouped: dict[tuple[object, ...], Row] = {}
    for estimate in stored:
        if estimate.estimand in PROCESS:
            continue
        key = estimate.verifier_id, estimate.slice_id, estimate.policy_id
        row = grouped.setdefault(key, Row(estimate))
        row.estimates[estimate.estimand] = estimate
    return list(grouped.values())


def _sorted(rows: list[Row], sort: str, *, is_worst_last: bool) -> list[Row]:
    """By the points of an estimand; what has none, or too few labels for one, comes last."""
    if sort not in SCORED:
        return rows
    known = [row for row in rows if _has_point(row.estimates.get(sort))]
    rest = [row for row in rows if not _has_point(row.estimates.get(sort))]
    is_highest_first = (sort in BAD_WHEN_HIGH) != is_worst_last
    known.sort(key=lambda row: row.estimates[sort].point or 0.0, reverse=is_highest_first)
    return known + rest


def _has_point(estimate: Estimate | None) -> bool:
    return (
        estimate is not None and estimate.point is not None and estimate.labels >= FEWEST_FOR_POINT
    )


def _column(run: Run, estimand: Estimand, sort: str, is_worst_last: bool) -> dict[str, str | None]:
    is_chosen = estimand == sort
    order = "last" if is_chosen and not is_worst_last else "first"
    is_descending = (estimand in BAD_WHEN_HIGH) != is_worst_last
    url = reverse("web:scorecard", args=[run.pk])
    return {
        "label": label_of(estimand),
        "url": f"{url}?{urlencode({'sort': estimand.value, 'order': order})}",
        "aria": ("descending" if is_descending else "ascending") if is_chosen else None,
    }


def _shown(row: Row, run: Run, primary: str, rollouts: int) -> dict[str, object]:
    first = row.first
    part = _("every rollout")
    if first.slice:
        part = first.slice.name
    elif first.policy:
        part = _("policy %(uid)s") % {"uid": first.policy.uid}
    return {
        "verifier": str(first.verifier) if first.verifier else primary,
        "is_primary": first.verifier_id is None,
        "part": part,
        "words": describe(first.slice.conditions) if first.slice else None,
        "labels": max(estimate.labels for estimate in row.estimates.values()),
        "left_out": first.left_out,
        "cells": [_cell(run, row.estimates.get(estimand), rollouts) for estimand in SCORED],
    }


def _cell(run: Run, row: Estimate | None, rollouts: int) -> dict[str, object]:
    if row is None or row.point is None:
        reason = said(row.reason) if row else _("not estimated")
        return {"point": None, "interval": None, "reason": reason, "url": None}
    if row.low == row.high and row.slice_id:
        # A part that is made of verdicts settles what it is asked about them.
        reason = _("%(share)s, by the part's definition") % {"share": percent(row.point)}
        return {"point": None, "interval": None, "reason": reason, "url": None}
    has_point = _has_point(row)
    # That many labels drawn at random would do as well; more than there are rollouts says nothing.
    effective = row.effective_labels
    is_telling = effective is not None and effective < rollouts
    return {
        "point": percent(row.point) if has_point else None,
        "interval": percent_range(row.low, row.high),
        "bar": bar(row.low, row.high, row.point if has_point else None),
        "effective": f"{effective:,.0f}" if is_telling else None,
        "reason": None,
        "url": _evidence_url(run, row),
    }


def _evidence_url(run: Run, row: Estimate) -> str:
    chosen = {
        "estimand": row.estimand,
        "verifier": row.verifier_id,
        "slice": row.slice_id,
        "policy": row.policy_id,
    }
    query = urlencode({name: value for name, value in chosen.items() if value is not None})
    return f"{reverse('web:labelled', args=[run.pk])}?{query}"


# The rollouts behind a number


@require_GET
@login_required
def labelled(request: ReviewRequest, run_id: UUID) -> HttpResponse:
    run = access.run_led(request.user, run_id)
    row = _row_of(run, request.GET)
    conditions = list(row.slice.conditions) if row.slice else []
    if row.policy:
        conditions.append({"field": "policy", "op": "is", "value": row.policy.uid})
    found = labelled_behind(run, row.estimand, verifier=row.verifier, conditions=conditions)
    page = Paginator(found, ROWS_A_PAGE).get_page(request.GET.get("page"))
    label, meaning = MEANINGS[row.estimand]
    query = request.GET.copy()
    query.pop("page", None)
    rollouts = sum(summary.rollouts for summary in step_summaries(run))
    primary = str(correctness_verifiers_of(run)[0])
    context = project_frame(request, run.project, "") | {
        "run": {"id": run.pk, "name": run.name},
        "label": label,
        "help": meaning,
        "row": _shown(Row(row, {row.estimand: row}), run, primary, rollouts),
        "cell": _cell(run, row, rollouts),
        "bad": BAD_CASES[row.estimand],
        "rollouts": _listed(run, [*page]),
        "total": len(found),
        "bad_total": sum(is_bad for _, is_bad in found),
        "page": page,
        "query": query.urlencode(),
    }
    return render(request, "web/labelled.html", context)


BAD_CASES: Mapping[str, Promise] = {
    Estimand.RECALL: gettext_lazy("right, but rejected"),
    Estimand.FPR: gettext_lazy("wrong, but accepted"),
    Estimand.PRECISION: gettext_lazy("accepted, but wrong"),
    Estimand.REJECTED_CORRECT: gettext_lazy("rejected, but right"),
    Estimand.ACCURACY: gettext_lazy("wrong"),
    Estimand.HACK_RATE: gettext_lazy("accepted and marked as a hack"),
}


def _row_of(run: Run, chosen: Mapping[str, str]) -> Estimate:
    """The stored estimate that was clicked on."""
    wanted = tuple(chosen.get(name, "") for name in ("estimand", "verifier", "slice", "policy"))
    rows = (row for row in stored_scorecard(run) if row.estimand in BAD_CASES)
    for row in rows:
        ids = (row.verifier_id, row.slice_id, row.policy_id)
        if (row.estimand, *("" if pk is None else str(pk) for pk in ids)) == wanted:
            return row
    raise MissingError("There is no such number on this run's scorecard.")


def _listed(run: Run, found: Sequence[tuple[Labelled, bool]]) -> list[dict[str, object]]:
    ids = [each.rollout_id for each, _ in found]
    rollouts: Mapping[int, Rollout] = (
        run.rollouts.select_related("group__prompt").defer("steps").in_bulk(ids)
    )
    return [
        {
            "url": reverse("web:rollout", args=[run.pk, each.rollout_id]),
            "problem": rollouts[each.rollout_id].group.prompt.text[:160],
            "step": rollouts[each.rollout_id].step,
            "answer": answer_words(each.final.answer),
            "is_hack": each.final.is_hack,
            "outcome": each.outcome,
            "is_bad": is_bad,
        }
        for each, is_bad in found
    ]
