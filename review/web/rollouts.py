"""One rollout: read by a lead with its whole history, asked again, marked as known."""

import json
from collections.abc import Sequence
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_POST

from review.flows.probes import is_called_hack
from review.labeling.adjudications import case_of, first_review
from review.labeling.errors import RequeueRefusedError
from review.labeling.history import Event, Happened, history_of, queues_with
from review.labeling.models import Adjudication, Answer, Label, Queue
from review.labeling.oversight import adjudications_of, gold_of, labels_of
from review.labeling.requeues import can_be_requeued
from review.labeling.services.known_answers import mark_gold
from review.labeling.services.requeues import requeue_rollout
from review.rollouts.models import Rollout
from review.runs.models import ErratumState
from review.runs.queries import errata_of_prompt
from review.verifiers.queries import verdicts_of
from review.web import access, words
from review.web.access import ReviewRequest
from review.web.errata import FAULT_WORDS
from review.web.figures import answer_words, step_range
from review.web.forms.decisions import GoldForm, PromotionForm, RequeueForm
from review.web.judgements import said
from review.web.navigation import project_frame
from review.web.reading import reading
from review.web.rendering import render_answer


@require_GET
@login_required
def rollout(request: ReviewRequest, run_id: UUID, rollout_id: int) -> HttpResponse:
    found = access.rollout_led(request.user, run_id, rollout_id)
    return _page(request, found)


@require_POST
@login_required
def rollout_gold(request: ReviewRequest, run_id: UUID, rollout_id: int) -> HttpResponse:
    found = access.rollout_led(request.user, run_id, rollout_id)
    form = GoldForm(request.POST)
    if not form.is_valid():
        return _page(request, found, gold_form=form, status=422)
    known = form.cleaned_data | {"answer": Answer(form.cleaned_data["answer"])}
    gold = mark_gold(rollout=found, actor=request.user, **known)
    says = _("Its answer is known from now on: %s.") % answer_words(gold.answer)
    messages.success(request, says)
    return redirect("web:rollout", run_id, rollout_id)


@require_POST
@login_required
def rollout_requeue(
    request: ReviewRequest, run_id: UUID, rollout_id: int, queue_id: UUID
) -> HttpResponse:
    found = access.rollout_led(request.user, run_id, rollout_id)
    queue = access.queue_led(request.user, queue_id)
    form = RequeueForm(request.POST)
    if not form.is_valid():
        return _page(request, found, requeue_form=form, status=422)
    try:
        requeue_rollout(queue=queue, rollout=found, actor=request.user, **form.cleaned_data)
    except RequeueRefusedError as error:
        messages.error(request, words.said(error.message))
    else:
        messages.success(request, _("It waits in %s for another look.") % queue.name)
    return redirect("web:rollout", run_id, rollout_id)


def _page(
    request: ReviewRequest,
    found: Rollout,
    *,
    gold_form: GoldForm | None = None,
    requeue_form: RequeueForm | None = None,
    status: int = 200,
) -> HttpResponse:
    gold = gold_of(found)
    events = history_of(found)
    is_labelled = any(event.what == Happened.LABELLED for event in events)
    context = project_frame(request, found.run.project, "") | {
        "run": {"id": found.run_id, "name": found.run.name},
        "rollout": _rollout(found),
        "text": text_of(found),
        "errata": _errata(found),
        "verdicts": _verdicts(found),
        "labels": [_label(label) for label in labels_of(found)],
        "decisions": [_decision(decision) for decision in adjudications_of(found)],
        "queues": [_queue(found, queue) for queue in queues_with(found)],
        "requeue_form": requeue_form or RequeueForm(),
        "history": [_event(event) for event in events],
        "attack": getattr(found, "attack", None),
        "promotion_form": PromotionForm(),
        "promote_url": reverse("web:attack-promote", args=[found.run_id, found.pk])
        if _is_promotable(found, events)
        else None,
        "gold": gold,
        "gold_form": gold_form or GoldForm(),
        "gold_url": reverse("web:rollout-gold", args=[found.run_id, found.pk])
        if gold is None and is_labelled
        else None,
    }
    return render(request, "web/rollout.html", context, status=status)


def _is_promotable(found: Rollout, events: Sequence[Event]) -> bool:
    """People call it a hack; looked up only where somebody has ever said so."""
    was_called_hack = any(getattr(event.said, "is_hack", False) for event in events)
    return was_called_hack and found.purged_at is None and is_called_hack(found)


def _errata(found: Rollout) -> list[dict[str, object]]:
    """What is said to be wrong with its problem, and stands."""
    standing = errata_of_prompt(found.group.prompt)
    return [
        {
            "fault": FAULT_WORDS[erratum.fault],
            "is_upheld": erratum.state == ErratumState.UPHELD,
            "reason": erratum.decision,
        }
        for erratum in standing
    ]


def _queue(found: Rollout, queue: Queue) -> dict[str, object]:
    """What can be done with the rollout in a queue that it is or was in."""
    case = case_of(queue, found)
    decides = first_review(queue, found) if case.needs_decision or case.decision else None
    return {
        "name": queue.name,
        "needs_decision": case.needs_decision,
        "decide_url": reverse("web:adjudication", args=[decides.pk]) if decides else None,
        "requeue_url": reverse("web:rollout-requeue", args=[found.run_id, found.pk, queue.pk])
        if can_be_requeued(queue, found)
        else None,
    }


def _event(event: Event) -> dict[str, object]:
    return {
        "at": event.at,
        "what": HAPPENED[event.what],
        "who": event.who,
        "queue": event.queue.name if event.queue else "",
        "said": _told(event),
        "note": event.note or getattr(event.said, "note", ""),
    }


def _told(event: Event) -> str:
    if event.queue and event.said:
        return said(event.queue, event.said)
    if event.wave:
        window = event.wave.window
        steps = step_range(window.first_step, window.last_step)
        return _("wave %(n)d, steps %(steps)s") % {"n": event.wave.number, "steps": steps}
    return words.said(event.reason)


# In the words of the history: who did it stands before them.
HAPPENED = {
    Happened.DRAWN: gettext_lazy("drawn"),
    Happened.PICKED: gettext_lazy("picked it"),
    Happened.SERVED: gettext_lazy("was served it"),
    Happened.LABELLED: gettext_lazy("labelled it"),
    Happened.LATE: gettext_lazy("labelled it, too late to count"),
    Happened.TAKEN_BACK: gettext_lazy("took the label back"),
    Happened.SKIPPED: gettext_lazy("skipped it"),
    Happened.REVEALED: gettext_lazy("was shown the verdicts"),
    Happened.OBJECTED: gettext_lazy("changed their mind"),
    Happened.REQUEUED: gettext_lazy("asked for another look"),
    Happened.ADJUDICATED: gettext_lazy("decided"),
    Happened.WITHDRAWN: gettext_lazy("cancelled its wave"),
    Happened.KNOWN: gettext_lazy("marked its answer as known"),
}


def _rollout(found: Rollout) -> dict[str, object]:
    return {
        "uid": found.uid,
        "step": found.step,
        "policy": found.policy.uid,
        "tokens": found.tokens,
        "reward": found.reward,
        "table": found.table_version,
        "domain": found.group.prompt.domain,
    }


def text_of(found: Rollout) -> dict[str, object] | None:
    """Problem, references and turns, rendered; None: the text has been purged."""
    if found.purged_at is not None:
        return None
    prompt = found.group.prompt
    return reading(found) | {
        "references": [render_answer(reference) for reference in prompt.references]
    }


def _verdicts(found: Rollout) -> list[dict[str, object]]:
    return [
        {
            "verifier": str(verdict.verifier),
            "outcome": verdict.outcome,
            "extracted": verdict.extracted,
            "path": verdict.path,
            "form": verdict.form,
            "score": verdict.score,
            "detail": verdict.detail,
            "record": None
            if verdict.record is None
            else json.dumps(verdict.record, ensure_ascii=False, indent=1),
        }
        for verdict in verdicts_of(found)
    ]


def _label(label: Label) -> dict[str, object]:
    queue = label.assignment.queue
    return {
        "by": label.reviewer.username,
        "at": label.created_at,
        "why": words.said(label.assignment.get_cause_display()),
        "queue": queue.name,
        "answer": answer_words(label.answer),
        "is_hack": label.is_hack,
        "said": said(queue, label),
        "is_late": label.is_late,
    }


def _decision(decision: Adjudication) -> dict[str, object]:
    return {
        "by": decision.decided_by,
        "answer": answer_words(decision.answer),
        "is_hack": decision.is_hack,
        "said": said(decision.queue, decision),
        "reason": decision.reason,
    }
