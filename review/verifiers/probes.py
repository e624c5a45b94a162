"""Probe runs and promoted attacks: what is kept of them. Running the suite is a flow."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from review.accounts.models import Project
from review.core.models import record_event
from review.core.texts import storable
from review.rollouts.models import Rollout
from review.rollouts.queries import last_words
from review.verifiers.errors import PromotionRefusedError
from review.verifiers.models import ProbeRun, ProbeState, PromotedAttack, VerifierVersion
from trainer.verifiers.probes import Attack, ProbeError, attack_from_json

# One that runs for so long may have lost its worker.
STALLED = timedelta(seconds=45)
MOST_PROBLEM = 500
GONE = "(its text is gone)"


def probe_runs_of(verifier: VerifierVersion) -> QuerySet[ProbeRun]:
    """The newest first."""
    return verifier.probe_runs.order_by("-created_at")


def result_before(run: ProbeRun) -> ProbeRun | None:
    """The newest result before this one of any version of the verifier."""
    version = run.verifier
    rows = ProbeRun.objects.filter(
        verifier__project=version.project_id,
        verifier__name=version.name,
        state=ProbeState.DONE,
        created_at__lt=run.created_at,
    )
    return rows.select_related("verifier").order_by("-created_at").first()


@transaction.atomic
def open_probe_run(*, verifier: VerifierVersion, actor: object) -> ProbeRun:
    """One that is under way already is answered instead of a second. Holds the verifier's row."""
    VerifierVersion.objects.select_for_update(no_key=True).get(pk=verifier.pk)
    under_way = verifier.probe_runs.filter(state=ProbeState.RUNNING).first()
    if under_way is not None:
        return under_way
    run = ProbeRun.objects.create(verifier=verifier, created_by=str(actor))
    record_event(actor=actor, action="probes started", subject=run, verifier=str(verifier))
    return run


def count_attempt(run: ProbeRun) -> None:
    ProbeRun.objects.filter(pk=run.pk).update(attempts=F("attempts") + 1)
    run.refresh_from_db(fields=["state", "attempts"])


@transaction.atomic
def end_probe_run(
    *, run: ProbeRun, result: dict[str, Any] | None = None, problem: str = ""
) -> None:
    """Keep what was found, once; without a result it has failed.

    Holds the project's promoted attacks: what is purged meanwhile is not kept.
    """
    if result is not None:
        project = run.verifier.project_id
        list(PromotedAttack.objects.select_for_update().filter(project=project).order_by("pk"))
        gone = PromotedAttack.objects.filter(project=project, rollout__purged_at__isnull=False)
        _blank(result, set(map(str, gone)))
    ProbeRun.objects.filter(pk=run.pk, state=ProbeState.RUNNING).update(
        state=ProbeState.FAILED if result is None else ProbeState.DONE,
        result=result,
        problem=storable(problem)[:MOST_PROBLEM],
        finished_at=timezone.now(),
    )


def stalled_probe_runs() -> list[ProbeRun]:
    before = timezone.now() - STALLED
    rows = ProbeRun.objects.filter(state=ProbeState.RUNNING, created_at__lt=before)
    return list(rows.select_related("verifier"))


# Promoted attacks


def promoted_attacks(project: Project) -> QuerySet[PromotedAttack]:
    """Those whose texts are still there."""
    rows = PromotedAttack.objects.filter(project=project, rollout__purged_at=None)
    return rows.select_related("rollout__run", "rollout__group__prompt").order_by("pk")


@transaction.atomic
def promote(
    *, rollout: Rollout, kind: str, family: str, note: str, actor: object
) -> PromotedAttack:
    """Make it an attack of its project's suite; it must be one that can be tried.

    The caller has seen that people call it a reward hack. The same rollout again is the same one.
    """
    if rollout.purged_at is not None:
        raise PromotionRefusedError(fields={"rollout": "its text is gone"})
    chosen: dict[str, Any] = {
        "kind": kind,
        "family": family,
        "note": note,
        "created_by": str(actor),
    }
    chosen |= {"project": rollout.run.project}
    try:
        attack_of(PromotedAttack(rollout=rollout, **chosen))
    except ProbeError as error:
        raise PromotionRefusedError(fields=_at_field(str(error))) from None
    attack, is_new = PromotedAttack.objects.get_or_create(rollout=rollout, defaults=chosen)
    if is_new:
        record_event(actor=actor, action="attack promoted", subject=attack, rollout=rollout.pk)
    return attack


def _at_field(text: str) -> dict[str, str]:
    """What the suite says is wrong, "attack: family: must ...", at the form's field."""
    *_, name, rule = ("rollout", *text.removeprefix("attack: ").split(": ", 1))
    fields = {"family": "family", "kinds": "kind", "targets": "note"}
    return {fields.get(name, "rollout"): rule if name in fields else f"{name}: {rule}"}


def attack_of(promoted: PromotedAttack) -> Attack:
    """The attack over its own prompt. Raises ProbeError, naming the field."""
    prompt = promoted.rollout.group.prompt
    return attack_from_json(
        {
            "id": f"promoted-{promoted.pk or 'new'}",
            "family": promoted.family,
            "kinds": [promoted.kind],
            "targets": promoted.note,
            "source": f"run {promoted.rollout.run.uid}",
            # No brace of it is a placeholder.
            "template": last_words(promoted.rollout).replace("{", '{"{"}'),
            "prompts": [{"problem": prompt.text, "references": prompt.references}],
        }
    )


def blank_promoted(rollout_ids: Sequence[int]) -> None:
    """Take the texts of these rollouts out of what the suite found, in the caller's transaction."""
    attacks = PromotedAttack.objects.select_for_update().filter(rollout__in=rollout_ids)
    by_project: dict[int, set[str]] = defaultdict(set)
    for attack in attacks.order_by("pk"):
        by_project[attack.project_id].add(str(attack))
    for project, names in by_project.items():
        runs = ProbeRun.objects.filter(verifier__project=project, state=ProbeState.DONE)
        for run in runs.select_for_update(of=("self",)):
            if _blank(run.result or {}, names):
                run.save(update_fields=["result"])


BLANK: dict[str, Any] = {
    "problem": "",
    "references": [],
    "response": GONE,
    "extracted": None,
    "detail": "",
}


def _blank(result: dict[str, Any], attacks: Collection[str]) -> bool:
    """Whether there was anything to blank."""
    shown = [*result.get("accepted", ()), *result.get("rejected_controls", ())]
    found = [tried for tried in shown if tried["attack"] in attacks]
    for tried in found:
        tried |= BLANK
    return bool(found)
