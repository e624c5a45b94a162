"""The page on which people change their keys."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from review.accounts.services.shortcuts import save_shortcuts
from review.web.access import ReviewRequest
from review.web.forms.keys import KeysForm
from review.web.keys import keys_of


@require_http_methods(["GET", "POST"])
@login_required
def keys(request: ReviewRequest) -> HttpResponse:
    if "reset" in request.POST:
        save_shortcuts(user=request.user, shortcuts={})
        messages.success(request, _("Every key is as it was at first."))
        return _done(request)
    form = KeysForm(request.POST or None, keys=keys_of(request.user.shortcuts))
    if form.is_bound and form.is_valid():
        save_shortcuts(user=request.user, shortcuts=form.shortcuts())
        messages.success(request, _("Your keys are saved."))
        return _done(request)
    context = {"form": form, "next": _next(request)}
    return render(request, "web/keys.html", context, status=422 if form.errors else 200)


def _done(request: ReviewRequest) -> HttpResponse:
    return redirect(_next(request) or reverse("web:keys"))


def _next(request: ReviewRequest) -> str:
    """The page of ours that they came from."""
    url = request.POST.get("next") or request.GET.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(
        url, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return url if is_ours else ""
