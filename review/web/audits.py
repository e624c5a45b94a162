"""Writing an audit rule: the form, what it would cost and tell, and its versions."""

from typing import cast
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from review.core.errors import ReviewError
from review.flows import audit
from review.flows.preview import preview_audit
from review.runs.models import Run
from review.sampling.errors import InvalidRuleError
from review.sampling.models import AuditRule
from review.sampling.services.rules import NewRule
from review.web import access
from review.web.access import ReviewRequest
from review.web.forms.audits import AuditForm, SettingsForm, initial_of
from review.web.navigation import project_frame
from review.web.outlooks import outlook_context
from review.web.words import said


@require_http_methods(["GET", "POST"])
@login_required
def audit_new(request: ReviewRequest, run_id: UUID) -> HttpResponse:
    run = access.run_led(request.user, run_id)
    form = AuditForm(request.POST or None, run=run)
    if form.is_bound and form.is_valid():
        try:
            rule = audit.create_audit(run=run, new=form.new_rule(), actor=request.user)
        except InvalidRuleError as error:
            refuse(form, error)
        else:
            messages.success(request, _("The audit is saved as a draft: nothing is drawn yet."))
            return redirect("web:audit", rule.pk)
    return _form_page(request, run, form)


@require_http_methods(["GET", "POST"])
@login_required
def audit_edit(request: ReviewRequest, audit_id: UUID) -> HttpResponse:
    rule = access.audit_led(request.user, audit_id)
    form = SettingsForm(request.POST or None, run=rule.run, initial=initial_of(rule.current))
    if form.is_bound and form.is_valid():
        try:
            version = audit.change_audit(rule=rule, settings=form.settings(), actor=request.user)
        except InvalidRuleError as error:
            refuse(form, error)
        else:
            text = _("Version %(number)s is saved: the next wave has it.")
            messages.success(request, text % {"number": version.number})
            return redirect("web:audit", rule.pk)
    return _form_page(request, rule.run, form, rule=rule)


@require_POST
@login_required
def audit_new_preview(request: ReviewRequest, run_id: UUID) -> HttpResponse:
    run = access.run_led(request.user, run_id)
    return _preview(request, run, AuditForm(request.POST, run=run))


@require_POST
@login_required
def audit_edit_preview(request: ReviewRequest, audit_id: UUID) -> HttpResponse:
    rule = access.audit_led(request.user, audit_id)
    return _preview(request, rule.run, SettingsForm(request.POST, run=rule.run), rule=rule)


def _preview(
    request: ReviewRequest, run: Run, form: SettingsForm, *, rule: AuditRule | None = None
) -> HttpResponse:
    """The panel, or without htmx the whole page with it. A rule that cannot be met has reasons."""
    form.full_clean()
    form.errors.pop("name", None)
    outlook = None
    if not form.errors:
        try:
            new = _as_new(form, rule)
            outlook = outlook_context(
                preview_audit(run=run, new=new), verifiers=len(new.settings.verifiers)
            )
        except InvalidRuleError as error:
            refuse(form, error)
    context: dict[str, object] = {"outlook": outlook, "problems": _problems(form)}
    if request.htmx:
        return render(request, "web/audit_form.html#preview", context)
    return _form_page(request, run, form, rule=rule, **context)


def _as_new(form: SettingsForm, rule: AuditRule | None) -> NewRule:
    if rule is None:
        return cast("AuditForm", form).new_rule()
    return NewRule(
        name=rule.name,
        first_step=rule.first_step,
        window_steps=rule.window_steps,
        settings=form.settings(),
    )


def _form_page(
    request: ReviewRequest,
    run: Run,
    form: SettingsForm,
    *,
    rule: AuditRule | None = None,
    **preview: object,
) -> HttpResponse:
    url = reverse("web:run", args=[run.pk])
    if rule:
        url = reverse("web:audit", args=[rule.pk])
        here, ahead = "web:audit-edit", "web:audit-edit-preview"
    else:
        here, ahead = "web:audit-new", "web:audit-new-preview"
    key = rule.pk if rule else run.pk
    context = project_frame(request, run.project, "") | {
        "run": {"id": run.pk, "name": run.name},
        "rule": {"id": rule.pk, "name": rule.name, "version": rule.current.number}
        if rule
        else None,
        "form": form,
        "sections": list(form.sections()),
        "form_url": reverse(here, args=[key]),
        "preview_url": reverse(ahead, args=[key]),
        "back_url": url,
    }
    is_refused = bool(form.errors) and not preview
    status = 422 if is_refused else 200
    return render(request, "web/audit_form.html", context | preview, status=status)


def refuse(form: SettingsForm, error: ReviewError) -> None:
    """Each reason at its field; what has no field here, above them."""
    for name, reason in error.fields.items() or [("", error.message)]:
        text = f"{capfirst(said(reason)).rstrip('.')}."
        form.add_error(name if name in form.fields else None, text)


def _problems(form: SettingsForm) -> list[dict[str, str]]:
    return [
        {"field": str(form[name].label) if name in form.fields else "", "reason": str(reason)}
        for name, reasons in form.errors.items()
        for reason in reasons
    ]


@require_POST
@login_required
def audit_start(request: ReviewRequest, audit_id: UUID) -> HttpResponse:
    rule = access.audit_led(request.user, audit_id)
    audit.start_audit(rule=rule, actor=request.user)
    messages.success(
        request, _("The audit is started: items appear in its queue window by window.")
    )
    return redirect("web:audit", rule.pk)
