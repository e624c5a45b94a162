"""The queue and the labelling page. Blind: nothing of verdict, reward or policy reaches it."""

from uuid import UUID, uuid4

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from review.flows import labels
from review.labeling.errors import InvalidLabelError, LeaseLostError
from review.labeling.models import Answer, Assignment, Queue, SkipReason
from review.labeling.queries import (
    Item,
    item_of,
    label_to_undo,
    labels_by,
    progress_of,
)
from review.labeling.services import leases
from review.sampling.models import RuleState, WindowState
from review.web import access
from review.web.access import ReviewRequest
from review.web.forms.labels import LabelForm, LeaseForm, SkipForm
from review.web.navigation import project_frame
from review.web.rendering import render as render_text
from review.web.rendering import render_answer


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
        },
        "progress": {
            "done": progress.done,
            "total": progress.total,
            "mine": labels_by(request.user, found),
            "open": progress.open,
        },
        "label_url": reverse("web:label-next", args=[found.pk]) if can_take else None,
        "outlook": outlook(found),
    }
    part = "#progress" if request.htmx else ""
    return render(request, f"web/queue.html{part}", context)


@require_GET
@never_cache
@login_required
def label_next(request: ReviewRequest, queue_id: UUID) -> HttpResponse:
    found = access.queue_reviewed(request.user, queue_id)
    assignment = leases.take_next(queue=found, reviewer=request.user)
    return _label_page(request, found, assignment, lease_ended="ended" in request.GET)


@require_POST
@login_required
def label_commit(request: ReviewRequest, assignment_id: UUID) -> HttpResponse:
    assignment = access.assignment_reviewed(request.user, assignment_id)
    form = LabelForm(request.POST)
    if form.is_valid():
        try:
            label, _ = labels.commit_label(
                assignment=assignment,
                reviewer=request.user,
                token=form.cleaned_data["token"],
                client_key=form.cleaned_data["client_key"],
                new=form.new_label(),
            )
        except InvalidLabelError as error:
            form.add_error(None, "; ".join([error.message, *error.fields.values()]))
        else:
            return _to_next(assignment.queue, ended=label.is_late)
    return _same_item(request, assignment, form=form, skip_form=SkipForm())


@require_POST
@login_required
def label_skip(request: ReviewRequest, assignment_id: UUID) -> HttpResponse:
    assignment = access.assignment_reviewed(request.user, assignment_id)
    form, lease = SkipForm(request.POST), LeaseForm(request.POST)
    if not (form.is_valid() and lease.is_valid()):
        return _same_item(request, assignment, form=LabelForm(), skip_form=form)
    try:
        labels.skip_item(
            assignment=assignment,
            reviewer=request.user,
            token=lease.cleaned_data["token"],
            reason=SkipReason(form.cleaned_data["reason"]),
            note=form.cleaned_data["detail"],
        )
    except LeaseLostError:
        return _to_next(assignment.queue, ended=True)
    return _to_next(assignment.queue)


@require_POST
@login_required
def label_undo(request: ReviewRequest, queue_id: UUID) -> HttpResponse:
    found = access.queue_reviewed(request.user, queue_id)
    labels.retract_label(queue=found, reviewer=request.user)
    if not request.htmx:
        messages.success(request, "Your last label is taken back: label the item again.")
    return _to_next(found)


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


def _to_next(found: Queue, *, ended: bool = False) -> HttpResponse:
    url = reverse("web:label-next", args=[found.pk])
    return redirect(f"{url}?ended=1" if ended else url)


def _same_item(
    request: ReviewRequest, assignment: Assignment, *, form: LabelForm, skip_form: SkipForm
) -> HttpResponse:
    """The item once more, with what is wrong with the answer; if it is still this reviewer's."""
    held = leases.take_next(queue=assignment.queue, reviewer=request.user)
    if held is None or held.pk != assignment.pk:
        return _to_next(assignment.queue, ended=True)
    return _label_page(request, held.queue, held, form=form, skip_form=skip_form, status=422)


def _label_page(
    request: ReviewRequest,
    found: Queue,
    assignment: Assignment | None,
    *,
    form: LabelForm | None = None,
    skip_form: SkipForm | None = None,
    lease_ended: bool = False,
    status: int = 200,
) -> HttpResponse:
    last = label_to_undo(request.user, found)
    progress = progress_of(found)
    context = project_frame(request, found.project, "") | {
        "queue": {"id": found.pk, "name": found.name},
        "progress": {"done": progress.done, "total": progress.total},
        "last_label": Answer(last.answer).label if last else None,
        "item": _item(item_of(assignment)) if assignment else None,
        "form": form or LabelForm(),
        "skip_form": skip_form or SkipForm(),
        "lease_ended": lease_ended,
        "outlook": outlook(found),
    }
    part = "#item" if request.htmx else ""
    return render(request, f"web/label.html{part}", context, status=status)


def _item(item: Item) -> dict[str, object]:
    references = item.references
    return {
        "id": item.assignment.pk,
        "token": item.assignment.lease_token,
        "client_key": uuid4(),
        "expires_at": item.assignment.lease_expires_at,
        "problem": render_text(item.problem),
        "references": None if references is None else list(map(render_answer, references)),
        "steps": [{"number": step.number, "html": render_text(step.text)} for step in item.steps],
        "answer": None if item.answer is None else render_answer(item.answer),
    }


def outlook(found: Queue) -> str:
    """What happens next in a queue in which nothing is open."""
    rule = found.rule
    if rule.state == RuleState.FINISHED:
        return "This audit is complete: nothing more will come into this queue."
    if rule.state == RuleState.DRAFT:
        return "The audit has not been started yet."
    if rule.windows.filter(state=WindowState.OPEN).exists():
        return "The open items are in somebody's hands. The next wave is drawn when they are done."
    return "The next items come when the run has finished the next window of steps."
