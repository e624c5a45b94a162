"""A verifier added to a run: chosen, its cost shown, replayed over what is stored."""

import inspect
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from review.flows import replays as flow
from review.runs.models import Run
from review.verifiers.built_in import TORCH_QUEUE, needs_torch
from review.verifiers.errors import UnusableVerifierError, VerifierConflictError
from review.verifiers.models import UNFINISHED, Replay, ReplayState
from review.verifiers.queries import correctness_verifiers_of
from review.verifiers.replays import come_since, replays_of
from review.web import access
from review.web.access import ReviewRequest
from review.web.figures import duration
from review.web.forms.imports import CHANNEL_WORDS
from review.web.forms.replays import ParametersForm, VerifierForm
from review.web.navigation import project_frame
from review.web.words import said
from trainer.verifiers import listed

MOST_LISTED = 50


@require_http_methods(["GET", "POST"])
@login_required
def replay_new(request: ReviewRequest, run_id: UUID) -> HttpResponse:
    run = access.run_led(request.user, run_id)
    given = request.POST if request.method == "POST" else request.GET
    choice = VerifierForm(given if "verifier" in given else None)
    if not choice.is_bound or not choice.is_valid():
        status = 422 if request.method == "POST" else 200
        context = _choosing(request, run, choice)
        return render(request, "web/replay_form.html", context, status=status)
    name = choice.cleaned_data["verifier"]
    if request.method == "GET":
        template = "web/replay_form.html" + ("#parameters" if request.htmx else "")
        return render(request, template, _choosing(request, run, choice, ParametersForm(name)))
    form = ParametersForm(name, request.POST)
    replay = _added(request, run, name, form) if form.is_valid() else None
    if replay is not None:
        return redirect("web:replay", replay.pk)
    context = _choosing(request, run, choice, form)
    return render(request, "web/replay_form.html", context, status=422)


def _added(request: ReviewRequest, run: Run, name: str, form: ParametersForm) -> Replay | None:
    try:
        return flow.add_verifier(run=run, name=name, params=form.chosen(), actor=request.user)
    except UnusableVerifierError as error:
        form.refuse(error)
    except VerifierConflictError as error:
        form.add_error(None, said(error.message))
    return None


def _choosing(
    request: ReviewRequest, run: Run, choice: VerifierForm, form: ParametersForm | None = None
) -> dict[str, object]:
    context: dict[str, object] = {
        "run": {"id": run.pk, "name": run.name},
        "choice": choice,
        "form": form,
        "replays": [_listed(replay) for replay in replays_of(run)[:MOST_LISTED]],
    }
    if form is not None:
        name = choice.cleaned_data["verifier"]
        known = listed(name)
        context["chosen"] = {
            "name": name,
            "about": inspect.getdoc(known.load()) or "",
            "channel": CHANNEL_WORDS[known.channel],
            "queue": TORCH_QUEUE if known.needs_torch else None,
        }
    return project_frame(request, run.project, "") | context


def _listed(replay: Replay) -> dict[str, object]:
    return {
        "url": reverse("web:replay", args=[replay.pk]),
        "verifier": str(replay.verifier),
        "state": replay.state,
        "judged": replay.judged,
        "by": replay.created_by,
        "at": replay.created_at,
    }


@require_GET
@login_required
def replay(request: ReviewRequest, replay_id: UUID) -> HttpResponse:
    found = access.replay_led(request.user, replay_id)
    return render(request, "web/replay.html", _context(request, found))


@require_GET
@login_required
def replay_live(request: ReviewRequest, replay_id: UUID) -> HttpResponse:
    found = access.replay_led(request.user, replay_id)
    return render(request, "web/replay.html#live", _context(request, found))


@require_POST
@login_required
def replay_start(request: ReviewRequest, replay_id: UUID) -> HttpResponse:
    found = access.replay_led(request.user, replay_id)
    flow.start_replay(replay=found, actor=request.user)
    return redirect("web:replay", found.pk)


@require_POST
@login_required
def replay_cancel(request: ReviewRequest, replay_id: UUID) -> HttpResponse:
    found = access.replay_led(request.user, replay_id)
    flow.cancel_replay(replay=found, actor=request.user)
    messages.success(request, _("The replay is cancelled."))
    return redirect("web:replay", found.pk)


@require_POST
@login_required
def replay_again(request: ReviewRequest, replay_id: UUID) -> HttpResponse:
    """The same verifier over what it has not judged, such as rollouts that have come since."""
    found = access.replay_led(request.user, replay_id)
    again = flow.prepare_replay(run=found.run, verifier=found.verifier, actor=request.user)
    return redirect("web:replay", again.pk)


def _context(request: ReviewRequest, found: Replay) -> dict[str, object]:
    run = found.run
    is_over = found.state not in UNFINISHED
    return project_frame(request, run.project, "") | {
        "run": {"id": run.pk, "name": run.name},
        "replay": _shown(found) | {"since": come_since(found) if is_over else 0},
        "params": sorted((found.verifier.params or {}).items()),
        "live_url": reverse("web:replay-live", args=[found.pk]),
        "start_url": _url("replay-start", found, if_=found.state == ReplayState.WAITING),
        "cancel_url": _url("replay-cancel", found, if_=not is_over),
        "again_url": _url("replay-again", found, if_=is_over),
        "verifier_url": reverse("web:verifier", args=[found.verifier_id]),
        "disagreements_url": _disagreements_url(found) if found.judged else None,
    }


def _url(name: str, found: Replay, *, if_: bool) -> str | None:
    return reverse(f"web:{name}", args=[found.pk]) if if_ else None


def _shown(found: Replay) -> dict[str, Any]:
    total = found.rollouts or 0
    waits = found.state in (ReplayState.MEASURING, ReplayState.RUNNING)
    return {
        "id": found.pk,
        "verifier": str(found.verifier),
        "channel": CHANNEL_WORDS[found.verifier.channel],
        "state": found.state,
        "is_live": waits,
        "is_measuring": found.state == ReplayState.MEASURING,
        "is_running": found.state == ReplayState.RUNNING,
        "rollouts": found.rollouts,
        "time": None if found.seconds is None else duration(max(found.seconds, 1)),
        "calls": found.calls,
        "tokens": found.tokens,
        "judged": found.judged,
        "undecided": found.undecided,
        "purged": found.purged,
        "percent": min(100, 100 * found.judged // total) if total else 0,
        "problem": found.problem,
        "queue": TORCH_QUEUE if waits and needs_torch(found.verifier) else None,
    }


def _disagreements_url(found: Replay) -> str | None:
    primary = correctness_verifiers_of(found.run)[0]
    if primary == found.verifier:
        return None
    url = reverse("web:disagreements", args=[found.run_id])
    return f"{url}?first={primary.pk}&second={found.verifier_id}"
