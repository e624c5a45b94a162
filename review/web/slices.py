"""The slices of a project: named conditions on rollouts."""

from collections.abc import Mapping
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from review.accounts.models import Project
from review.core.errors import ReviewError
from review.flows.slices import create_slice
from review.rollouts.queries import slices_of
from review.rollouts.services import delete_slice
from review.rollouts.slices import LENGTH_EDGES, describe
from review.web import access
from review.web.access import ReviewRequest
from review.web.forms.slices import ConditionRows, Conditions, SliceForm, with_another_row
from review.web.navigation import project_frame
from review.web.words import said


@require_http_methods(["GET", "POST"])
@login_required
def slices(request: ReviewRequest, project_slug: str) -> HttpResponse:
    project = access.project_led(request.user, project_slug)
    if request.method == "GET":
        return _page(request, project, SliceForm(), Conditions())
    if "add" in request.POST:
        return _another_row(request, project)
    form, rows = SliceForm(request.POST), Conditions(request.POST)
    if form.is_valid() and rows.is_valid() and _created(request, project, form, rows):
        messages.success(request, _("The slice %(name)s is saved.") % form.cleaned_data)
        return redirect("web:slices", project.slug)
    return _page(request, project, form, rows, status=422)


def _another_row(request: ReviewRequest, project: Project) -> HttpResponse:
    posted = Conditions(with_another_row(request.POST))
    # Unbound rows: what is not filled in yet is no error.
    initial = [{name: row[name].value() for name in row.fields} for row in posted.forms]
    rows = Conditions(initial=initial)
    if request.htmx:
        return render(request, "web/slices.html#conditions", {"rows": rows})
    return _page(request, project, SliceForm(initial=request.POST.dict()), rows)


def _created(
    request: ReviewRequest, project: Project, form: SliceForm, rows: ConditionRows
) -> bool:
    try:
        create_slice(
            project=project,
            name=form.cleaned_data["name"],
            conditions=rows.conditions(),
            actor=request.user,
        )
    except ReviewError as error:
        _refuse(form, rows, error.fields or {"": error.message})
        return False
    return True


def _refuse(form: SliceForm, rows: ConditionRows, reasons: Mapping[str, str]) -> None:
    """`conditions[1].value` at that row's value; the rest above the form."""
    for place, reason in reasons.items():
        number, _dot, part = place.removeprefix("conditions[").partition("].")
        if part and number.isdecimal() and part in ("field", "op", "value"):
            rows.filled()[int(number)].add_error(part, said(reason))
        else:
            form.add_error(place if place in form.fields else None, said(reason))


def _page(
    request: ReviewRequest,
    project: Project,
    form: SliceForm,
    rows: ConditionRows,
    *,
    status: int = 200,
) -> HttpResponse:
    context = project_frame(request, project, "Slices") | {
        "slices": [
            {
                "id": found.pk,
                "name": found.name,
                "words": describe(found.conditions),
                "by": found.created_by,
                "at": found.created_at,
            }
            for found in slices_of(project)
        ],
        "form": form,
        "rows": rows,
        "length_edges": ", ".join(f"{edge:,}" for edge in LENGTH_EDGES),
    }
    return render(request, "web/slices.html", context, status=status)


@require_POST
@login_required
def slice_delete(request: ReviewRequest, slice_id: UUID) -> HttpResponse:
    found = access.slice_led(request.user, slice_id)
    name, slug = found.name, found.project.slug
    delete_slice(slice_=found, actor=request.user)
    messages.success(request, _("The slice %(name)s is deleted.") % {"name": name})
    return redirect("web:slices", slug)
