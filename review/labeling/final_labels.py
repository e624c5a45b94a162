"""What counts of every labelled rollout of a run, with everything that stands behind it.

For people who take the labels with them: reads a run of any size piece by piece, each kind of row
with one query, and looks no row up that many others share.
"""

from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from typing import Annotated, Any

import msgspec
from django.db.models import Exists, Func, OuterRef, Q, TextField
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast
from msgspec import Meta

from review.labeling.models import (
    Adjudication,
    Answer,
    Assignment,
    AssignmentState,
    Cause,
    GoldItem,
    Label,
    Queue,
)
from review.labeling.queries import SlotLabel, resolve
from review.rollouts.models import Group, Rollout
from review.runs.models import Erratum, ErratumState, Prompt, Run, Split
from review.sampling.models import Draw, Pick, Wave, WaveState
from review.verifiers.models import Verdict, VerifierVersion
from review.verifiers.queries import verifiers_of

ROWS_A_PIECE = 2_000

# gc=False: they hold no cycles, and the collector would look at thousands of them again and again.


class Said(msgspec.Struct, gc=False):
    """What was said of the rollout. null, an empty text, no criteria: not asked, or not said."""

    answer: str
    step_id: str
    earliest_wrong_step: Annotated[int | None, Meta(description="From 1")]
    no_wrong_step: bool
    error_category: str
    is_format_kept: bool | None
    is_hack: bool | None
    hack_kind: str
    is_hack_admitted: bool | None
    is_answer_supported: bool | None
    problem_fault: str
    confidence: int | None
    criteria: list[str]


class Final(Said):
    """source: adjudication, labels, answer_class; unsettled: labels at odds, or undecided."""

    source: str


class StandingLabel(Said):
    """A label that was not taken back. counts: towards the final answer."""

    id: int
    slot: int
    cause: str
    is_late: bool
    note: str
    active_ms: int | None
    at: str
    reviewer: str
    counts: bool


class Decision(Said):
    id: int
    reason: str
    at: str
    decided_by: str


class GivenVerdict(msgspec.Struct, gc=False):
    verifier: str
    channel: str
    outcome: str
    score: float | None
    extracted: str | None
    path: str
    form: str
    candidates: int


class Sampled(msgspec.Struct, gc=False):
    """How it was drawn: weight is the wave's conditional one, not 1/pi."""

    window: str
    first_step: int
    last_step: int
    wave: int
    wave_state: str
    planned: int
    stratum: int
    weight: float


class Picked(msgspec.Struct, gc=False):
    window: str
    cause: str


class KnownAnswer(msgspec.Struct, gc=False):
    answer: str
    is_hack: bool


class StandingErratum(msgspec.Struct, gc=False):
    fault: str
    state: str
    decision: str


class LabelledRollout(msgspec.Struct, kw_only=True, gc=False):
    """A rollout of one audit, as it was judged, sampled, verified and rewarded."""

    id: str
    run: str
    audit: str
    questions: list[str]
    rubric: list[str]
    rollout: str
    group: str
    step: int
    policy: str
    prompt_id: str
    prompt: str
    references: list[str]
    domain: str
    source: str
    licence: str
    split: str
    difficulty: int | None
    messages: Annotated[msgspec.Raw, Meta(description="As they were sent")]
    steps: Annotated[
        msgspec.Raw,
        Meta(
            description="[[message, start, end], ...]: steps 1, 2, ..., in characters of messages"
        ),
    ]
    is_purged: bool
    tokens: int | None
    is_truncated: bool
    answer_class: str | None
    cell: str
    reward: float | None
    table_version: int | None
    verdicts: list[GivenVerdict]
    labels: list[StandingLabel]
    adjudication: Decision | None
    final: Final | None
    sample: Sampled | None
    pick: Picked | None
    gold: KnownAnswer | None
    errata: list[StandingErratum]

    def step_texts(self) -> list[str]:
        contents = [message.content for message in _messages.decode(self.messages)]
        return [contents[message][start:end] for message, start, end in _spans.decode(self.steps)]

    @property
    def is_decided(self) -> bool:
        return self.final is not None and self.final.answer != Answer.CANNOT_TELL


class _Message(msgspec.Struct, gc=False):
    content: str


_messages = msgspec.json.Decoder(list[_Message])
_spans = msgspec.json.Decoder(list[tuple[int, int, int]])

# The columns of Said, in its order.
SAID = tuple(
    "has_no_wrong_step" if name == "no_wrong_step" else name for name in Said.__struct_fields__
)
# As they lie there: most of them are passed on without being read.
MESSAGES, SPANS = Cast("messages", TextField()), Cast("steps", TextField())
AT = Func("created_at", template="to_json(%(expressions)s) #>> '{}'", output_field=TextField())

Names = Callable[[int], str]


def labelled_rollouts(
    run: Run, *, name_of: Names, with_holdout: bool = False
) -> Iterator[LabelledRollout]:
    """Every rollout of the run's queues that is labelled or settled, group by group."""
    for queue in Queue.objects.filter(rule__run=run).order_by("created_at", "pk"):
        rollouts = iter(_rollouts(queue, with_holdout=with_holdout))
        # After them: it knows all that they point at.
        shared = _Shared(run, queue)
        while piece := list(islice(rollouts, ROWS_A_PIECE)):
            yield from _piece(queue, piece, shared, name_of)


class _Shared:
    """What few rows say of many."""

    def __init__(self, run: Run, queue: Queue) -> None:
        self.run = run.uid
        self.cells = dict(run.cells.values_list("pk", "key"))
        self.policies = dict(run.policies.values_list("pk", "uid"))
        self.verifiers = {
            pk: (f"{name}@{version}", channel)
            for pk, name, version, channel in VerifierVersion.objects.filter(
                project=run.project_id
            ).values_list("pk", "name", "version", "channel")
        }
        # The run's own first, the primary one before all.
        own = [verifier.pk for verifier in verifiers_of(run)]
        others = sorted(self.verifiers.keys() - set(own))
        self.place = {pk: place for place, pk in enumerate([*own, *others])}
        waves = Wave.objects.filter(window__rule=queue.rule_id)
        self.waves = {
            pk: (str(window), *wave)
            for pk, window, *wave in waves.exclude(state=WaveState.CANCELLED).values_list(
                *("pk", "window_id", "window__first_step", "window__last_step"),
                *("number", "state", "planned"),
            )
        }


def _rollouts(queue: Queue, *, with_holdout: bool) -> "array[int]":
    """Ids alone, eight bytes each: what they stand for is read piece by piece."""
    standing = Label.objects.filter(assignment=OuterRef("pk"), retraction=None)
    rows = Assignment.objects.filter(queue=queue).filter(
        Q(state=AssignmentState.SETTLED) | Exists(standing)
    )
    if not with_holdout:
        rows = rows.exclude(rollout__group__prompt__split=Split.HOLDOUT)
    order = ("rollout__group_id", "rollout_id")
    ids = rows.order_by(*order).values_list(*order).distinct().iterator(chunk_size=10_000)
    return array("q", (rollout_id for _, rollout_id in ids))


def _any_of(ids: Collection[int]) -> RawSQL:
    """Spelled once: of a list, Django and the driver would look at each element for each query."""
    return RawSQL("SELECT unnest(%s::bigint[])", [f"{{{','.join(map(str, ids))}}}"])


def _piece(
    queue: Queue, piece: Sequence[int], shared: _Shared, name_of: Names
) -> Iterator[LabelledRollout]:
    ids = _any_of(piece)
    labels, decisions = _labels(queue, ids, name_of), _decisions(queue, ids, name_of)
    classes = _class_answers(queue, ids)
    samples, picks, gold = _samples(ids, shared), _picks(queue, ids), _gold(ids)
    verdicts = _verdicts(ids, shared)
    rows = _read(ids)
    groups = _groups({row[1] for row in rows.values()})
    prompts = _prompts({prompt for _, prompt in groups.values()})
    errata = _errata(prompts)
    audit, questions, rubric = str(queue.rule_id), queue.questions, queue.rubric
    for pk in piece:
        uid, group_id, step, policy, cell, messages, spans, purged_at, *columns = rows[pk]
        group, prompt = groups[group_id]
        tokens, is_truncated, answer_class, reward, table_version = columns
        said, decision = labels.get(pk, []), decisions.get(pk)
        yield LabelledRollout(
            id=f"{audit}-{pk}",
            run=shared.run,
            audit=audit,
            questions=questions,
            rubric=rubric,
            rollout=uid,
            group=group,
            step=step,
            policy=shared.policies[policy],
            **prompts[prompt],
            messages=msgspec.Raw(messages),
            steps=msgspec.Raw(spans),
            is_purged=purged_at is not None,
            tokens=tokens,
            is_truncated=is_truncated,
            answer_class=answer_class,
            cell=shared.cells[cell],
            reward=reward,
            table_version=table_version,
            verdicts=verdicts.get(pk, []),
            labels=said,
            adjudication=decision,
            final=_final(said, decision, classes.get(pk)),
            sample=samples.get(pk),
            pick=picks.get(pk),
            gold=gold.get(pk),
            errata=errata.get(prompt, []),
        )


def _read(ids: RawSQL) -> dict[int, tuple[Any, ...]]:
    rows = Rollout.objects.filter(pk__in=ids).annotate(text=MESSAGES, spans=SPANS)
    columns = rows.values_list(
        *("pk", "uid", "group_id", "step", "policy_id", "cell_id", "text", "spans", "purged_at"),
        *("tokens", "is_truncated", "answer_class", "reward", "table_version"),
    )
    return {pk: row for pk, *row in columns}


def _groups(ids: Collection[int]) -> dict[int, tuple[str, int]]:
    """The uid and the prompt of each."""
    rows = Group.objects.filter(pk__in=_any_of(ids)).values_list("pk", "uid", "prompt_id")
    return {pk: (uid, prompt) for pk, uid, prompt in rows}


PROMPT = ("references", "domain", "source", "licence", "split", "difficulty")


def _prompts(ids: Collection[int]) -> dict[int, dict[str, Any]]:
    rows = Prompt.objects.filter(pk__in=_any_of(ids)).values_list("pk", "uid", "text", *PROMPT)
    names = ("prompt_id", "prompt", *PROMPT)
    return {pk: dict(zip(names, columns, strict=True)) for pk, *columns in rows}


def _labels(queue: Queue, ids: RawSQL, name_of: Names) -> dict[int, list[StandingLabel]]:
    rows = (
        Label.objects.filter(assignment__queue=queue, assignment__rollout__in=ids)
        .order_by("assignment__slot", "pk")
        .annotate(at=AT)
        .values_list(
            *("assignment__rollout_id", "reviewer_id", "assignment__state", "retraction__pk"),
            *(*SAID, "pk", "assignment__slot", "assignment__cause", "is_late", "note"),
            *("active_ms", "at"),
        )
    )
    labels: dict[int, list[StandingLabel]] = defaultdict(list)
    for rollout, reviewer, state, retraction, *columns in rows:
        # Here, not in the query: the planner takes a label without one for a rare thing.
        if retraction is not None:
            continue
        label = StandingLabel(*[*columns, name_of(reviewer), False])
        # As `queries.FINAL` says it.
        label.counts = (
            state == AssignmentState.DONE and label.cause != Cause.GOLD and not label.is_late
        )
        labels[rollout].append(label)
    return labels


def _decisions(queue: Queue, ids: RawSQL, name_of: Names) -> dict[int, Decision]:
    """The newest one of each."""
    rows = Adjudication.objects.filter(queue=queue, rollout__in=ids).annotate(at=AT)
    columns = ("rollout_id", "decided_by_id", *SAID, "pk", "reason", "at")
    return {
        rollout: Decision(*[*decision, name_of(decided_by)])
        for rollout, decided_by, *decision in rows.order_by("pk").values_list(*columns)
    }


def _verdicts(ids: RawSQL, shared: _Shared) -> dict[int, list[GivenVerdict]]:
    rows = Verdict.objects.filter(rollout__in=ids, verifier__in=shared.verifiers)
    verdicts: dict[int, list[GivenVerdict]] = defaultdict(list)
    columns = rows.values_list(
        *("rollout_id", "verifier_id", "outcome", "score", "extracted", "path", "form"),
        "candidates",
    )
    for rollout, verifier, *said in sorted(columns, key=lambda row: shared.place[row[1]]):
        verdicts[rollout].append(GivenVerdict(*shared.verifiers[verifier], *said))
    return verdicts


def _samples(ids: RawSQL, shared: _Shared) -> dict[int, Sampled]:
    rows = Draw.objects.filter(rollout__in=ids, wave__in=shared.waves)
    columns = rows.values_list("rollout_id", "wave_id", "stratum", "weight")
    return {rollout: Sampled(*shared.waves[wave], *draw) for rollout, wave, *draw in columns}


def _picks(queue: Queue, ids: RawSQL) -> dict[int, Picked]:
    rows = Pick.objects.filter(rollout__in=ids, window__rule=queue.rule_id)
    columns = rows.values_list("rollout_id", "window_id", "cause")
    return {rollout: Picked(str(window), cause) for rollout, window, cause in columns}


def _gold(ids: RawSQL) -> dict[int, KnownAnswer]:
    rows = GoldItem.objects.filter(rollout__in=ids)
    columns = rows.values_list("rollout_id", "answer", "is_hack")
    return {rollout: KnownAnswer(answer, is_hack) for rollout, answer, is_hack in columns}


def _class_answers(queue: Queue, ids: RawSQL) -> dict[int, str]:
    """What is settled by the answer class of the rollout."""
    rows = Assignment.objects.filter(queue=queue, rollout__in=ids, settled_by__isnull=False)
    columns = rows.values_list("rollout_id", "settled_by__answer")
    return {rollout: answer for rollout, answer in columns if answer}


def _errata(prompts: Collection[int]) -> dict[int, list[StandingErratum]]:
    """Those that stand."""
    rows = Erratum.objects.filter(
        prompt__in=_any_of(prompts), state__in=(ErratumState.OPEN, ErratumState.UPHELD)
    )
    errata: dict[int, list[StandingErratum]] = defaultdict(list)
    columns = ("prompt_id", "fault", "state", "decision")
    for prompt, *erratum in rows.order_by("opened_at").values_list(*columns):
        errata[prompt].append(StandingErratum(*erratum))
    return errata


def _final(
    labels: Sequence[StandingLabel], decision: Decision | None, class_answer: str | None
) -> Final | None:
    """As `queries.final_answers` says it, with all that the label or decision behind it says."""
    counting = [label for label in labels if label.counts]
    if decision and (counting or class_answer):
        return _as_final(decision, "adjudication")
    if not counting:
        return _answer_alone(class_answer, "answer_class") if class_answer else None
    if len(counting) == 1 and counting[0].answer != Answer.CANNOT_TELL:
        # As nearly all of them: one label, which says it.
        return _as_final(counting[0], "labels")
    found = resolve([_slot_label(label) for label in counting])
    if not found.is_decided:
        return _answer_alone(found.answer, "unsettled")
    first = next(label for label in counting if label.answer == found.answer)
    final = _as_final(first, "labels")
    final.is_hack = None if first.is_hack is None else found.is_hack
    return final


def _as_final(said: Said, source: str) -> Final:
    return Final(*[*msgspec.structs.astuple(said)[: len(SAID)], source])


def _answer_alone(answer: str, source: str) -> Final:
    return Final(
        answer=answer,
        step_id="",
        earliest_wrong_step=None,
        no_wrong_step=False,
        error_category="",
        is_format_kept=None,
        is_hack=None,
        hack_kind="",
        is_hack_admitted=None,
        is_answer_supported=None,
        problem_fault="",
        confidence=None,
        criteria=[],
        source=source,
    )


# Who says it makes no difference to what counts.
NOBODY = 0


def _slot_label(label: StandingLabel) -> SlotLabel:
    return SlotLabel(
        id=label.id,
        slot=label.slot,
        cause=label.cause,
        reviewer_id=NOBODY,
        answer=label.answer,
        earliest_wrong_step=label.earliest_wrong_step,
        has_no_wrong_step=label.no_wrong_step,
        is_hack=label.is_hack,
    )
