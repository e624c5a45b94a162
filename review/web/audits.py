"""Writing an audit rule, and starting it."""

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from review.flows import audit
from review.sampling.errors import InvalidRuleError
from review.web import access
from review.web.access import ReviewRequest
from review.web.forms import AuditForm
from review.web.navigation import project_frame


@require_http_methods(["GET", "POST"])
@login_required
def audit_new(request: ReviewRequest, run_id: UUID) -> HttpResponse:
    run = access.run_led(request.user, run_id)
    form = AuditForm(request.POST or None, initial={"first_step": run.completed_step + 1})
    if form.is_bound and form.is_valid():
        try:
            audit.create_audit(
                run=run,
                new=audit.NewAudit(
                    rule=form.new_rule(), shows_reference=form.cleaned_data["shows_reference"]
                ),
                actor=request.user,
            )
        except InvalidRuleError as error:
            for field, reason in error.fields.items():
                form.add_error(field if field in form.fields else None, reason)
        else:
            messages.success(request, "The audit is saved as a draft. Start it when you are ready.")
            return redirect("web:run", run.pk)
    context = project_frame(request, run.project, "") | {
        "run": {"id": run.pk, "name": run.name},
        "form": form,
    }
    return render(request, "web/audit_form.html", context, status=422 if form.errors else 200)


@require_POST
@login_required
def audit_start(request: ReviewRequest, audit_id: UUID) -> HttpResponse:
    rule = access.audit_led(request.user, audit_id)
    audit.start_audit(rule=rule, actor=request.user)
    messages.success(request, "The audit is started: items appear in its queue window by window.")
    return redirect("web:run", rule.run_id)
