from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from review.accounts.models import Project
from review.core.models import record_event
from review.runs.errors import (
    ErratumDecidedError,
    InvalidErratumError,
    PromptConflictError,
    RunConflictError,
    StepOrderError,
    UnknownNormaliserError,
)
from review.runs.models import (
    Erratum,
    ErratumState,
    Fault,
    Policy,
    Prompt,
    Run,
    RunStatus,
    Segmenter,
)
from review.runs.queries import prompts_by_uid
from trainer.rewards.cells import NORMALISERS


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    uid: str
    name: str
    seed: int | None
    config: dict[str, Any]
    group_size: int
    normaliser: str
    step_block: int
    segmenter: str = Segmenter.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPrompt:
    uid: str
    text: str
    references: list[str]
    domain: str
    source: str
    licence: str
    released_on: date | None
    split: str
    difficulty: int | None = None


@transaction.atomic
def register_run(*, project: Project, new: NewRun, actor: object) -> tuple[Run, bool]:
    """Store the run; the same uid again answers the stored one, unless it differs."""
    refuse_unknown_normaliser(new.normaliser)
    run, is_new = Run.objects.get_or_create(
        project=project,
        uid=new.uid,
        defaults={
            "name": new.name,
            "seed": new.seed,
            "config": new.config,
            "group_size": new.group_size,
            "normaliser": new.normaliser,
            "step_block": new.step_block,
            "segmenter": new.segmenter,
        },
    )
    if is_new:
        record_event(actor=actor, action="run registered", subject=run, uid=new.uid)
    for field in ("normaliser", "group_size", "step_block"):
        if getattr(run, field) != getattr(new, field):
            raise RunConflictError(fields={field: f"is {getattr(run, field)!r} in the stored run"})
    return run, is_new


def refuse_unknown_normaliser(name: str) -> None:
    if name not in NORMALISERS:
        raise UnknownNormaliserError(
            fields={"normaliser": f"one of {', '.join(sorted(NORMALISERS))}"}
        )


def lock_run(run: Run) -> Run:
    """The run's row, locked: its writers take turns, readers and foreign keys do not wait."""
    return Run.objects.select_for_update(no_key=True).get(pk=run.pk)


@transaction.atomic
def complete_step(*, run: Run, step: int) -> Run:
    """Every rollout of steps up to this one has been sent. Says nothing new when repeated."""
    run = lock_run(run)
    if step > run.completed_step:
        run.completed_step = step
        run.save(update_fields=["completed_step"])
    return run


@transaction.atomic
def end_run(*, run: Run, status: RunStatus, actor: object) -> Run:
    run = lock_run(run)
    if run.status == status:
        return run
    if run.status != RunStatus.RUNNING:
        raise StepOrderError(
            f"The run is already {run.status}.", fields={"status": f"is {run.status}"}
        )
    run.status = status
    run.save(update_fields=["status"])
    record_event(actor=actor, action=f"run {status}", subject=run)
    return run


@transaction.atomic
def store_prompts(*, run: Run, prompts: Sequence[NewPrompt]) -> None:
    """Store each prompt once; with one that is stored differently the whole batch is refused."""
    with connection.cursor() as cursor:
        cursor.execute(STORE_PROMPTS, [run.pk, msgspec.json.encode(prompts).decode()])
        is_new = Counter(uid for (uid,) in cursor.fetchall())
    is_new.subtract(new.uid for new in prompts)
    # Those that were there before, or stand twice in the batch.
    known = prompts_by_uid(run, (uid for uid, left in is_new.items() if left), with_texts=True)
    for position, new in enumerate(prompts):
        kept = known.get(new.uid, new)
        if (kept.text, kept.references, kept.domain) != (new.text, new.references, new.domain):
            raise PromptConflictError(fields={f"prompts[{position}].uid": "is taken"})


# In one order for all writers: two batches at once never wait for each other in a ring.
STORE_PROMPTS = """
INSERT INTO runs_prompt (run_id, uid, text, "references", domain, source, licence, released_on,
    split, difficulty, created_at)
SELECT %s, new.uid, new.text, ARRAY(SELECT jsonb_array_elements_text(new."references")), new.domain,
    new.source, new.licence, new.released_on, new.split, new.difficulty, now()
FROM jsonb_to_recordset(%s) AS new (uid text, text text, "references" jsonb, domain text,
    source text, licence text, released_on date, split text, difficulty smallint)
ORDER BY new.uid
ON CONFLICT (run_id, uid) DO NOTHING
RETURNING uid
"""


def policies_by_uid(*, run: Run, uids: set[str]) -> dict[str, Policy]:
    """The run's policies of these names, made where new. The caller holds the run's lock."""
    stored = {policy.uid: policy for policy in run.policies.filter(uid__in=uids)}
    missing = sorted(uids - stored.keys())
    for policy in Policy.objects.bulk_create([Policy(run=run, uid=uid) for uid in missing]):
        stored[policy.uid] = policy
    return stored


@transaction.atomic
def open_erratum(*, prompt: Prompt, fault: Fault, note: str, actor: object) -> Erratum:
    """That the prompt is said to have this fault. Said again it is the same erratum, while that
    waits and where it was upheld; holds its row."""
    upheld = Erratum.objects.filter(prompt=prompt, fault=fault, state=ErratumState.UPHELD)
    if known := upheld.first():
        return known
    erratum, is_new = Erratum.objects.select_for_update().get_or_create(
        prompt=prompt,
        fault=fault,
        state=ErratumState.OPEN,
        defaults={"note": note, "opened_by": str(actor)},
    )
    if is_new:
        record_event(actor=actor, action="erratum opened", subject=erratum, fault=fault)
    return erratum


def lock_open_erratum(*, prompt: Prompt, fault: str) -> Erratum | None:
    """The erratum that waits for a decision, its row locked: whoever reports it anew waits."""
    rows = Erratum.objects.select_for_update().filter(prompt=prompt, fault=fault)
    return rows.filter(state=ErratumState.OPEN).first()


@transaction.atomic
def withdraw_erratum(*, erratum: Erratum, actor: object) -> None:
    """Nobody says it any more. The caller holds it."""
    _close_erratum(erratum, ErratumState.WITHDRAWN, actor, "")
    record_event(actor=actor, action="erratum withdrawn", subject=erratum)


@transaction.atomic
def decide_erratum(*, erratum: Erratum, is_upheld: bool, reason: str, actor: object) -> Erratum:
    """Say whether the problem is broken. No label, estimate or reward changes by it."""
    if not reason.strip():
        raise InvalidErratumError(fields={"reason": "say why"})
    held = Erratum.objects.select_for_update(of=("self",)).get(pk=erratum.pk)
    if held.state != ErratumState.OPEN:
        raise ErratumDecidedError(fields={"state": f"is {held.state}"})
    state = ErratumState.UPHELD if is_upheld else ErratumState.DISMISSED
    _close_erratum(held, state, actor, reason)
    record_event(actor=actor, action=f"erratum {state}", subject=held, reason=reason)
    return held


def _close_erratum(erratum: Erratum, state: ErratumState, actor: object, decision: str) -> None:
    erratum.state, erratum.decision = state, decision
    erratum.decided_by, erratum.decided_at = str(actor), timezone.now()
    erratum.save(update_fields=["state", "decision", "decided_by", "decided_at"])
