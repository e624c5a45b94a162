"""Projects and their people: members, invitations, and how somebody joins."""

from uuid import UUID

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect

from review.accounts.errors import InvitationClosedError, SlugTakenError, UsernameTakenError
from review.accounts.models import Invitation, InvitationState, Project, Role, User
from review.accounts.queries import (
    Member,
    has_role,
    invitations_of,
    members_of,
    open_invitation,
    roles_in,
)
from review.accounts.services.invitations import (
    VALID_DAYS,
    accept_invitation,
    invite,
    join_with_new_account,
    revoke_invitation,
)
from review.accounts.services.members import change_member, create_project, remove_member
from review.runs.queries import domains_of
from review.web import access
from review.web.access import ReviewRequest
from review.web.accounts import sso_button
from review.web.forms.accounts import AccountForm
from review.web.forms.members import InvitationForm, MemberForm, ProjectForm
from review.web.navigation import project_frame
from review.web.roles import DUTIES, NAMES, names_of

# Older invitations are in the audit trail.
INVITATIONS_SHOWN = 100


@require_http_methods(["GET", "POST"])
@login_required
def project_new(request: ReviewRequest) -> HttpResponse:
    access.projects_made(request.user)
    form = ProjectForm(request.POST or None)
    if form.is_valid():
        try:
            project = create_project(maker=request.user, **form.cleaned_data)
        except SlugTakenError as error:
            form.add_error("slug", error.message)
        else:
            messages.success(request, _("The project %(name)s is made.") % {"name": project.name})
            return redirect("web:members", project.slug)
    status = 422 if form.is_bound else 200
    return render(request, "web/project_new.html", {"form": form}, status=status)


@require_GET
@never_cache
@login_required
def members(request: ReviewRequest, project_slug: str) -> HttpResponse:
    project = access.project_led_or_administered(request.user, project_slug)
    return _page(request, project)


@require_POST
@login_required
def member_change(request: ReviewRequest, project_slug: str, member_id: int) -> HttpResponse:
    project, member = access.member_administered(request.user, project_slug, member_id)
    form = _member_form(member, domains_of(project), request.POST)
    if not form.is_valid():
        return _page(request, project, wrong=(member.user.pk, form))
    change_member(project=project, user=member.user, actor=request.user, **form.settings())
    messages.success(request, _("%(name)s is changed.") % {"name": member.user.username})
    return _members_again(request, project)


@require_POST
@login_required
def member_remove(request: ReviewRequest, project_slug: str, member_id: int) -> HttpResponse:
    project, member = access.member_administered(request.user, project_slug, member_id)
    remove_member(project=project, user=member.user, actor=request.user)
    messages.success(request, _("%(name)s is removed.") % {"name": member.user.username})
    return _members_again(request, project)


def _members_again(request: ReviewRequest, project: Project) -> HttpResponse:
    """The page as it is now; whoever has taken it from themselves goes home."""
    if not roles_in(request.user, project).isdisjoint({Role.LEAD, Role.ADMIN}):
        return redirect("web:members", project.slug)
    if request.htmx:
        return HttpResponseClientRedirect(reverse("web:home"))
    return redirect("web:home")


@require_POST
@never_cache
@login_required
def invitation_new(request: ReviewRequest, project_slug: str) -> HttpResponse:
    project = access.project_administered(request.user, project_slug)
    form = InvitationForm(request.POST, known=domains_of(project))
    if not form.is_valid():
        return _page(request, project, invitation_form=form)
    issued = invite(project=project, actor=request.user, **form.settings())
    link = request.build_absolute_uri(reverse("web:join", args=[issued.secret]))
    return _page(request, project, new_link=link)


@require_POST
@login_required
def invitation_revoke(request: ReviewRequest, invitation_id: UUID) -> HttpResponse:
    invitation = access.invitation_administered(request.user, invitation_id)
    revoke_invitation(invitation=invitation, actor=request.user)
    said = _("The invitation of %(name)s is revoked.") % {"name": invitation.invitee}
    messages.success(request, said)
    return redirect("web:members", invitation.project.slug)


def _page(
    request: ReviewRequest,
    project: Project,
    *,
    wrong: tuple[int, MemberForm] | None = None,
    invitation_form: InvitationForm | None = None,
    new_link: str = "",
) -> HttpResponse:
    context = project_frame(request, project, _("Members")) | {"new_link": new_link}
    if has_role(request.user, project, Role.ADMIN):
        known = domains_of(project)
        context["invitation_form"] = invitation_form or InvitationForm(
            known=known, auto_id="id_invitation_%s", initial={"roles": [Role.REVIEWER]}
        )
        context["invitations"] = [_invitation(row) for row in _newest_invitations(project)]
        context["valid_days"] = VALID_DAYS
    else:
        known = None
    context["members"] = [
        _member(request, project, member, known, wrong) for member in members_of(project)
    ]
    status = 422 if wrong or invitation_form else 200
    return render(request, "web/members.html", context, status=status)


def _newest_invitations(project: Project) -> list[Invitation]:
    return list(invitations_of(project)[:INVITATIONS_SHOWN])


def _member(
    request: ReviewRequest,
    project: Project,
    member: Member,
    known: list[str] | None,
    wrong: tuple[int, MemberForm] | None,
) -> dict[str, object]:
    """known: the domains to choose from, or None for who may only look."""
    shown = {
        "id": member.user.pk,
        "name": member.user.username,
        "is_self": member.user == request.user,
        "roles": names_of(set(member.roles)),
        "expertise": member.expertise,
        "is_reviewer": Role.REVIEWER in member.roles,
        "form": None,
    }
    if known is None:
        return shown
    is_wrong = wrong is not None and wrong[0] == member.user.pk
    form = wrong[1] if wrong is not None and is_wrong else _member_form(member, known)
    place = [project.slug, member.user.pk]
    return shown | {
        "form": form,
        "is_open": is_wrong,
        "change_url": reverse("web:member-change", args=place),
        "remove_url": reverse("web:member-remove", args=place),
    }


def _member_form(member: Member, known: list[str], data: QueryDict | None = None) -> MemberForm:
    return MemberForm(
        data,
        known=known,
        expertise=member.expertise,
        initial={"roles": member.roles},
        auto_id=f"id_{member.user.pk}_%s",
    )


STATES = {
    InvitationState.OPEN: _lazy("open"),
    InvitationState.ACCEPTED: _lazy("accepted"),
    InvitationState.REVOKED: _lazy("revoked"),
    InvitationState.EXPIRED: _lazy("expired"),
}


def _invitation(invitation: Invitation) -> dict[str, object]:
    is_open = invitation.state == InvitationState.OPEN
    revoke_url = reverse("web:invitation-revoke", args=[invitation.pk])
    return {
        "invitee": invitation.invitee,
        "roles": names_of(set(invitation.roles)),
        "expertise": invitation.expertise,
        "by": invitation.created_by,
        "expires_at": invitation.expires_at,
        "is_open": is_open,
        "state": STATES[invitation.state],
        "accepted_by": invitation.accepted_by,
        "revoke_url": revoke_url if is_open else None,
    }


@require_http_methods(["GET", "POST"])
@never_cache
def join(request: HttpRequest, secret: str) -> HttpResponse:
    """The only way to a new account by a page: whoever holds an open invitation's link."""
    invitation = open_invitation(secret)
    if invitation is None:
        return _closed(request)
    try:
        if request.user.is_authenticated:
            return _join_signed_in(request, invitation, secret)
        return _join_anew(request, invitation, secret)
    except InvitationClosedError:
        return _closed(request)


def _closed(request: HttpRequest) -> HttpResponse:
    """The same for a link that was used, revoked, has expired or never was."""
    return render(request, "web/invitation_closed.html", status=404)


def _join_signed_in(request: HttpRequest, invitation: Invitation, secret: str) -> HttpResponse:
    assert isinstance(request.user, User)  # noqa: S101  (asked before)
    if request.method == "GET":
        return _join_page(request, invitation, None)
    accept_invitation(secret=secret, user=request.user)
    return _joined(request, invitation)


def _join_anew(request: HttpRequest, invitation: Invitation, secret: str) -> HttpResponse:
    form = AccountForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        return _join_page(request, invitation, form)
    try:
        user = join_with_new_account(
            secret=secret,
            username=form.cleaned_data["username"],
            password=form.cleaned_data["password1"],
        )
    except UsernameTakenError as error:
        form.add_error("username", error.message)
        return _join_page(request, invitation, form)
    login(request, user)
    return _joined(request, invitation)


def _join_page(
    request: HttpRequest, invitation: Invitation, form: AccountForm | None
) -> HttpResponse:
    context = {
        "project_name": invitation.project.name,
        "by": invitation.created_by,
        "roles": [(NAMES[role], DUTIES[role]) for role in invitation.roles],
        "form": form,
        "next": request.path,
        "sso": sso_button(),
    }
    status = 422 if form is not None and form.is_bound else 200
    return render(request, "web/join.html", context, status=status)


def _joined(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    said = _("You are in the project %(name)s now.") % {"name": invitation.project.name}
    messages.success(request, said)
    return redirect("web:home")
