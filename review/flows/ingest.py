"""What a trainer sends: runs, prompts, rollouts with verdicts, and that a step is complete."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any

import msgspec
from django.db import transaction
from msgspec import Meta

from review.accounts.models import Project
from review.core.errors import InvalidError
from review.core.texts import is_deeper_than
from review.flows import tasks
from review.labeling.services.classes import withdraw_classes
from review.labeling.services.resegmentation import change_segmenter
from review.rollouts.errors import (
    DuplicateUidError,
    InvalidStepsError,
    SplitGroupError,
    StepClosedError,
)
from review.rollouts.models import Rollout
from review.rollouts.queries import stored_groups, stored_uids
from review.rollouts.segmentation import MOST_STEPS, source_spans
from review.rollouts.services import NewRollout, copy_rows, store_rollouts
from review.runs.errors import RunEndedError, UnknownPromptError
from review.runs.models import Prompt, Run, RunStatus
from review.runs.queries import prompts_by_uid
from review.runs.services import (
    NewRun,
    complete_step,
    end_run,
    lock_run,
    policies_by_uid,
    register_run,
)
from review.verifiers.criteria import criteria_alone
from review.verifiers.errors import MissingVerdictError, UnknownVerifierError
from review.verifiers.models import (
    MOST_RECORD_BYTES,
    MOST_RECORD_LEVELS,
    Channel,
    Verdict,
    VerifierVersion,
)
from review.verifiers.queries import verifiers_of
from review.verifiers.services import (
    NewVerifier,
    add_verdicts,
    change_normaliser,
    known_version,
    register_verifiers,
)
from trainer.rewards.cells import GroupRollout, cells_of_group
from trainer.verifiers import Outcome

Uid = Annotated[str, Meta(min_length=1, max_length=200)]
# "$" alone would let a line's end through.
Token = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,24}$(?!\n)")]
Share = Annotated[float, Meta(ge=0, le=1)]


class IncomingVerdict(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    verifier: Annotated[str, Meta(min_length=1, max_length=80)]
    version: Annotated[str, Meta(min_length=1, max_length=40)]
    outcome: Outcome
    path: Token
    form: Token
    candidates: Annotated[int, Meta(ge=0, le=1_000_000)]
    score: Share | None = None
    extracted: str | None = None
    seconds: Annotated[float, Meta(ge=0)] = 0.0
    detail: str = ""
    record: Annotated[
        dict[str, Any] | None,
        Meta(description=f"What a judge was asked and said: at most {MOST_RECORD_BYTES} bytes"),
    ] = None


class IncomingToolCall(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    # As the policy wrote them, mostly the text of a JSON object.
    arguments: Annotated[str, Meta(max_length=200_000)]
    id: Annotated[str, Meta(max_length=200)] = ""


class IncomingMessage(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    role: Annotated[str, Meta(min_length=1, max_length=40)]
    content: str
    name: Annotated[str, Meta(max_length=200)] = ""
    tool_calls: Annotated[tuple[IncomingToolCall, ...], Meta(max_length=100)] = ()
    # Of the call that a tool's message answers.
    call_id: Annotated[str, Meta(max_length=200)] = ""


class IncomingRollout(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    uid: Uid
    prompt: Uid
    group: Uid
    step: Annotated[int, Meta(ge=0, le=1_000_000_000)]
    policy: Uid
    messages: Annotated[list[IncomingMessage], Meta(min_length=1, max_length=500)]
    verdicts: list[IncomingVerdict]
    tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    truncated: bool = False
    probe: bool = False
    reward: float | None = None
    table_version: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    # The source's own steps: their texts, which make up all that the assistant wrote.
    steps: Annotated[list[str], Meta(max_length=MOST_STEPS)] | None = None


@transaction.atomic
def open_run(
    *, project: Project, new: NewRun, verifiers: Sequence[NewVerifier], actor: object
) -> tuple[Run, bool]:
    run, is_new = register_run(project=project, new=new, actor=actor)
    register_verifiers(run=run, verifiers=verifiers)
    return run, is_new


@transaction.atomic
def store_batch(*, run: Run, batch: Sequence[IncomingRollout]) -> int:
    """Store what is new of a batch, whole or not at all; a repeat stores nothing. How many."""
    run = lock_run(run)
    _refuse_duplicates(batch)
    stored = stored_uids(run, (incoming.uid for incoming in batch))
    fresh = [
        (position, incoming)
        for position, incoming in enumerate(batch)
        if incoming.uid not in stored
    ]
    if not fresh:
        return 0
    if not run.is_running:
        raise RunEndedError(fields={"status": f"is {run.status}"})
    uids = {incoming.prompt for _, incoming in fresh}
    prompts = prompts_by_uid(run, uids, with_texts=False)
    _refuse_misfits(run, fresh, prompts)
    verifiers = {(str(verifier)): verifier for verifier in verifiers_of(run)}
    _refuse_wrong_verdicts(fresh, verifiers)
    messages = {incoming.uid: _messages(position, incoming) for position, incoming in fresh}
    new = _with_cells(run, fresh, prompts, verifiers, messages)
    ids = store_rollouts(run=run, rollouts=new)
    incoming_of = {incoming.uid: incoming for _, incoming in fresh}
    _store_verdicts(
        [(id_, incoming_of[row.uid]) for id_, row in zip(ids, new, strict=True)], verifiers
    )
    return len(new)


@transaction.atomic
def change_run(
    *,
    run: Run,
    completed_step: int | None,
    status: RunStatus | None,
    normaliser: str | None = None,
    segmenter: str | None = None,
    actor: object,
) -> Run:
    """What a trainer says of its run: all of it, or nothing if one thing is refused."""
    if normaliser is not None and normaliser != run.normaliser:
        run = class_anew(run=run, normaliser=normaliser, actor=actor)
    if segmenter is not None:
        run = recut_steps(run=run, segmenter=segmenter, actor=actor)
    if completed_step is not None:
        run = finish_step(run=run, step=completed_step)
    if status is not None:
        run = finish_run(run=run, status=status, actor=actor)
    return run


@transaction.atomic
def class_anew(*, run: Run, normaliser: str, actor: object) -> Run:
    """Class the run's answers by another normaliser; what labels say counts for the new classes."""
    withdraw_classes(run=run)
    run = change_normaliser(run=run, normaliser=normaliser, actor=actor)
    # Robust: the labels stand, and each new one settles its class.
    transaction.on_commit(lambda: tasks.settle_run_soon(str(run.pk)), robust=True)
    return run


@transaction.atomic
def recut_steps(*, run: Run, segmenter: str, actor: object) -> Run:
    """Number the steps of the run's completions by another rule."""
    run = change_segmenter(run=run, segmenter=segmenter, actor=actor)
    if run.recut_after is not None:
        # Robust: with the broker away the sweep finds it.
        transaction.on_commit(lambda: tasks.recut_task.delay(str(run.pk)), robust=True)
    return run


@transaction.atomic
def finish_step(*, run: Run, step: int) -> Run:
    """A step's last rollout is in: windows that end here get their frame."""
    run = complete_step(run=run, step=step)
    _open_windows_after_commit(run)
    return run


@transaction.atomic
def finish_run(*, run: Run, status: RunStatus, actor: object) -> Run:
    """The run is over: a window that it did not fill ends early."""
    run = end_run(run=run, status=status, actor=actor)
    _open_windows_after_commit(run)
    return run


def _open_windows_after_commit(run: Run) -> None:
    # Robust: with the broker away the call still succeeds, and the sweep finds the windows.
    transaction.on_commit(lambda: tasks.open_windows_task.delay(str(run.pk)), robust=True)


@transaction.atomic
def store_verdicts(
    *, run: Run, channel: str, verdicts: Sequence[tuple[str, IncomingVerdict]]
) -> None:
    """Another verifier's verdicts on stored rollouts. Cells stay as the ingest gave them.

    A verdict that is stored already stays as it is. Of a purged rollout none quotes an answer.
    """
    run = lock_run(run)
    rows = run.rollouts.filter(uid__in={uid for uid, _ in verdicts})
    judged = {row.uid: row for row in rows.only("run", "uid", "purged_at")}
    versions: dict[str, VerifierVersion] = {}
    for position, (uid, verdict) in enumerate(verdicts):
        if uid not in judged:
            raise InvalidError(
                "A verdict is about a rollout that the run does not have.",
                fields={f"verdicts[{position}].rollout": uid},
            )
        _refuse_unstorable_record(verdict, f"verdicts[{position}].verdict")
        name = _verifier_name(verdict)
        if name not in versions:
            versions[name] = known_version(
                project=run.project, name=verdict.verifier, version=verdict.version, channel=channel
            )
    add_verdicts(
        verdicts=[
            _late_verdict(judged[uid], versions[_verifier_name(verdict)], verdict)
            for uid, verdict in verdicts
        ]
    )
    transaction.on_commit(lambda: tasks.refresh_soon(str(run.pk)), robust=True)


def _late_verdict(rollout: Rollout, verifier: VerifierVersion, said: IncomingVerdict) -> Verdict:
    is_purged = rollout.purged_at is not None
    return Verdict(
        rollout=rollout,
        verifier=verifier,
        outcome=said.outcome.value,
        score=said.score,
        extracted=None if is_purged else said.extracted,
        path=said.path,
        form=said.form,
        candidates=said.candidates,
        seconds=said.seconds,
        detail="" if is_purged else said.detail,
        record=criteria_alone(said.record) if is_purged else said.record,
    )


Fresh = Sequence[tuple[int, IncomingRollout]]


def _refuse_duplicates(batch: Sequence[IncomingRollout]) -> None:
    counts = Counter(incoming.uid for incoming in batch)
    repeated = [uid for uid, count in counts.items() if count > 1]
    if repeated:
        raise DuplicateUidError(fields={"uid": repeated[0]})


def _refuse_misfits(run: Run, fresh: Fresh, prompts: Mapping[str, Prompt]) -> None:
    known_groups = stored_groups(run, (incoming.group for _, incoming in fresh))
    shape: dict[str, tuple[str, int]] = {}
    for position, incoming in fresh:
        at = f"rollouts[{position}]"
        if incoming.prompt not in prompts:
            raise UnknownPromptError(fields={f"{at}.prompt": "send the prompt first"})
        if incoming.step <= run.completed_step:
            raise StepClosedError(fields={f"{at}.step": f"complete up to {run.completed_step}"})
        if incoming.group in known_groups:
            raise SplitGroupError(fields={f"{at}.group": "is stored with other rollouts"})
        here = (incoming.prompt, incoming.step)
        if shape.setdefault(incoming.group, here) != here:
            raise SplitGroupError(fields={f"{at}.group": "has another prompt or step elsewhere"})


def _refuse_wrong_verdicts(fresh: Fresh, verifiers: Mapping[str, VerifierVersion]) -> None:
    required = {name for name, known in verifiers.items() if known.channel == Channel.CORRECTNESS}
    for position, incoming in fresh:
        at = f"rollouts[{position}].verdicts"
        names = [_verifier_name(verdict) for verdict in incoming.verdicts]
        for index, name in enumerate(names):
            if name not in verifiers:
                raise UnknownVerifierError(fields={f"{at}[{index}].verifier": name})
            _refuse_unstorable_record(incoming.verdicts[index], f"{at}[{index}]")
        if len(set(names)) < len(names):
            raise UnknownVerifierError(
                "A verifier judged the same rollout twice.", fields={at: "one verdict a verifier"}
            )
        if missing := required - set(names):
            raise MissingVerdictError(fields={at: f"no verdict of {min(missing)}"})


def _refuse_unstorable_record(verdict: IncomingVerdict, at: str) -> None:
    if verdict.record is None:
        return
    if is_deeper_than(MOST_RECORD_LEVELS, verdict.record):
        rule = f"at most {MOST_RECORD_LEVELS} levels deep"
    elif len(msgspec.json.encode(verdict.record)) > MOST_RECORD_BYTES:
        rule = f"at most {MOST_RECORD_BYTES} bytes"
    else:
        return
    raise InvalidError(
        "The record of what a judge said is too large.", fields={f"{at}.record": rule}
    )


def _verifier_name(verdict: IncomingVerdict) -> str:
    return f"{verdict.verifier}@{verdict.version}"


def _messages(position: int, incoming: IncomingRollout) -> list[dict[str, Any]]:
    """What is stored of the messages: without the empty fields, with the source's own steps."""
    messages: list[dict[str, Any]] = msgspec.to_builtins(incoming.messages)
    if incoming.steps is None:
        return messages
    try:
        spans = source_spans(messages, incoming.steps)
    except InvalidStepsError as error:
        at = f"rollouts[{position}]."
        raise InvalidStepsError(fields={at + k: rule for k, rule in error.fields.items()}) from None
    for at_message, own in spans.items():
        messages[at_message]["steps"] = own
    return messages


def _with_cells(
    run: Run,
    fresh: Fresh,
    prompts: Mapping[str, Prompt],
    verifiers: Mapping[str, VerifierVersion],
    messages: Mapping[str, list[dict[str, Any]]],
) -> list[NewRollout]:
    """Each rollout with its cell and answer class, group by group."""
    judges = [name for name, known in verifiers.items() if known.channel == Channel.CORRECTNESS]
    policies = policies_by_uid(run=run, uids={incoming.policy for _, incoming in fresh})
    rows: list[NewRollout] = []
    in_groups = sorted((incoming for _, incoming in fresh), key=lambda incoming: incoming.group)
    for _, group in groupby(in_groups, key=lambda incoming: incoming.group):
        members = list(group)
        prompt = prompts[members[0].prompt]
        cells = cells_of_group(
            [_as_group_rollout(incoming, judges) for incoming in members],
            normaliser=run.normaliser,
            domain=prompt.domain,
        )
        for incoming, (cell, answer_class) in zip(members, cells, strict=True):
            rows.append(
                NewRollout(
                    uid=incoming.uid,
                    group=incoming.group,
                    prompt=prompt,
                    step=incoming.step,
                    policy=policies[incoming.policy],
                    cell_key=cell.key,
                    is_accepted=cell.is_accepted,
                    answer_class=answer_class,
                    messages=messages[incoming.uid],
                    tokens=incoming.tokens,
                    is_truncated=incoming.truncated,
                    is_probe_hit=incoming.probe,
                    reward=incoming.reward,
                    table_version=incoming.table_version,
                )
            )
    return rows


def _as_group_rollout(incoming: IncomingRollout, judges: Sequence[str]) -> GroupRollout:
    by_name = {_verifier_name(verdict): verdict for verdict in incoming.verdicts}
    return GroupRollout(
        verdicts=tuple(by_name[name] for name in judges),
        truncated=incoming.truncated,
        probe=incoming.probe,
    )


VERDICT_COLUMNS = (
    *("rollout_id", "verifier_id", "outcome", "score", "extracted", "path", "form"),
    *("candidates", "seconds", "detail", "record"),
)


def _store_verdicts(
    rows: Sequence[tuple[int, IncomingRollout]], verifiers: Mapping[str, VerifierVersion]
) -> None:
    copy_rows(
        Verdict,
        VERDICT_COLUMNS,
        (
            (
                *(id_, verifiers[_verifier_name(verdict)].pk, verdict.outcome.value),
                *(verdict.score, verdict.extracted, verdict.path, verdict.form),
                *(verdict.candidates, verdict.seconds, verdict.detail),
                None if verdict.record is None else msgspec.json.encode(verdict.record).decode(),
            )
            for id_, incoming in rows
            for verdict in incoming.verdicts
        ),
    )
