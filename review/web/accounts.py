"""Signing in, and the project's service tokens."""

from uuid import UUID

from django.contrib import messages
from django.contrib.auth import views as auth
from django.contrib.auth.decorators import login_required
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRefresh

from review.accounts.models import Project
from review.accounts.queries import tokens_of
from review.accounts.services import issue_token, revoke_token
from review.core.errors import ReviewError
from review.web import access
from review.web.access import ReviewRequest
from review.web.forms.tokens import TokenForm
from review.web.navigation import project_frame

# Failed sign-ins for one name from one address before it has to wait, and for how long.
FAILURES_ALLOWED = 10
WAIT_S = 300


class LoginView(auth.LoginView):
    template_name = "web/login.html"
    redirect_authenticated_user = True

    def get(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if "HX-Request" in request.headers:
            # A part of a page asked after its session had ended: the whole page has to sign in.
            return HttpResponseClientRefresh()
        return super().get(request, *args, **kwargs)

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        form = self.get_form()
        key = f"failed-login:{request.META['REMOTE_ADDR']}:{request.POST.get('username', '')[:150]}"
        cache.add(key, 0, WAIT_S)
        if cache.get(key, 0) >= FAILURES_ALLOWED:
            form.errors.clear()
            form.add_error(None, "Too many failed sign-ins: wait five minutes and try again.")
            return self.render_to_response(self.get_context_data(form=form), status=429)
        if form.is_valid():
            cache.delete(key)
            return self.form_valid(form)
        cache.incr(key)
        return self.form_invalid(form)


@require_http_methods(["GET", "POST"])
@login_required
def tokens(request: ReviewRequest, project_slug: str) -> HttpResponse:
    project = access.project_led(request.user, project_slug)
    form = TokenForm(request.POST or None)
    new_token = _issue(request, project, form) if form.is_bound and form.is_valid() else None
    context = project_frame(request, project, "Service tokens") | {
        "tokens": [
            {
                "id": token.pk,
                "name": token.name,
                "scopes": token.scopes,
                "owner": token.owner,
                "created_at": token.created_at,
                "last_used_at": token.last_used_at,
                "is_revoked": token.revoked_at is not None,
            }
            for token in tokens_of(project)
        ],
        "form": TokenForm() if new_token else form,
        "new_token": new_token,
    }
    status = 422 if form.is_bound and form.errors else 200
    return render(request, "web/tokens.html", context, status=status)


def _issue(request: ReviewRequest, project: Project, form: TokenForm) -> str | None:
    try:
        issued = issue_token(
            project=project, owner=request.user, actor=request.user, **form.cleaned_data
        )
    except ReviewError as error:
        form.add_error("scopes", "; ".join([error.message, *error.fields.values()]))
        return None
    return issued.secret


@require_POST
@login_required
def token_revoke(request: ReviewRequest, token_id: UUID) -> HttpResponse:
    token = access.token_led(request.user, token_id)
    revoke_token(token=token, actor=request.user)
    messages.success(request, f"The token {token.name} is revoked.")
    return redirect("web:tokens", token.project.slug)
