import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection, transaction

from review.accounts.models import Project
from review.core.models import record_event
from review.rollouts.errors import UnknownRolloutError
from review.rollouts.services import blank_texts, set_answer_classes
from review.runs.models import Prompt, Run
from review.runs.services import lock_run, refuse_unknown_normaliser
from review.verifiers.criteria import criteria_alone
from review.verifiers.errors import MonitorRewardedError, VerifierConflictError
from review.verifiers.models import Channel, RunVerifier, Verdict, VerifierVersion
from review.verifiers.probes import blank_promoted
from review.verifiers.queries import correctness_verifiers_of, judged_pairs, verifiers_of
from trainer.rewards.cells import answer_class
from trainer.verifiers import Outcome as TrainerOutcome
from trainer.verifiers import Verdict as TrainerVerdict

# So many verdicts, at their longest, fit into the key of a cell.
MOST_JUDGES = 5
# Answer classes are derived anew for so many rollouts at a time.
BATCH = 5_000
# Between a class that was split and the digest of a spelling; no normaliser writes it.
SPLIT_MARK = "\N{NOT EQUAL TO}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVerifier:
    name: str
    version: str
    channel: str
    # In the reward; None is 1, of a monitor 0.
    weight: float | None = None

    @property
    def weight_in_reward(self) -> float:
        if self.weight is not None:
            return self.weight
        return 0.0 if self.channel == Channel.MONITOR else 1.0


@transaction.atomic
def register_verifiers(*, run: Run, verifiers: Sequence[NewVerifier]) -> None:
    """Give the run its verifiers; a repeat must name the same ones in the same order."""
    _refuse_unusable(verifiers)
    versions = [
        known_version(
            project=run.project,
            name=new.name,
            version=new.version,
            channel=new.channel,
            field=f"verifiers[{position}].channel",
        )
        for position, new in enumerate(verifiers)
    ]
    registered = verifiers_of(run)
    if registered and registered != versions:
        names = ", ".join(str(verifier) for verifier in registered)
        raise VerifierConflictError(fields={"verifiers": f"the run has {names}"})
    if not registered:
        RunVerifier.objects.bulk_create(
            RunVerifier(run=run, verifier=version, position=position, weight=new.weight_in_reward)
            for position, (version, new) in enumerate(zip(versions, verifiers, strict=True))
        )


def _refuse_unusable(verifiers: Sequence[NewVerifier]) -> None:
    names = [(new.name, new.version) for new in verifiers]
    for position, name in enumerate(names):
        if name in names[:position]:
            raise VerifierConflictError(
                "A verifier is named twice.", fields={f"verifiers[{position}]": "@".join(name)}
            )
    for position, new in enumerate(verifiers):
        if new.channel == Channel.MONITOR and new.weight_in_reward:
            raise MonitorRewardedError(
                fields={f"verifiers[{position}].weight": "must be 0 for a monitor"}
            )
    judges = sum(new.channel == Channel.CORRECTNESS for new in verifiers)
    if not 1 <= judges <= MOST_JUDGES:
        raise VerifierConflictError(
            f"A run has 1 to {MOST_JUDGES} verifiers of the channel correctness.",
            fields={"verifiers": f"{judges} judge correctness"},
        )


def known_version(
    *, project: Project, name: str, version: str, channel: str, field: str = "channel"
) -> VerifierVersion:
    """The project's verifier of this name and version, made if it is new."""
    known, _ = VerifierVersion.objects.get_or_create(
        project=project, name=name, version=version, defaults={"channel": channel}
    )
    if known.channel != channel:
        raise VerifierConflictError(fields={field: f"is {known.channel} in this project"})
    return known


@transaction.atomic
def add_verdicts(*, verdicts: Sequence[Verdict]) -> None:
    """Store verdicts on stored rollouts, and count the new ones of correctness verifiers.

    A verdict that is stored already stays as it is. The caller holds the run's lock.
    """
    stored = judged_pairs(verdicts)
    new: dict[tuple[int, int], Verdict] = {}
    for verdict in verdicts:
        pair = (verdict.rollout_id, verdict.verifier_id)
        if pair not in stored:
            new.setdefault(pair, verdict)
    Verdict.objects.bulk_create(new.values())
    with connection.cursor() as cursor:
        cursor.execute(COUNT_VERDICTS, [[verdict.pk for verdict in new.values()]])


COUNT_VERDICTS = """
INSERT INTO verifiers_verdictcount AS kept (cell_count_id, verifier_id, outcome, rollouts)
SELECT counts.id, verdict.verifier_id, verdict.outcome, count(*)
FROM verifiers_verdict AS verdict
JOIN verifiers_verifierversion AS verifier ON verifier.id = verdict.verifier_id
JOIN rollouts_rollout AS rollout ON rollout.id = verdict.rollout_id
JOIN rollouts_group AS completions ON completions.id = rollout.group_id
JOIN runs_prompt AS prompt ON prompt.id = completions.prompt_id
JOIN runs_run AS run ON run.id = rollout.run_id
JOIN rollouts_cellcount AS counts
    ON counts.run_id = rollout.run_id
    AND counts.block = rollout.step / run.step_block
    AND counts.cell_id = rollout.cell_id
    AND counts.policy_id = rollout.policy_id
    AND counts.source = prompt.source
    AND counts.length_bin = rollout.length_bin
    AND counts.difficulty IS NOT DISTINCT FROM prompt.difficulty
WHERE verdict.id = ANY(%s) AND verifier.channel = 'correctness'
GROUP BY counts.id, verdict.verifier_id, verdict.outcome
ON CONFLICT ON CONSTRAINT verdict_count_once
DO UPDATE SET rollouts = kept.rollouts + excluded.rollouts
"""


@transaction.atomic
def purge_rollouts(*, run: Run, uids: Sequence[str], actor: object) -> list[int]:
    """Blank the rollouts' texts and what verdicts quote of them; the ids of those newly purged.

    Rows, cells, outcomes, counts and all that a sample drew stay. Holds the run's lock, so that no
    verdict brings a text back meanwhile.
    """
    run = lock_run(run)
    rows = run.rollouts.filter(uid__in=set(uids)).values_list("uid", "pk", "purged_at")
    known = {uid: (pk, purged_at) for uid, pk, purged_at in rows}
    for position, uid in enumerate(uids):
        if uid not in known:
            raise UnknownRolloutError(fields={f"rollouts[{position}]": uid})
    ids = sorted(pk for pk, purged_at in known.values() if purged_at is None)
    if ids:
        blank_texts(rollout_ids=ids)
        _blank_verdicts(ids)
        blank_promoted(ids)
        record_event(actor=actor, action="rollouts purged", subject=run, rollouts=ids)
    return ids


def _blank_verdicts(rollout_ids: Sequence[int]) -> None:
    verdicts = Verdict.objects.filter(rollout__in=rollout_ids)
    with_criteria = list(verdicts.filter(record__has_key="criteria").only("record"))
    verdicts.update(extracted=None, detail="", record=None)
    kept = []
    for verdict in with_criteria:
        verdict.record = criteria_alone(verdict.record)
        if verdict.record is not None:
            kept.append(verdict)
    Verdict.objects.bulk_update(kept, ["record"], batch_size=500)


@transaction.atomic
def change_normaliser(*, run: Run, normaliser: str, actor: object) -> Run:
    """Derive the answer classes of the run's rollouts anew, by another normaliser.

    Cells stay as the ingest gave them, verdicts and labels as they were given. Holds the run's
    lock: a batch of rollouts waits and is then classed by the new normaliser.
    """
    refuse_unknown_normaliser(normaliser)
    run = lock_run(run)
    if run.normaliser == normaliser:
        return run
    primary = correctness_verifiers_of(run)[0]
    last, changed = 0, 0
    while rows := _extracted_answers(run, primary, after=last):
        classes = {
            row.rollout_id: new
            for row in rows
            if (new := _class_by(normaliser, row)) != row.rollout.answer_class
        }
        set_answer_classes(classes=classes)
        last, changed = rows[-1].rollout_id, changed + len(classes)
    record_event(
        actor=actor,
        action="normaliser changed",
        subject=run,
        was=run.normaliser,
        now=normaliser,
        rollouts=changed,
    )
    run.normaliser = normaliser
    run.save(update_fields=["normaliser"])
    return run


@transaction.atomic
def split_class(*, prompt: Prompt, answer_class: str) -> list[str]:
    """Part what the normaliser merged: one class for each spelling. The new classes.

    Where all members spell it alike, spelling tells nothing: they are in no class from now on.
    """
    primary = correctness_verifiers_of(prompt.run)[0]
    members = Verdict.objects.filter(
        verifier=primary, rollout__group__prompt=prompt, rollout__answer_class=answer_class
    )
    spelled = dict(members.values_list("rollout", "extracted"))
    if len(set(spelled.values())) < 2:
        set_answer_classes(classes=dict.fromkeys(spelled))
        return []
    parts = {text: _part_of(answer_class, text or "") for text in spelled.values()}
    set_answer_classes(classes={pk: parts[text] for pk, text in spelled.items()})
    return sorted(parts.values())


def _part_of(answer_class: str, spelling: str) -> str:
    digest = hashlib.sha256(spelling.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{answer_class[:100]} {SPLIT_MARK} {digest[:12]}"


def _extracted_answers(run: Run, primary: VerifierVersion, *, after: int) -> list[Verdict]:
    rows = Verdict.objects.filter(verifier=primary, rollout__run=run, rollout__gt=after)
    return list(
        rows.select_related("rollout")
        .only(
            *("outcome", "extracted", "path", "form", "candidates", "rollout__answer_class"),
            "rollout__is_truncated",
        )
        .order_by("rollout")[:BATCH]
    )


def _class_by(normaliser: str, row: Verdict) -> str | None:
    verdict = TrainerVerdict(
        outcome=TrainerOutcome(row.outcome),
        score=None,
        extracted=row.extracted,
        path=row.path,
        form=row.form,
        candidates=row.candidates,
        seconds=0.0,
        detail="",
    )
    return answer_class(verdict, normaliser=normaliser, truncated=row.rollout.is_truncated)
