"""Reward tables: built as drafts, looked at, published."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from review.calibration.errors import NoLabelsError
from review.calibration.models import RewardRule, RewardTable
from review.calibration.queries import newest_versions
from review.calibration.services import tables as services
from review.rollouts.queries import step_summaries
from review.sampling.models import Window
from review.web import access
from review.web.access import ReviewRequest
from review.web.cells import Word, outcome_word, words_of
from review.web.changes import changes_context
from review.web.figures import percent, percent_range, step_range
from review.web.forms.tables import TableForm
from review.web.navigation import project_frame
from review.web.runs import run_context, steps_using
from review.web.words import said
from trainer.rewards import Cell, Entry
from trainer.rewards import RewardTable as TrainerTable


@require_POST
@login_required
def table_build(request: ReviewRequest, run_id: UUID) -> HttpResponse:
    run = access.run_led(request.user, run_id)
    form = TableForm(request.POST)
    if form.is_valid():
        try:
            table = services.build_table(
                run=run,
                rule=RewardRule(form.cleaned_data["rule"]),
                valid_from_step=form.cleaned_data["valid_from_step"],
                valid_to_step=form.cleaned_data["valid_to_step"],
                abstain_over_half=form.cleaned_data["abstain_over_half"],
                actor=request.user,
            )
        except NoLabelsError as error:
            form.add_error(None, said(error.message))
        else:
            return redirect("web:table", table.pk)
    context = run_context(request, run) | {
        "build_form": form,
        "build_url": reverse("web:table-build", args=[run.pk]),
    }
    return render(request, "web/run.html", context, status=422)


@require_POST
@login_required
def table_publish(request: ReviewRequest, table_id: UUID) -> HttpResponse:
    table = access.table_led(request.user, table_id)
    services.publish_table(table=table, actor=request.user)
    text = _("Table v%(version)s is published: trainers get it from now on.")
    messages.success(request, text % {"version": table.version})
    return redirect("web:table", table.pk)


@require_GET
@login_required
def table(request: ReviewRequest, table_id: UUID) -> HttpResponse:
    found = access.table_led(request.user, table_id)
    entries = TrainerTable.from_json(found.body)
    published = newest_versions(found.run.project).get(found.run_id, 0)
    publish_url = reverse("web:table-publish", args=[found.pk])
    context = project_frame(request, found.run.project, "") | {
        "run": {"id": found.run_id, "name": found.run.name},
        "table": _table(found, entries),
        "preview": _preview(found.preview),
        "changes": changes_context(found, request.GET.get("loss", "")),
        "warnings": _warnings(found.preview),
        "cells": _cells(entries.cells),
        "fallback": _fallback(entries.fallback),
        "publish_url": publish_url if found.version > published else None,
    }
    part = "#changes" if request.htmx else ""
    return render(request, f"web/reward_table.html{part}", context)


def _table(found: RewardTable, entries: TrainerTable) -> dict[str, object]:
    windows = Window.objects.filter(pk__in=entries.windows).order_by("first_step")
    return {
        "version": found.version,
        "rule": found.get_rule_display(),
        "state": "published" if found.is_published else "draft",
        "valid_steps": step_range(found.valid_from_step, found.valid_to_step),
        "labels": found.labels,
        "label_set": entries.label_set[:16],
        "published_at": found.published_at,
        "windows": "; ".join(
            _("steps %(steps)s") % {"steps": step_range(w.first_step, w.last_step)} for w in windows
        ),
        "used_steps": steps_using(found, step_summaries(found.run)),
    }


def _preview(preview: Mapping[str, Any]) -> list[dict[str, str | None]] | None:
    if not preview.get("groups"):
        return None
    return [
        {
            "label": _("Rollouts left out"),
            "text": percent(preview["rollouts_left_out"]),
            "help": _("They get no advantage and do not count in their group's mean."),
        },
        {
            "label": _("Groups left flat"),
            "text": percent(preview["groups_flat"]),
            "help": _(
                "Groups in which every reward is the same teach nothing; under the raw verdict "
                "%(share)s are flat."
            )
            % {"share": percent(preview["groups_flat_raw"])},
        },
        {
            "label": _("Paid by their answer"),
            "text": percent(preview.get("rollouts_settled", 0)),
            "help": _(
                "A reviewer has judged the same answer to the same problem: right is paid 1, "
                "wrong 0, whatever the verifier says."
            )
            + _settled_against(preview),
        },
        {
            "label": _("Rejections left out"),
            "text": percent(preview["left_out_of_rejections"]),
            "help": _(
                "Of all that the verifier rejects, the share that reviewers showed to hold "
                "right answers."
            ),
        },
    ]


def _settled_against(preview: Mapping[str, Any]) -> str:
    share = preview.get("changes", {}).get("settled_against", 0)
    if not share:
        return ""
    return " " + _("Against their verdict: %(share)s of rollouts.") % {"share": percent(share)}


def _warnings(preview: Mapping[str, Any]) -> list[str]:
    warnings = []
    if preview.get("left_out_of_rejections", 0) > 0.5:
        warnings.append(
            _(
                "More than half of all rejections would be left out. A verifier that rejects "
                "right answers everywhere wants mending more than a reward table."
            )
        )
    if preview.get("groups_flat", 0) > 0.5:
        warnings.append(_("In more than half of the groups every reward would be the same."))
    return warnings


def _cells(cells: Mapping[str, Entry]) -> list[dict[str, object]]:
    """The cells in words, those of the same verdict and answer side by side."""
    return [
        {"words": words_of(Cell.parse(key), is_without_share=entry.level == "model")}
        | _entry(key, entry)
        for key, entry in sorted(cells.items())
    ]


def _fallback(entries: Mapping[str, Entry]) -> list[dict[str, object]]:
    probes = {"p0": Word(_("no probe hit")), "p1": Word(_("probe hit"))}
    return [
        {"words": [probes.get(part) or outcome_word(part) for part in key.split("/")]}
        | _entry(key, entry)
        for key, entry in entries.items()
    ]


def _entry(key: str, entry: Entry) -> dict[str, object]:
    return {
        "key": key,
        "value": None if entry.abstain else f"{entry.value:.3f}",
        "p_correct": percent(entry.p_correct),
        "interval": percent_range(entry.low, entry.high),
        "n": entry.n,
    }
