"""What the verifiers said of a rollout, for the reviewer whose label of it stands."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from review.labeling.models import Answer, Label
from review.labeling.queries import final_answer_of
from review.labeling.reveals import group_of, kept_back, other_labels
from review.labeling.services.labels import object_to_label, reveal_label
from review.rollouts.models import Rollout
from review.verifiers.models import Outcome
from review.verifiers.queries import correctness_verifiers_of, outcomes_of, verdicts_of
from review.web import access
from review.web.access import ReviewRequest
from review.web.forms.labels import ObjectionForm
from review.web.items import ANSWER_WORDS
from review.web.navigation import project_frame
from review.web.reading import reading
from review.web.rendering import render_answer


@require_POST
@login_required
def label_reveal(request: ReviewRequest, label_id: int) -> HttpResponse:
    label = access.label_given(request.user, label_id)
    reveal_label(label=label, reviewer=request.user)
    return redirect("web:revealed", label.pk)


@require_GET
@never_cache
@login_required
def revealed(request: ReviewRequest, label_id: int) -> HttpResponse:
    label = access.label_revealed(request.user, label_id)
    return _page(request, label, ObjectionForm())


@require_POST
@login_required
def label_object(request: ReviewRequest, label_id: int) -> HttpResponse:
    label = access.label_revealed(request.user, label_id)
    form = ObjectionForm(request.POST)
    if not form.is_valid():
        return _page(request, label, form, status=422)
    object_to_label(reveal=label.reveal, note=form.cleaned_data["note"])
    messages.success(request, _("Noted: an adjudicator decides. Your label stays as it is."))
    return redirect("web:revealed", label.pk)


def _page(
    request: ReviewRequest, label: Label, form: ObjectionForm, *, status: int = 200
) -> HttpResponse:
    queue, rollout = label.assignment.queue, label.assignment.rollout
    verdicts = verdicts_of(rollout)
    objection = getattr(label, "objection", None)
    context = project_frame(request, queue.project, "") | {
        "queue": {"id": queue.pk, "name": queue.name},
        "label": {
            "id": label.pk,
            "says": ANSWER_WORDS[label.answer],
            "is_hack": label.is_hack,
            "note": label.note,
        },
        "verdicts": [
            {
                "verifier": str(verdict.verifier),
                "channel": verdict.verifier.channel,
                "outcome": verdict.outcome,
                "extracted": verdict.extracted,
                "detail": verdict.detail,
            }
            for verdict in verdicts
        ],
        "compares": _compares(label),
        "reward": rollout.reward,
        "others": [ANSWER_WORDS[other.answer] for other in other_labels(label)],
        "group": _group(label),
        "reading": None if rollout.purged_at else reading(rollout),
        "objection": None if objection is None else {"note": objection.note},
        "form": form,
    }
    return render(request, "web/revealed.html", context, status=status)


def _compares(label: Label) -> str:
    """The label beside the primary verifier's verdict."""
    verdict = _primary_outcomes(label, [label.assignment.rollout]).get(label.assignment.rollout_id)
    if label.answer == Answer.CANNOT_TELL or verdict not in {Outcome.PASS, Outcome.FAIL}:
        return _("Your label and the verifier cannot be compared: one of them did not decide.")
    if (label.answer == Answer.CORRECT) == (verdict == Outcome.PASS):
        return _("Your label and the verifier agree.")
    if verdict == Outcome.PASS:
        return _("The verifier accepted an answer that you call incorrect.")
    return _("The verifier rejected an answer that you call correct.")


def _primary_outcomes(label: Label, rollouts: list[Rollout]) -> dict[int, Outcome]:
    verifiers = correctness_verifiers_of(label.assignment.rollout.run)
    return outcomes_of(verifiers[0], [each.pk for each in rollouts]) if verifiers else {}


def _group(label: Label) -> list[dict[str, Any]]:
    """The group's other answers; what was judged of those still to be labelled is kept back."""
    mates = group_of(label)
    kept = kept_back(label, [mate.pk for mate in mates])
    outcomes = _primary_outcomes(label, mates)
    return [
        {
            "number": number,
            "answer": _answer(mate),
            "is_kept_back": mate.pk in kept,
            "outcome": None if mate.pk in kept else outcomes.get(mate.pk),
            "reward": None if mate.pk in kept else mate.reward,
        }
        for number, mate in enumerate(mates, start=1)
    ]


def _answer(mate: Rollout) -> object:
    answer = final_answer_of(mate)
    return None if answer is None else render_answer(answer)
