"""Any two verifiers of a run beside each other: what they say of what, and where they disagree."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from review.calibration.comparisons import COMPARED, compare_verifiers
from review.labeling.queries import FinalAnswer, final_answers
from review.runs.models import Run
from review.sampling.queries import windows_for_run
from review.verifiers.models import Channel, Outcome, Verdict, VerifierVersion
from review.verifiers.queries import (
    Pairs,
    correctness_verifiers_of,
    disagreements,
    judges_of,
    outcome_pairs,
)
from review.web import access, comparisons
from review.web.access import ReviewRequest
from review.web.estimands import label_of
from review.web.figures import answer_words
from review.web.forms.replays import PairForm
from review.web.navigation import project_frame

ROWS_A_PAGE = 25


@require_GET
@login_required
def disagreements_page(request: ReviewRequest, run_id: UUID) -> HttpResponse:
    run = access.run_led(request.user, run_id)
    judges = judges_of(run)
    form = PairForm(judges, _chosen(judges, request.GET))
    context = project_frame(request, run.project, "") | {
        "run": {"id": run.pk, "name": run.name},
        "form": form,
        "has_pair": len(judges) > 1,
        "first": None,
    }
    if len(judges) > 1 and form.is_valid():
        context |= _pair(run, *form.pair(), request)
    return render(request, "web/disagreements.html", context)


def _chosen(judges: Sequence[VerifierVersion], given: Any) -> dict[str, Any]:
    """The two that are asked for; else the first two that the run has."""
    names = [str(judge.pk) for judge in judges]
    first = given.get("first", names[0] if names else "")
    others = [name for name in names if name != first]
    return {"first": first, "second": given.get("second", others[0] if others else "")}


def _pair(
    run: Run, first: VerifierVersion, second: VerifierVersion, request: ReviewRequest
) -> dict[str, object]:
    pairs = outcome_pairs(run, first, second)
    said = _said(request.GET.get("said", ""))
    rows = disagreements(run, first, second).select_related("rollout__group__prompt")
    total = sum(n for (a, b), n in pairs.items() if a != b)
    if said is not None:
        rows = rows.filter(outcome=said[0], other=said[1])
        total = pairs[said]
    listed = Listed(run, rows, total)
    page = Paginator(listed, ROWS_A_PAGE).get_page(request.GET.get("page"))
    query = {"first": first.pk, "second": second.pk}
    return {
        "first": str(first),
        "second": str(second),
        "primary": str(correctness_verifiers_of(run)[0]),
        "outcomes": list(Outcome),
        "table": _table(run, pairs, query),
        "judged": pairs.total(),
        "differing": sum(n for (a, b), n in pairs.items() if a != b),
        "compared": [label_of(estimand) for estimand in COMPARED],
        "are_compared": {first.channel, second.channel} == {Channel.CORRECTNESS},
        "differences": _differences(run, first, second),
        "said": said,
        "all_url": _url(run, query),
        "rollouts": [_shown(run, row, listed.answers) for row in page],
        "page": page,
        "query": urlencode(query | ({"said": "-".join(said)} if said else {})),
    }


def _said(text: str) -> tuple[Outcome, Outcome] | None:
    """What each says of the rollouts to be listed: "pass-fail"; None: any disagreement."""
    first, _, second = text.partition("-")
    if first == second or not {first, second} <= set(Outcome.values):
        return None
    return Outcome(first), Outcome(second)


def _url(run: Run, query: dict[str, Any]) -> str:
    return f"{reverse('web:disagreements', args=[run.pk])}?{urlencode(query)}"


def _table(run: Run, pairs: Pairs, query: dict[str, Any]) -> list[dict[str, object]]:
    """A row for each outcome of the first, in it a cell for each of the second."""
    return [
        {
            "outcome": first,
            "cells": [
                {
                    "rollouts": pairs[first, second],
                    "url": _url(run, query | {"said": f"{first}-{second}"})
                    if first != second and pairs[first, second]
                    else None,
                }
                for second in Outcome
            ],
            "total": sum(pairs[first, second] for second in Outcome),
        }
        for first in Outcome
    ]


def _differences(
    run: Run, first: VerifierVersion, second: VerifierVersion
) -> list[comparisons.Cell] | None:
    if {first.channel, second.channel} != {Channel.CORRECTNESS}:
        return None
    found = compare_verifiers(run, first, second)
    return None if found is None else [comparisons.difference(found[e]) for e in COMPARED]


class Listed(Sequence[Verdict]):
    """Disagreements, those that people have decided first; read a page at a time.

    total: from the counts, so that no page counts them anew.
    """

    def __init__(self, run: Run, rows: QuerySet[Any, Any], total: int) -> None:
        decided = final_answers(windows_for_run(run))
        self.answers = {
            rollout: answer for (_, rollout), answer in decided.items() if answer.is_decided
        }
        self.labelled = list(rows.filter(rollout__in=self.answers).order_by("rollout"))
        self.others = rows.exclude(rollout__in=self.answers).order_by("rollout")
        self.total = max(total, len(self.labelled))

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, part: Any) -> Any:
        """A page of them."""
        first, last = part.start, part.stop
        found = self.labelled[first:last]
        known = len(self.labelled)
        return [*found, *self.others[max(first - known, 0) : max(last - known, 0)]]


def _shown(run: Run, row: Any, answers: dict[int, FinalAnswer]) -> dict[str, object]:
    answer = answers.get(row.rollout_id)
    return {
        "url": reverse("web:rollout", args=[run.pk, row.rollout_id]),
        "problem": row.rollout.group.prompt.text[:160],
        "step": row.rollout.step,
        "answer": answer_words(answer.answer) if answer else None,
        "is_hack": answer is not None and answer.is_hack,
        "first": row.outcome,
        "second": row.other,
    }
