"""What an adjudicator decides between: blind to verdicts and rewards, and to who said what."""

from collections.abc import Sequence
from string import ascii_uppercase
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from review.accounts.models import Project, Role, User
from review.accounts.queries import has_role
from review.flows import labels as flow
from review.labeling.adjudications import (
    Case,
    Waiting,
    authors_of,
    awaits_review,
    case_of,
    items_of,
    waiting_for,
)
from review.labeling.errors import InvalidLabelError, StaleDecisionError
from review.labeling.models import Adjudication, Assignment
from review.labeling.queries import item_of
from review.web import access, words
from review.web.access import ReviewRequest
from review.web.forms.adjudications import AdjudicationForm
from review.web.judgements import rows_of, said
from review.web.keys import judging_actions, keys_of
from review.web.navigation import project_frame
from review.web.reading import reading
from review.web.rendering import render_answer

MOST_LISTED = 50


@require_GET
@never_cache
@login_required
def adjudications(request: ReviewRequest, project_slug: str) -> HttpResponse:
    project = access.project_adjudicated(request.user, project_slug)
    waiting = waiting_for(request.user, project)
    context = project_frame(request, project, _("To decide")) | {
        "rows": _rows(waiting[:MOST_LISTED]),
        "total": len(waiting),
        "more": max(len(waiting) - MOST_LISTED, 0),
    }
    return render(request, "web/adjudications.html", context)


def _rows(waiting: Sequence[Waiting]) -> list[dict[str, object]]:
    return [
        {
            "url": reverse("web:adjudication", args=[item.pk]),
            "queue": item.queue.name,
            "problem": item.rollout.group.prompt.text[:160],
            "since": row.since,
            "is_objected": row.is_objected,
        }
        for row, item in zip(waiting, items_of(waiting), strict=True)
    ]


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
def adjudication(request: ReviewRequest, assignment_id: UUID) -> HttpResponse:
    item = access.item_adjudicated(request.user, assignment_id)
    form = _form(request, item)
    if not (form.is_bound and form.is_valid()):
        return _page(request, item, form, status=422 if form.is_bound else 200)
    try:
        flow.adjudicate(
            queue=item.queue,
            rollout=item.rollout,
            decided_by=request.user,
            new=form.new_label(),
            reason=form.cleaned_data["reason"],
            basis=form.cleaned_data["basis"],
        )
    except InvalidLabelError as error:
        form.add_refusal(error)
        return _page(request, item, form, status=422)
    except StaleDecisionError as error:
        return _page(request, item, form, stale=words.said(error.message), status=409)
    messages.success(request, _("Decided: what you said is its final answer."))
    return _next(request.user, item.queue.project)


def _form(request: ReviewRequest, item: Assignment) -> AdjudicationForm:
    keys = keys_of(request.user.shortcuts)
    return AdjudicationForm(request.POST or None, queue=item.queue, keys=keys)


def _next(user: User, project: Project) -> HttpResponse:
    """The item that waits longest; the list where nothing is left."""
    following = items_of(waiting_for(user, project)[:1])
    if not following:
        return redirect("web:adjudications", project.slug)
    return redirect("web:adjudication", following[0].pk)


def _page(
    request: ReviewRequest,
    item: Assignment,
    form: AdjudicationForm,
    *,
    stale: str = "",
    status: int = 200,
) -> HttpResponse:
    project, case = item.queue.project, case_of(item.queue, item.rollout)
    people, keys = _people(case), keys_of(request.user.shortcuts)
    is_own = request.user.pk in authors_of(item.rollout)
    is_lead = has_role(request.user, project, Role.LEAD)
    can_decide = case.needs_decision or (is_lead and case.decision is not None)
    is_readable = item.rollout.purged_at is None
    context = project_frame(request, project, "") | {
        "item": {"id": item.pk, "queue": item.queue.name},
        "text": _text(item) if is_readable else None,
        "people": list(people.values()),
        "rows": rows_of(item.queue, case.labels),
        "objecting": [name for pk, name in people.items() if pk in case.objected],
        "decision": _decision(item, case),
        "awaits_review": awaits_review(item.queue, item.rollout),
        "is_own": is_own,
        "form": form if can_decide and is_readable and not is_own else None,
        "basis": case.basis,
        "keys": keys,
        "actions": [{"does": each, "key": keys[each.name]} for each in judging_actions(item.queue)],
        "stale": stale,
    }
    return render(request, "web/adjudication.html", context, status=status)


def _people(case: Case) -> dict[int, str]:
    """By label the name under which its writer stands on the page."""
    return {
        label.pk: _("Reviewer %s") % letter
        for label, letter in zip(case.labels, ascii_uppercase, strict=False)
    }


def _text(item: Assignment) -> dict[str, object]:
    shown = item_of(item)
    references = shown.references
    return reading(item.rollout) | {
        "references": None if references is None else list(map(render_answer, references)),
        "answer": None if shown.answer is None else render_answer(shown.answer),
    }


def _decision(item: Assignment, case: Case) -> dict[str, object] | None:
    decided: Adjudication | None = case.decision
    if decided is None:
        return None
    return {
        "said": said(item.queue, decided),
        "reason": decided.reason,
        "by": decided.decided_by.username,
        "stands": case.is_decided,
    }
