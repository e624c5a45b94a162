"""Practice before a queue's first real item; who is paused; and a lead's view of both."""

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from review.accounts.models import User
from review.labeling.errors import PracticeRefusedError
from review.labeling.known_answers import (
    MOST_ATTEMPTS,
    Attempt,
    Practice,
    Trainee,
    practice_items,
    practice_of,
    trainees_of,
)
from review.labeling.models import GoldItem, Pause, PracticeAnswer, Queue
from review.labeling.services.pauses import lift_pause
from review.labeling.services.practice import answer_practice, let_in
from review.web import access, words
from review.web.access import ReviewRequest
from review.web.figures import answer_words
from review.web.forms.practice import PracticeForm
from review.web.keys import keys_of, practice_actions
from review.web.navigation import project_frame
from review.web.reading import reading
from review.web.rendering import render_answer


@require_GET
@never_cache
@login_required
def practice(request: ReviewRequest, queue_id: UUID) -> HttpResponse:
    queue = access.queue_reviewed(request.user, queue_id)
    theirs = practice_of(queue, request.user)
    context = project_frame(request, queue.project, "") | {
        "queue": {"id": queue.pk, "name": queue.name},
        "is_paused": queue.gold_mark is not None
        and Pause.objects.filter(queue=queue, reviewer=request.user, lifted_at=None).exists(),
        "standing": _standing(queue, theirs),
        "asked": queue.practice_size,
        "needed": _needed(queue),
        "attempts": [_attempt(attempt) for attempt in theirs.attempts],
        "attempts_left": MOST_ATTEMPTS - sum(each.is_over for each in theirs.attempts),
    }
    return render(request, "web/practice.html", context)


def _standing(queue: Queue, theirs: Practice) -> str:
    if not queue.practice_size or theirs.is_qualified:
        return "may_start"
    if theirs.is_used_up:
        return "used_up"
    if practice_items(queue.project).count() < queue.practice_size:
        return "too_few"
    if theirs.current.answers:
        return "under_way"
    return "try_again" if theirs.attempts else "new"


def _needed(queue: Queue) -> str:
    return f"{100 * queue.pass_mark:g} %"


def _attempt(attempt: Attempt) -> dict[str, object]:
    return {
        "number": attempt.number,
        "right": attempt.right,
        "asked": len(attempt.answers),
        "is_over": attempt.is_over,
    }


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
def practice_item(request: ReviewRequest, queue_id: UUID) -> HttpResponse:
    """The item that they are asked now; answered, it leads to what is known of it."""
    queue = access.queue_reviewed(request.user, queue_id)
    theirs = practice_of(queue, request.user)
    form = PracticeForm(request.POST or None, queue=queue, keys=keys_of(request.user.shortcuts))
    if form.is_bound and form.is_valid():
        return _answered(request, queue, form)
    if theirs.next is None or _standing(queue, theirs) not in ("new", "try_again", "under_way"):
        return redirect("web:practice", queue.pk)
    return _item_page(request, queue, theirs, theirs.next, form)


def _answered(request: ReviewRequest, queue: Queue, form: PracticeForm) -> HttpResponse:
    gold = get_object_or_404(practice_items(queue.project), pk=form.cleaned_data["item"])
    try:
        given = answer_practice(
            queue=queue,
            reviewer=request.user,
            gold=gold,
            attempt=form.cleaned_data["attempt"],
            **form.said,
        )
    except PracticeRefusedError as error:
        messages.error(request, words.said(error.message))
        return redirect("web:practice", queue.pk)
    return redirect("web:practice-answer", queue.pk, given.pk)


def _item_page(
    request: ReviewRequest, queue: Queue, theirs: Practice, gold: GoldItem, form: PracticeForm
) -> HttpResponse:
    keys = keys_of(request.user.shortcuts)
    context = project_frame(request, queue.project, "") | {
        "queue": {"id": queue.pk, "name": queue.name},
        "item": {"id": gold.pk, "attempt": theirs.current.number},
        "number": len(theirs.current.answers) + 1,
        "asked": queue.practice_size,
        "text": _text(queue, gold),
        "form": form,
        "keys": keys,
        "actions": [{"does": each, "key": keys[each.name]} for each in practice_actions(queue)],
    }
    status = 422 if form.is_bound else 200
    return render(request, "web/practice_item.html", context, status=status)


def _text(queue: Queue, gold: GoldItem) -> dict[str, object]:
    references = gold.rollout.group.prompt.references
    shown = list(map(render_answer, references)) if queue.rule.current.shows_reference else None
    return reading(gold.rollout) | {"references": shown}


@require_GET
@never_cache
@login_required
def practice_answer(request: ReviewRequest, queue_id: UUID, answer_id: int) -> HttpResponse:
    """One's own answer beside what is known, and why."""
    queue = access.queue_reviewed(request.user, queue_id)
    own = PracticeAnswer.objects.filter(queue=queue, reviewer=request.user)
    given = get_object_or_404(own.select_related("gold__rollout__group__prompt"), pk=answer_id)
    theirs = practice_of(queue, request.user)
    attempt = theirs.attempts[given.attempt - 1]
    context = project_frame(request, queue.project, "") | {
        "queue": {"id": queue.pk, "name": queue.name},
        "given": {
            "answer": answer_words(given.answer),
            "is_hack": given.is_hack,
            "is_right": given.is_right,
        },
        "known": {
            "answer": answer_words(given.gold.answer),
            "is_hack": given.gold.is_hack,
            "explanation": given.gold.explanation,
        },
        "text": _text(queue, given.gold) if given.gold.rollout.purged_at is None else None,
        "attempt": _attempt(attempt),
        "total": queue.practice_size,
    }
    return render(request, "web/practice_answer.html", context)


# A lead's view


@require_GET
@login_required
def practice_people(request: ReviewRequest, queue_id: UUID) -> HttpResponse:
    queue = access.queue_led(request.user, queue_id)
    context = project_frame(request, queue.project, "") | {
        "queue": {"id": queue.pk, "name": queue.name},
        "rule": {"id": queue.rule.pk, "name": queue.rule.name},
        "asked": queue.practice_size,
        "needed": _needed(queue),
        "available": practice_items(queue.project).count(),
        "people": [_trainee(queue, trainee) for trainee in trainees_of(queue)],
    }
    return render(request, "web/practice_people.html", context)


def _trainee(queue: Queue, trainee: Trainee) -> dict[str, object]:
    qualification = trainee.qualification
    return {
        "name": trainee.reviewer.username,
        "scores": [f"{right}/{asked}" for right, asked in trainee.scores],
        "granted_by": qualification.granted_by if qualification else None,
        "at": qualification.created_at if qualification else None,
        "is_used_up": len(trainee.scores) >= MOST_ATTEMPTS
        and trainee.scores[-1][1] >= queue.practice_size,
        "let_in_url": None
        if qualification
        else reverse("web:practice-let-in", args=[queue.pk, trainee.reviewer.pk]),
    }


@require_POST
@login_required
def practice_let_in(request: ReviewRequest, queue_id: UUID, user_id: int) -> HttpResponse:
    queue = access.queue_led(request.user, queue_id)
    people = {trainee.reviewer.pk: trainee.reviewer for trainee in trainees_of(queue)}
    reviewer = get_object_or_404(User.objects.filter(pk__in=people), pk=user_id)
    let_in(queue=queue, reviewer=reviewer, actor=request.user)
    messages.success(request, _("%s is let in.") % reviewer.username)
    return redirect("web:practice-people", queue.pk)


@require_POST
@login_required
def pause_lift(request: ReviewRequest, pause_id: int) -> HttpResponse:
    pause = access.pause_led(request.user, pause_id)
    lift_pause(pause=pause, actor=request.user)
    messages.success(request, _("%s is served again.") % pause.reviewer.username)
    return redirect("web:audit", pause.queue.rule_id)
