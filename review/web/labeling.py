"""The queue and the labelling page. Blind: nothing of verdict, reward or policy reaches it.

Its script asks for parts, as htmx would; without it every form leads to a whole page.
"""

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import HttpResponseClientRedirect

from review.accounts.models import Role
from review.accounts.queries import has_role
from review.core.errors import ReviewError
from review.flows import labels
from review.labeling.errors import (
    InvalidLabelError,
    LeaseLostError,
    NotQualifiedError,
    PausedError,
)
from review.labeling.models import Assignment, Label, Queue, SkipReason
from review.labeling.queries import labels_by, newest_label, progress_of, was_held
from review.labeling.services import ahead, leases
from review.labeling.services.drafts import save_draft
from review.web import access
from review.web.access import ReviewRequest
from review.web.courtesy import patient, urgent
from review.web.forms.labels import LabelForm, LeaseForm, SkipForm, draft_body, filled_in
from review.web.items import Shown, item_page, lease_part, outlook
from review.web.keys import keys_of
from review.web.navigation import project_frame
from review.web.rendering import render as render_text


@require_GET
@never_cache
@login_required
def queue(request: ReviewRequest, queue_id: UUID) -> HttpResponse:
    found = access.queue_reviewed(request.user, queue_id)
    progress = progress_of(found)
    can_take = progress.open > 0 or progress.leased > 0
    context = project_frame(request, found.project, "") | {
        "queue": {
            "id": found.pk,
            "name": found.name,
            "shows_reference": found.rule.current.shows_reference,
            "instructions": render_text(found.instructions) if found.instructions else None,
            "questions": found.questions,
            "rubric": found.rubric,
        },
        "progress": {
            "done": progress.done,
            "total": progress.total,
            "mine": labels_by(request.user, found),
            "open": progress.open,
        },
        "label_url": reverse("web:label-next", args=[found.pk]) if can_take else None,
        "practice_url": reverse("web:practice", args=[found.pk]) if found.practice_size else None,
        "outlook": outlook(found),
        "settings_url": reverse("web:queue-settings", args=[found.pk])
        if has_role(request.user, found.project, Role.LEAD)
        else None,
    }
    part = "#progress" if request.htmx else ""
    return render(request, f"web/queue.html{part}", context)


@require_GET
@never_cache
@login_required
def label_next(request: ReviewRequest, queue_id: UUID) -> HttpResponse:
    found = access.queue_reviewed(request.user, queue_id)
    try:
        assignment = ahead.take_ahead(queue=found, reviewer=request.user)
    except (NotQualifiedError, PausedError):
        return redirect("web:practice", found.pk)
    return item_page(request, found, Shown(assignment, is_late="ended" in request.GET))


@require_GET
@never_cache
@login_required
@patient
def label_ahead(request: ReviewRequest, assignment_id: UUID) -> HttpResponse:
    """The item that will probably come next, for whoever holds this one: nobody reads further."""
    held = access.assignment_reviewed(request.user, assignment_id)
    coming = ahead.look_ahead(held=held, reviewer=request.user)
    if coming is None:
        return HttpResponse(status=204)
    return item_page(request, held.queue, Shown(coming, is_ahead=True))


@require_POST
@urgent
@login_required
def label_commit(request: ReviewRequest, assignment_id: UUID) -> HttpResponse:
    assignment = access.assignment_reviewed(request.user, assignment_id)
    keys = keys_of(request.user.shortcuts)
    form = LabelForm(request.POST, queue=assignment.queue, keys=keys)
    if form.is_valid():
        try:
            label, is_new = labels.commit_label(
                assignment=assignment,
                reviewer=request.user,
                token=form.cleaned_data["token"],
                client_key=form.cleaned_data["client_key"],
                new=form.new_label(),
            )
        except InvalidLabelError as error:
            form.add_refusal(error)
        else:
            return _next_item(request, assignment.queue, label, is_new=is_new)
    return _same_item(request, assignment, form=form)


@require_POST
@login_required
def label_skip(request: ReviewRequest, assignment_id: UUID) -> HttpResponse:
    assignment = access.assignment_reviewed(request.user, assignment_id)
    form, lease = SkipForm(request.POST, auto_id="skip_%s"), LeaseForm(request.POST)
    if not (form.is_valid() and lease.is_valid()):
        return _same_item(request, assignment, skip_form=form)
    try:
        labels.skip_item(
            assignment=assignment,
            reviewer=request.user,
            token=lease.cleaned_data["token"],
            reason=SkipReason(form.cleaned_data["reason"]),
            note=form.cleaned_data["detail"],
        )
    except LeaseLostError:
        return _to_next(assignment.queue, is_late=True)
    return _to_next(assignment.queue)


@require_POST
@login_required
def label_undo(request: ReviewRequest, queue_id: UUID) -> HttpResponse:
    found = access.queue_reviewed(request.user, queue_id)
    assignment = labels.retract_label(queue=found, reviewer=request.user)
    _fill_in_again(assignment, request)
    if not request.htmx:
        messages.success(request, _("Your last label is taken back: label the item again."))
    return _to_next(found)


def _fill_in_again(assignment: Assignment, request: ReviewRequest) -> None:
    """What was taken back comes back as it was."""
    if assignment.lease_token:
        label = assignment.labels.filter(reviewer=request.user).latest("pk")
        save_draft(
            assignment=assignment,
            reviewer=request.user,
            token=assignment.lease_token,
            body=filled_in(label),
        )


@require_POST
@login_required
def label_draft(request: ReviewRequest, assignment_id: UUID) -> HttpResponse:
    assignment = access.assignment_reviewed(request.user, assignment_id)
    lease = LeaseForm(request.POST)
    if not lease.is_valid():
        return HttpResponse(status=422)
    save_draft(
        assignment=assignment,
        reviewer=request.user,
        token=lease.cleaned_data["token"],
        body=draft_body(request.POST, assignment.queue),
    )
    return HttpResponse(status=204)


@require_POST
@login_required
def label_heartbeat(request: ReviewRequest, assignment_id: UUID) -> HttpResponse:
    assignment = access.assignment_reviewed(request.user, assignment_id)
    lease = LeaseForm(request.POST)
    if not lease.is_valid():
        return HttpResponse(status=422)
    leases.extend_lease(
        assignment=assignment, reviewer=request.user, token=lease.cleaned_data["token"]
    )
    return HttpResponse(status=204)


def _next_item(request: ReviewRequest, found: Queue, label: Label, *, is_new: bool) -> HttpResponse:
    """To the script the next item at once: only its lease, if it has the item already."""
    if not request.htmx:
        return _to_next(found, is_late=label.is_late)
    token = request.POST.get("ahead", "")
    try:
        assignment = ahead.take_ahead(queue=found, reviewer=request.user, token=token)
    except ReviewError:
        # The label is stored; what stands in the way of a next one is said by the page of it.
        return HttpResponseClientRedirect(reverse("web:label-next", args=[found.pk]))
    has_it = assignment is not None and str(assignment.pk) == request.POST.get("prepared")
    if assignment is not None and has_it and not label.is_late:
        last = label if is_new else newest_label(request.user, found)
        return lease_part(request, found, assignment, last)
    return item_page(request, found, Shown(assignment, is_late=label.is_late))


def _to_next(found: Queue, *, is_late: bool = False) -> HttpResponse:
    url = reverse("web:label-next", args=[found.pk])
    return redirect(f"{url}?ended=1" if is_late else url)


def _same_item(
    request: ReviewRequest,
    assignment: Assignment,
    *,
    form: LabelForm | None = None,
    skip_form: SkipForm | None = None,
) -> HttpResponse:
    """The item once more, with what is wrong with the answer; for whoever was served it."""
    lease = LeaseForm(request.POST)
    token = lease.cleaned_data["token"] if lease.is_valid() else None
    if token is None or not was_held(assignment, request.user, token):
        raise LeaseLostError
    shown = Shown(assignment, token=token, form=form, skip_form=skip_form)
    return item_page(request, assignment.queue, shown, status=422)
