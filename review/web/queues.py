"""What a queue asks, of whom, and how good they have to be: a lead's page."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from review.core.errors import ReviewError
from review.core.models import events_of
from review.labeling.models import Queue
from review.labeling.queries import is_labelled
from review.labeling.services.queues import change_queue
from review.web import access
from review.web.access import ReviewRequest
from review.web.forms.queues import QUESTIONS, QueueForm
from review.web.navigation import project_frame
from review.web.words import said

NAMED = {question.value: name for question, name in QUESTIONS}


@require_http_methods(["GET", "POST"])
@login_required
def queue_settings(request: ReviewRequest, queue_id: UUID) -> HttpResponse:
    queue = access.queue_led(request.user, queue_id)
    form = QueueForm(request.POST or None, queue=queue, is_fixed=is_labelled(queue))
    if form.is_bound and form.is_valid():
        try:
            change_queue(queue=queue, settings=form.settings(), actor=request.user)
        except ReviewError as error:
            _refuse(form, error)
        else:
            messages.success(request, _("The queue is changed."))
            return redirect("web:queue-settings", queue.pk)
    return _page(request, queue, form)


def _refuse(form: QueueForm, error: ReviewError) -> None:
    """The whole refusal above the form, and each reason at its field."""
    form.add_error(None, said(error.message))
    for name, reason in error.fields.items():
        text = f"{reason[:1].upper()}{reason[1:].rstrip('.')}."
        form.add_error(name if name in form.fields else None, text)


def _page(request: ReviewRequest, queue: Queue, form: QueueForm) -> HttpResponse:
    rule = queue.rule
    context = project_frame(request, queue.project, "") | {
        "queue": {"id": queue.pk, "name": queue.name},
        "rule": {"id": rule.pk, "name": rule.name},
        "run": {"id": rule.run_id, "name": rule.run.name},
        "form": form,
        "is_fixed": form.fields["questions"].disabled,
        "history": _history(form, queue),
    }
    return render(request, "web/queue_settings.html", context, status=422 if form.errors else 200)


def _history(form: QueueForm, queue: Queue) -> list[dict[str, object]]:
    return [
        {
            "by": event.actor,
            "at": event.at,
            "changes": [
                {"name": form[name].label, "before": _words(before), "now": _words(now)}
                for name, (before, now) in event.details.items()
            ],
        }
        for event in events_of(queue).filter(action="queue changed")
    ]


def _words(value: Any) -> str:
    """A setting as it was stored, in words."""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, float):
        return f"{100 * value:g} %"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "; ".join(str(NAMED.get(part, part)) for part in value) or _("none")
    return str(value) if value not in (None, "") else _("none")
