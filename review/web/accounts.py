"""Signing in, and the project's service tokens."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views as auth
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse, reverse_lazy
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRefresh

from review.accounts.errors import TooManySignInsError
from review.accounts.models import Project
from review.accounts.queries import tokens_of
from review.accounts.services.sign_ins import begin_sign_in, end_sign_in
from review.accounts.services.tokens import issue_token, revoke_token
from review.core.addresses import client_address
from review.core.errors import MissingError, ReviewError
from review.web import access
from review.web.access import ReviewRequest
from review.web.forms.accounts import NewPasswordForm
from review.web.forms.tokens import TokenForm
from review.web.navigation import project_frame


def sso_button() -> dict[str, str] | None:
    """The way to the single sign-on, where one is set."""
    if not settings.OIDC_ISSUER:
        return None
    return {"url": reverse("web:sso"), "name": settings.OIDC_NAME}


class LoginView(auth.LoginView):
    template_name = "web/login.html"
    redirect_authenticated_user = True

    def get(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if "HX-Request" in request.headers:
            # A part of a page asked after its session had ended: the whole page has to sign in.
            return HttpResponseClientRefresh()
        return super().get(request, *args, **kwargs)

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        who = {
            "name": request.POST.get("username", ""),
            "address": client_address(request),
        }
        try:
            begin_sign_in(**who)
        except TooManySignInsError as error:
            # A form without data: no password is looked at.
            context = self.get_context_data(form=AuthenticationForm(request), refusal=error.message)
            return self.render_to_response(context, status=error.status)
        form = self.get_form()
        if not form.is_valid():
            return self.form_invalid(form)
        end_sign_in(**who)
        return self.form_valid(form)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"sso": sso_button()}


@require_GET
def admin_login(request: HttpRequest) -> HttpResponse:
    """Django's administration signs people in by the page that counts failures."""
    if request.user.is_authenticated:
        raise MissingError
    return redirect_to_login(request.GET.get("next", reverse("admin:index")))


class PasswordChangeView(auth.PasswordChangeView):
    form_class = NewPasswordForm
    template_name = "web/password.html"
    success_url = reverse_lazy("web:home")

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        messages.success(self.request, _("Your password is changed."))
        return super().form_valid(form)


@require_http_methods(["GET", "POST"])
@login_required
def tokens(request: ReviewRequest, project_slug: str) -> HttpResponse:
    project = access.project_led(request.user, project_slug)
    form = TokenForm(request.POST or None)
    new_token = _issue(request, project, form) if form.is_bound and form.is_valid() else None
    context = project_frame(request, project, _("Service tokens")) | {
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
    messages.success(request, _("The token %(name)s is revoked.") % {"name": token.name})
    return redirect("web:tokens", token.project.slug)
