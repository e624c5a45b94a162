"""What the labelling page shows of an item and of the queue around it. Blind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.core.cache import cache
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _

from review.labeling.models import Assignment, Label, Queue
from review.labeling.queries import (
    UNDO_SECONDS,
    QueueProgress,
    can_be_undone,
    item_of,
    newest_label,
    progress_of,
)
from review.labeling.services.ahead import ahead_token
from review.labeling.services.drafts import draft_of
from review.sampling.models import RuleState, WindowState
from review.web.access import ReviewRequest
from review.web.forms.labels import ANSWERS, LabelForm, SkipForm
from review.web.keys import actions_of, keys_of
from review.web.navigation import project_frame
from review.web.reading import reading
from review.web.rendering import render_answer

ANSWER_WORDS: dict[str, Any] = dict(ANSWERS)


@dataclass(frozen=True, slots=True)
class Shown:
    """An item, or none, and how it comes to be shown."""

    assignment: Assignment | None
    # Not leased yet: prepared while the one before it is read.
    is_ahead: bool = False
    # What was sent last came after the hold on it had passed on.
    is_late: bool = False
    # What was sent and could not be stored, under which hold: the item may be another's now.
    token: UUID | None = None
    form: LabelForm | None = None
    skip_form: SkipForm | None = None


def item_page(
    request: ReviewRequest, found: Queue, shown: Shown, *, status: int = 200
) -> HttpResponse:
    keys = keys_of(request.user.shortcuts)
    progress = _progress(found)
    context = project_frame(request, found.project, "") | {
        "queue": {"id": found.pk, "name": found.name},
        "progress": {
            # By the time that it is shown, the item before it is done.
            "done": progress.done + shown.is_ahead,
            "total": progress.total,
        },
        "last": None if shown.is_ahead else _last(found, newest_label(request.user, found)),
        "lease": None if shown.is_ahead else _lease(shown.assignment, shown.token),
        "ahead": ahead_token(shown.assignment, request.user)
        if shown.assignment and shown.is_ahead
        else "",
        "item": _item(shown.assignment) if shown.assignment else None,
        "form": _form(request, found, shown, keys),
        "skip_form": shown.skip_form or SkipForm(auto_id="skip_%s"),
        "keys": keys,
        "actions": [{"does": each, "key": keys[each.name]} for each in actions_of(found)],
        "lease_ended": shown.is_late,
        "outlook": outlook(found) if shown.assignment is None else "",
    }
    part = "#item" if request.htmx else ""
    return render(request, f"web/label.html{part}", context, status=status)


def lease_part(
    request: ReviewRequest, found: Queue, assignment: Assignment, last: Label | None
) -> HttpResponse:
    """What the script lacks of an item that it has prepared: whose it is, and what to undo."""
    context = {
        "queue": {"id": found.pk},
        "last": _last(found, last),
        "lease": _lease(assignment),
        "keys": keys_of(request.user.shortcuts),
    }
    return render(request, "web/label.html#last", context)


# A queue of so many items is counted at most once a second, a longer one less often.
ITEMS_A_SECOND = 50_000


def _progress(found: Queue) -> QueueProgress:
    """As it is; in a queue that is long to count, as it was when it was counted last."""
    key = f"progress:{found.pk}"
    known: QueueProgress | None = cache.get(key)
    if known is not None:
        return known
    progress = progress_of(found)
    if progress.total > ITEMS_A_SECOND:
        cache.set(key, progress, progress.total / ITEMS_A_SECOND)
    return progress


def _lease(assignment: Assignment | None, token: UUID | None = None) -> dict[str, object] | None:
    if assignment is None:
        return None
    return {
        "item": assignment.pk,
        "token": token or assignment.lease_token,
        "client_key": uuid4(),
    }


def _last(found: Queue, label: Label | None) -> dict[str, object] | None:
    """The label before this item, and what can still be done about it."""
    if label is None:
        return None
    age = (timezone.now() - label.created_at).total_seconds()
    return {
        "id": label.pk,
        "says": ANSWER_WORDS[label.answer],
        "undo_seconds": int(UNDO_SECONDS - age) if can_be_undone(label) else 0,
        "can_be_shown": found.reveals and not label.is_late,
    }


def _item(assignment: Assignment) -> dict[str, object]:
    item = item_of(assignment)
    references = item.references
    return {
        "id": assignment.pk,
        "reading": reading(assignment.rollout),
        "references": None if references is None else list(map(render_answer, references)),
        "answer": None if item.answer is None else render_answer(item.answer),
    }


def _form(
    request: ReviewRequest, found: Queue, shown: Shown, keys: Mapping[str, str]
) -> LabelForm | None:
    if shown.assignment is None or shown.form is not None:
        return shown.form
    draft = draft_of(shown.assignment, request.user)
    return LabelForm(queue=found, keys=keys, initial=draft)


def outlook(found: Queue) -> str:
    """What happens next in a queue in which nothing is open."""
    rule = found.rule
    if rule.state == RuleState.FINISHED:
        return _("This audit is complete: nothing more will come into this queue.")
    if rule.state == RuleState.DRAFT:
        return _("The audit has not been started yet.")
    if rule.windows.filter(state=WindowState.OPEN).exists():
        return _(
            "The open items are in somebody's hands. The next wave is drawn when they are done."
        )
    return _("The next items come when the run has finished the next window of steps.")
