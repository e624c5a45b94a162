"""One rollout: read by a lead, settled between labels, marked as known."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from review.core.errors import InvalidError
from review.flows import labels as flow
from review.labeling.models import Answer, Label
from review.labeling.oversight import adjudications_of, gold_of, labels_of
from review.labeling.queries import SlotLabel, slot_labels
from review.labeling.services.reviews import mark_gold
from review.rollouts.models import Rollout
from review.rollouts.queries import steps_of
from review.sampling.models import AuditRule
from review.verifiers.queries import verdicts_of
from review.web import access
from review.web.access import ReviewRequest
from review.web.figures import answer_words
from review.web.forms.decisions import DecisionForm, GoldForm
from review.web.navigation import project_frame
from review.web.rendering import render as render_text
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
        return _page(request, found, status=422)
    gold = mark_gold(
        rollout=found,
        answer=Answer(form.cleaned_data["answer"]),
        is_hack=form.cleaned_data["is_hack"],
        actor=request.user,
    )
    messages.success(request, f"Its answer is known from now on: {gold.answer}.")
    return redirect("web:rollout", run_id, rollout_id)


def _page(request: ReviewRequest, found: Rollout, *, status: int = 200) -> HttpResponse:
    gold = gold_of(found)
    labels = list(labels_of(found))
    context = project_frame(request, found.run.project, "") | {
        "run": {"id": found.run_id, "name": found.run.name},
        "rollout": _rollout(found),
        "text": text_of(found),
        "verdicts": _verdicts(found),
        "labels": [_label(label) for label in labels],
        "decisions": [
            _answered(decision) | {"by": decision.decided_by, "reason": decision.reason}
            for decision in adjudications_of(found)
        ],
        "gold": None if gold is None else {"answer": gold.answer, "by": gold.set_by},
        "gold_form": GoldForm(),
        "gold_url": reverse("web:rollout-gold", args=[found.run_id, found.pk])
        if gold is None and labels
        else None,
    }
    return render(request, "web/rollout.html", context, status=status)


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
    """Problem, references and numbered steps, rendered; None: the text has been purged."""
    if found.purged_at is not None:
        return None
    prompt = found.group.prompt
    return {
        "problem": render_text(prompt.text),
        "references": [render_answer(reference) for reference in prompt.references],
        "steps": [
            {"number": step.number, "html": render_text(step.text)} for step in steps_of(found)
        ],
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
        }
        for verdict in verdicts_of(found)
    ]


def _label(label: Label) -> dict[str, object]:
    return _answered(label) | {
        "by": label.reviewer.username,
        "at": label.created_at,
        "why": label.assignment.get_cause_display(),
        "queue": label.assignment.queue.name,
        "note": label.note,
        "is_late": label.is_late,
    }


def _answered(said: Any) -> dict[str, object]:
    return {
        "answer": answer_words(said.answer),
        "step": _step(said.earliest_wrong_step, has_none=said.has_no_wrong_step),
        "is_hack": said.is_hack,
    }


def _step(number: int | None, *, has_none: bool) -> str:
    if has_none:
        return "none is wrong"
    return "not said" if number is None else str(number)


# Settling


@require_http_methods(["GET", "POST"])
@login_required
def settle(request: ReviewRequest, audit_id: UUID, rollout_id: int) -> HttpResponse:
    rule = access.audit_led(request.user, audit_id)
    found = access.rollout_led(request.user, rule.run_id, rollout_id)
    form = DecisionForm(request.POST or None)
    if form.is_bound and form.is_valid():
        try:
            flow.adjudicate(
                queue=rule.queue,
                rollout=found,
                decided_by=request.user,
                new=form.decision(),
                reason=form.cleaned_data["reason"],
            )
        except InvalidError as error:
            form.add_error(None, "; ".join([error.message, *error.fields.values()]))
        else:
            messages.success(request, "Settled: what you decided is its final answer.")
            return redirect("web:audit", rule.pk)
    return _settle_page(request, rule, found, form)


def _settle_page(
    request: ReviewRequest, rule: AuditRule, found: Rollout, form: DecisionForm
) -> HttpResponse:
    said = slot_labels(rule.queue.pk, found.pk)
    written = {label.pk: label for label in labels_of(found)}
    decided = adjudications_of(found).filter(queue=rule.queue).last()
    is_own = request.user.pk in {label.reviewer_id for label in said}
    context = project_frame(request, rule.run.project, "") | {
        "run": {"id": rule.run_id, "name": rule.run.name},
        "rule": {"id": rule.pk, "name": rule.name},
        "text": text_of(found),
        "people": [written[label.id].reviewer.username for label in said],
        "fields": _side_by_side(said, [written[label.id].note for label in said]),
        "decision": None
        if decided is None
        else _answered(decided) | {"by": decided.decided_by, "reason": decided.reason},
        "is_own": is_own,
        "form": None if is_own or decided or len(said) < 2 else form,
    }
    return render(request, "web/settle.html", context, status=422 if form.errors else 200)


def _side_by_side(said: Sequence[SlotLabel], notes: Sequence[str]) -> list[dict[str, object]]:
    """Each field of the labels in a row, and whether they differ in it."""
    rows = [
        ("Answer", [answer_words(label.answer) for label in said]),
        ("Hack", ["yes" if label.is_hack else "no" for label in said]),
        (
            "Earliest wrong step",
            [_step(x.earliest_wrong_step, has_none=x.has_no_wrong_step) for x in said],
        ),
        ("Note", list(notes)),
    ]
    return [
        {"name": name, "values": values, "differs": name != "Note" and len(set(values)) > 1}
        for name, values in rows
    ]
