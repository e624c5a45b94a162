"""The audit page, and what a lead does there: cancel, end, pick, settle."""

import hashlib
from collections.abc import Sequence
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from review.calibration.errors import TooFewLabelsError
from review.calibration.reward_queue import propose
from review.flows import audit
from review.sampling.models import AuditRule, PickCause, RuleState
from review.sampling.queries import newest_pickable
from review.web import access, desk, people
from review.web.access import ReviewRequest
from review.web.forms.audits import PickForm
from review.web.navigation import project_frame
from review.web.words import said


@require_GET
@login_required
def audit_page(request: ReviewRequest, audit_id: UUID) -> HttpResponse:
    rule = access.audit_led(request.user, audit_id)
    return _page(request, rule, PickForm(run=rule.run))


@require_GET
@login_required
def audit_live(request: ReviewRequest, audit_id: UUID) -> HttpResponse:
    """The part that keeps itself up to date; nothing, where the page shows it already."""
    context = _live(access.audit_led(request.user, audit_id))
    if request.GET.get("seen") == context["seen"]:
        return HttpResponse(status=204)
    return render(request, "web/audit.html#live", context)


def _live(rule: AuditRule) -> dict[str, object]:
    live = desk.live_context(rule)
    # A forecast moves with the clock: alone it is no news.
    shown = {name: part for name, part in live.items() if name != "finish"}
    return live | {"seen": hashlib.sha256(repr(shown).encode()).hexdigest()[:16]}


def _page(
    request: ReviewRequest, rule: AuditRule, form: PickForm, *, status: int = 200
) -> HttpResponse:
    is_active = rule.state == RuleState.ACTIVE
    context = project_frame(request, rule.run.project, "") | _live(rule)
    context |= {
        "steps": _("from step %(first)s in windows of %(steps)s")
        % {"first": rule.first_step, "steps": rule.window_steps},
        "settings": list(desk.described(rule.current).items()),
        "history": desk.history(rule),
        "picks": desk.picks(rule),
        "pick_form": form,
        "pick_url": reverse("web:picks", args=[rule.pk]) if is_active else None,
        "agreement": people.agreement(rule),
        "reviewers": people.reviewers(rule),
        "practice_url": reverse("web:practice-people", args=[rule.queue.pk])
        if rule.queue.practice_size
        else None,
    }
    return render(request, "web/audit.html", context, status=status)


@require_POST
@login_required
def wave_cancel(request: ReviewRequest, wave_id: int) -> HttpResponse:
    wave = access.wave_led(request.user, wave_id)
    audit.cancel_wave(wave=wave, actor=request.user)
    text = _("Wave %(number)s is cancelled. What is answered of it stays known.")
    messages.success(request, text % {"number": wave.number})
    return redirect("web:audit", wave.window.rule_id)


@require_POST
@login_required
def window_end(request: ReviewRequest, window_id: UUID) -> HttpResponse:
    window = access.window_led(request.user, window_id)
    audit.end_window(window=window, actor=request.user)
    steps = {"first": window.first_step, "last": window.last_step}
    messages.success(request, _("The window of steps %(first)s-%(last)s is ended.") % steps)
    return redirect("web:audit", window.rule_id)


@require_POST
@login_required
def audit_end(request: ReviewRequest, audit_id: UUID) -> HttpResponse:
    rule = access.audit_led(request.user, audit_id)
    audit.end_audit(rule=rule, actor=request.user)
    messages.success(request, _("The audit is ended. Its estimates stay."))
    return redirect("web:audit", rule.pk)


@require_POST
@login_required
def pick(request: ReviewRequest, audit_id: UUID) -> HttpResponse:
    rule = access.audit_led(request.user, audit_id)
    form = PickForm(request.POST, run=rule.run)
    if not form.is_valid():
        return _page(request, rule, form, status=422)
    try:
        picks = audit.pick_rollouts(
            rule=rule,
            rollouts=_chosen(rule, form),
            cause=PickCause.REWARD if form.cleaned_data["for_reward"] else PickCause.LEAD,
            note=form.cleaned_data["note"],
            actor=request.user,
        )
    except TooFewLabelsError as error:
        form.add_error("for_reward", said(error.message))
        return _page(request, rule, form, status=422)
    if not picks:
        form.add_error("slice", _("No rollout of an open window is left there to pick."))
        return _page(request, rule, form, status=422)
    text = _("%(n)s picked: they wait in the queue behind the sample.")
    messages.success(request, text % {"n": len(picks)})
    return redirect("web:audit", rule.pk)


def _chosen(rule: AuditRule, form: PickForm) -> Sequence[int]:
    count, part = form.cleaned_data["count"], form.cleaned_data["slice"]
    if form.cleaned_data["for_reward"]:
        return propose(rule, count)
    return newest_pickable(rule, part.conditions if part else (), count)
