"""Problems that are said to be broken: a lead decides."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from review.accounts.models import Project
from review.labeling.errata import Key, Report, reports_of
from review.runs.models import Erratum, ErratumState
from review.runs.queries import errata_of
from review.runs.services import decide_erratum
from review.web import access
from review.web.access import ReviewRequest
from review.web.forms.errata import ErratumForm
from review.web.forms.labels import FAULTS
from review.web.navigation import project_frame
from review.web.rendering import render as render_text
from review.web.rendering import render_answer

MOST_LISTED = 50
FAULT_WORDS = dict(FAULTS)


@require_GET
@login_required
def errata(request: ReviewRequest, project_slug: str) -> HttpResponse:
    return _page(request, access.project_led(request.user, project_slug))


@require_POST
@login_required
def erratum_decide(request: ReviewRequest, erratum_id: UUID) -> HttpResponse:
    erratum = access.erratum_led(request.user, erratum_id)
    project = erratum.prompt.run.project
    form = ErratumForm(request.POST)
    if not form.is_valid():
        return _page(request, project, refused=erratum, form=form)
    decide_erratum(
        erratum=erratum,
        is_upheld=form.is_upheld,
        reason=form.cleaned_data["reason"],
        actor=request.user,
    )
    said = _("Upheld: the problem is broken.") if form.is_upheld else _("Dismissed.")
    messages.success(request, said)
    return redirect("web:errata", project.slug)


def _page(
    request: ReviewRequest,
    project: Project,
    *,
    refused: Erratum | None = None,
    form: ErratumForm | None = None,
) -> HttpResponse:
    stored = errata_of(project)
    waiting = stored.filter(state=ErratumState.OPEN)
    shown = list(waiting[:MOST_LISTED])
    closed = stored.exclude(state=ErratumState.OPEN).order_by("-decided_at")
    reports = reports_of(shown)
    context = project_frame(request, project, _("Errata")) | {
        "waiting": [_waiting(row, reports, form if row == refused else None) for row in shown],
        "more": max(waiting.count() - len(shown), 0),
        "closed": [_closed(row) for row in closed[:MOST_LISTED]],
    }
    return render(request, "web/errata.html", context, status=422 if form else 200)


def _waiting(
    erratum: Erratum, reports: Mapping[Key, Sequence[Report]], form: ErratumForm | None
) -> dict[str, Any]:
    prompt = erratum.prompt
    said = reports.get((prompt.pk, erratum.fault), [])
    return _erratum(erratum) | {
        "id": erratum.pk,
        "problem": render_text(prompt.text),
        "references": [render_answer(reference) for reference in prompt.references],
        "reports": [_report(erratum, report) for report in said],
        "people": len({report.by for report in said}),
        "form": form,
    }


def _report(erratum: Erratum, report: Report) -> dict[str, Any]:
    return {
        "by": report.by,
        "at": report.at,
        "note": report.note,
        "url": reverse("web:rollout", args=[erratum.prompt.run_id, report.rollout_id]),
    }


def _closed(erratum: Erratum) -> dict[str, Any]:
    return _erratum(erratum) | {
        "problem": erratum.prompt.text[:120],
        "state": erratum.state,
        "by": erratum.decided_by,
        "at": erratum.decided_at,
        "reason": erratum.decision,
    }


def _erratum(erratum: Erratum) -> dict[str, Any]:
    run = erratum.prompt.run
    return {
        "fault": FAULT_WORDS[erratum.fault],
        "prompt": erratum.prompt.uid,
        "run": {"id": run.pk, "name": run.name},
    }
