"""A project's verifiers: versions, where they judge, and how they stand up to attack."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from review.flows.probes import promote_attack, start_probing, tries_on
from review.verifiers.built_in import TORCH_QUEUE, needs_torch
from review.verifiers.errors import PromotionRefusedError
from review.verifiers.models import ProbeRun, ProbeState, PromotedAttack, VerifierVersion
from review.verifiers.probes import probe_runs_of, promoted_attacks, result_before
from review.verifiers.queries import newest_probe_rates, versions_of
from review.web import access
from review.web.access import ReviewRequest
from review.web.figures import bar, percent, percent_range
from review.web.forms.decisions import PromotionForm
from review.web.forms.imports import CHANNEL_WORDS
from review.web.navigation import project_frame
from trainer.verifiers.probes import Comparison, ProbeError, compare

MOST_LISTED = 50
SHOWN_CHARACTERS = 1_000


@require_GET
@login_required
def verifiers(request: ReviewRequest, project_slug: str) -> HttpResponse:
    project = access.project_led(request.user, project_slug)
    versions = list(versions_of(project))
    rates = newest_probe_rates(versions)
    context = project_frame(request, project, _("Verifiers")) | {
        "verifiers": [_listed(version, rates.get(version.pk)) for version in versions],
        "attacks": [_promoted(attack) for attack in promoted_attacks(project)],
    }
    return render(request, "web/verifiers.html", context)


def _listed(version: VerifierVersion, rate: Mapping[str, float] | None) -> dict[str, object]:
    return {
        "url": reverse("web:verifier", args=[version.pk]),
        "name": str(version),
        "channel": CHANNEL_WORDS[version.channel],
        "params": sorted((version.params or {}).items()),
        "is_ours": version.params is not None,
        "runs": [_run(link.run) for link in version.in_runs.all()],
        "replayed": [_run(run) for run in dict.fromkeys(r.run for r in version.replays.all())],
        "rate": _rate(rate),
    }


def _run(run: Any) -> dict[str, object]:
    return {"url": reverse("web:run", args=[run.pk]), "name": run.name}


def _rate(rate: Mapping[str, float] | None) -> dict[str, object] | None:
    if rate is None:
        return None
    return {
        "point": percent(rate["point"]),
        "interval": percent_range(rate["low"], rate["high"]),
        "bar": bar(rate["low"], rate["high"], rate["point"]),
    }


def _promoted(attack: PromotedAttack) -> dict[str, object]:
    return {
        "id": str(attack),
        "url": reverse("web:rollout", args=[attack.rollout.run_id, attack.rollout_id]),
        "family": attack.family,
        "kind": attack.kind,
        "note": attack.note,
        "by": attack.created_by,
        "at": attack.created_at,
    }


@require_GET
@login_required
def verifier(request: ReviewRequest, verifier_id: int) -> HttpResponse:
    found = access.verifier_led(request.user, verifier_id)
    return render(request, "web/verifier.html", _context(request, found))


@require_GET
@login_required
def verifier_live(request: ReviewRequest, verifier_id: int) -> HttpResponse:
    found = access.verifier_led(request.user, verifier_id)
    return render(request, "web/verifier.html#live", _context(request, found))


@require_POST
@login_required
def verifier_probe(request: ReviewRequest, verifier_id: int) -> HttpResponse:
    found = access.verifier_led(request.user, verifier_id)
    start_probing(verifier=found, actor=request.user)
    return redirect("web:verifier", found.pk)


def _context(request: ReviewRequest, found: VerifierVersion) -> dict[str, object]:
    runs = list(probe_runs_of(found).defer("result")[:MOST_LISTED])
    is_probed = any(run.state == ProbeState.RUNNING for run in runs)
    newest = probe_runs_of(found).filter(state=ProbeState.DONE).first()
    tries = tries_on(found)
    replays = found.replays.select_related("run").order_by("-created_at")[:MOST_LISTED]
    return project_frame(request, found.project, "") | {
        "verifier": {
            "id": found.pk,
            "name": str(found),
            "channel": CHANNEL_WORDS[found.channel],
            "is_ours": found.params is not None,
            "queue": TORCH_QUEUE if needs_torch(found) else None,
        },
        "params": sorted((found.params or {}).items()),
        "runs": [_run(link.run) for link in found.in_runs.select_related("run")],
        "replays": [
            {
                "url": reverse("web:replay", args=[replay.pk]),
                "run": replay.run.name,
                "state": replay.state,
                "judged": replay.judged,
                "at": replay.created_at,
            }
            for replay in replays
        ],
        "tries": tries,
        "probe_url": None
        if is_probed or not tries
        else reverse("web:verifier-probe", args=[found.pk]),
        "is_probed": is_probed,
        "live_url": reverse("web:verifier-live", args=[found.pk]),
        "probe_runs": [
            {"at": run.created_at, "by": run.created_by, "state": run.state, "problem": run.problem}
            for run in runs
        ],
        "result": None if newest is None else _result(newest),
    }


def _result(run: ProbeRun) -> dict[str, object]:
    """What the suite found, beside what it found before."""
    result: dict[str, Any] = run.result or {}
    earlier = result_before(run)
    before: dict[str, Any] = (earlier.result or {}) if earlier else {}
    change = _change(before, result)
    regressed = set(change.regressions) if change else set()
    return {
        "at": run.created_at,
        "tries": result["overall"]["tries"],
        "overall": _tally(result["overall"], before.get("overall")),
        "controls": _tally(result["controls"], before.get("controls")),
        "families": [
            {"name": name}
            | _tally(tally, before.get("families", {}).get(name))
            | {"regressions": sum(_family(result, key) == name for key in regressed)}
            for name, tally in result["families"].items()
        ],
        "before": None if earlier is None else _before(earlier),
        "change": None if change is None else _counts(change),
        "accepted": _by_attack(result["accepted"], regressed),
        "rejected_controls": _by_attack(result["rejected_controls"], set()),
    }


def _change(before: dict[str, Any], now: dict[str, Any]) -> Comparison | None:
    """None: there is nothing before, or nothing that can be compared."""
    try:
        return compare(before, now) if before else None
    except ProbeError:
        return None


def _before(earlier: ProbeRun) -> dict[str, object]:
    return {
        "name": str(earlier.verifier),
        "url": reverse("web:verifier", args=[earlier.verifier_id]),
        "at": earlier.created_at,
    }


def _counts(change: Comparison) -> dict[str, int]:
    return {
        "regressions": len(change.regressions),
        "mended": len(change.mended),
        "lost_controls": len(change.lost_controls),
        "new_accepted": len(change.new_accepted),
    }


def _tally(tally: dict[str, Any], before: dict[str, Any] | None) -> dict[str, object]:
    rate_before = before and before["rate"]
    return {
        "attacks": tally["attacks"],
        "tries": tally["tries"],
        "passed": tally["passed"],
        "undecided": tally["undecided"],
        "rate": _rate(tally["rate"]),
        "before": percent(rate_before["point"]) if rate_before else None,
    }


Key = tuple[str, str]


def _key(tried: Mapping[str, Any]) -> Key:
    return tried["attack"], tried["prompt"]


def _family(result: Mapping[str, Any], key: Key) -> str | None:
    return next((one["family"] for one in result["attempts"] if _key(one) == key), None)


def _by_attack(listed: Sequence[Mapping[str, Any]], regressed: set[Key]) -> list[dict[str, object]]:
    """Each attack or control with its tries of the list, those first that did not pass before."""
    tries: dict[str, list[dict[str, object]]] = defaultdict(list)
    for tried in listed:
        tries[tried["attack"]].append(_try(tried, regressed))
    attacks = [
        {name: of_it[0][name] for name in ("attack", "family", "targets")}
        | {"is_regression": any(tried["is_regression"] for tried in of_it), "tries": of_it}
        for of_it in tries.values()
    ]
    return sorted(attacks, key=lambda attack: not attack["is_regression"])


def _try(tried: Mapping[str, Any], regressed: set[Key]) -> dict[str, object]:
    return {
        "attack": tried["attack"],
        "family": tried["family"],
        "targets": tried["targets"],
        "source": tried["source"],
        "problem": _short(tried["problem"]),
        "references": _short(", ".join(tried["references"])),
        "response": _short(tried["response"]),
        "extracted": None if tried["extracted"] is None else _short(tried["extracted"]),
        "outcome": tried["outcome"],
        "is_regression": _key(tried) in regressed,
    }


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} …"


# Promotion


@require_POST
@login_required
def attack_promote(request: ReviewRequest, run_id: UUID, rollout_id: int) -> HttpResponse:
    found = access.rollout_led(request.user, run_id, rollout_id)
    form = PromotionForm(request.POST)
    if not form.is_valid():
        for errors in form.errors.values():
            messages.error(request, " ".join(map(str, errors)))
        return redirect("web:rollout", run_id, rollout_id)
    try:
        promote_attack(rollout=found, actor=request.user, **form.cleaned_data)
    except PromotionRefusedError as error:
        reasons = "; ".join(f"{field}: {rule}" for field, rule in error.fields.items())
        messages.error(request, f"{error.message} {reasons}")
    else:
        messages.success(request, _("It is an attack of this project's suite from now on."))
    return redirect("web:rollout", run_id, rollout_id)
