from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any
from uuid import UUID

from django.db.models import (
    Count,
    Max,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    prefetch_related_objects,
)
from django.utils import timezone

from review.accounts.models import Project, Role, User
from review.accounts.queries import expertise_in, has_role, reviewers_of
from review.core.errors import MissingError
from review.core.prepared import prepared_rows
from review.labeling.models import (
    ANSWERED,
    Adjudication,
    Answer,
    Assignment,
    AssignmentState,
    Cause,
    Criterion,
    Label,
    Lease,
    Queue,
)
from review.rollouts.models import Rollout
from review.rollouts.queries import Step, last_words, steps_of
from review.sampling.models import AuditRule, Wave, Window
from trainer.verifiers.math.boxed import boxed_answers

UNDO_SECONDS = 30

# The label that counts: of an answered item, in time, and not taken back.
FINAL: dict[str, Any] = {
    "assignment__state": AssignmentState.DONE,
    "is_late": False,
    "retraction": None,
}


@dataclass(frozen=True, slots=True)
class Item:
    """What a reviewer may see of an assignment: nothing of verdict, reward or policy."""

    assignment: Assignment
    problem: str
    references: list[str] | None
    steps: list[Step]
    answer: str | None


@dataclass(frozen=True, slots=True)
class QueueProgress:
    total: int
    done: int
    skipped: int
    leased: int

    @property
    def open(self) -> int:
        return self.total - self.done - self.skipped - self.leased


def queues_of(project: Project) -> QuerySet[Queue]:
    return project.queues.select_related("rule__run").order_by("-created_at")


def queues_of_reviewer(user: User, project: Project) -> QuerySet[Queue]:
    """Those of the project's queues that ask for nothing which the user does not review."""
    expertise = expertise_in(user, project)
    if expertise is None:
        return Queue.objects.none()
    asked = Q(domains=[]) | Q(domains__overlap=expertise) if expertise else Q()
    return queues_of(project).filter(asked)


def queue_of_reviewer(user: User, queue_id: UUID) -> Queue:
    """The queue, if the user reviews in its project and in its domains."""
    queue = Queue.objects.filter(pk=queue_id).select_related("project", "rule__run").first()
    if queue is None or not _reviews(user, queue):
        raise MissingError("There is no such queue among those that you review.")
    return queue


def queue_in_project(project: Project, queue_id: UUID) -> Queue:
    """The queue, if it is the project's; another project's queue does not exist here."""
    queue = Queue.objects.filter(project=project, pk=queue_id).first()
    if queue is None:
        raise MissingError("There is no such queue in this project.")
    return queue


# In parts: one join of seven tables takes longer to plan than all of them to read.
READ_WITH_AN_ITEM = (
    Prefetch("wave", Wave.objects.select_related("version")),
    Prefetch("rollout", Rollout.objects.select_related("cell", "group__prompt")),
)


def assignment_of_reviewer(user: User, assignment_id: UUID) -> Assignment:
    """An assignment that the user holds, held, or could be served; others do not exist for them.

    Whether it is still theirs is the lease token's business. What they were served stays theirs
    to answer when the queue's domains change under it.
    """
    assignment = (
        Assignment.objects.filter(pk=assignment_id)
        .select_related("queue__project")
        .prefetch_related(*READ_WITH_AN_ITEM)
        .first()
    )
    if assignment is None or not (
        _reviews(user, assignment.queue) or _was_served(user, assignment)
    ):
        raise MissingError("There is no such item in your queues.")
    return assignment


def _reviews(user: User, queue: Queue) -> bool:
    return reviewers_of(queue.project_id, queue.domains).filter(user=user).exists()


def _was_served(user: User, assignment: Assignment) -> bool:
    is_reviewer = has_role(user, assignment.queue.project, Role.REVIEWER)
    return is_reviewer and assignment.leases.filter(reviewer=user).exists()


def item_of(assignment: Assignment) -> Item:
    prefetch_related_objects([assignment], *READ_WITH_AN_ITEM)
    rollout = assignment.rollout
    prompt = rollout.group.prompt
    return Item(
        assignment=assignment,
        problem=prompt.text,
        references=list(prompt.references) if shows_reference(assignment) else None,
        steps=steps_of(rollout),
        answer=final_answer_of(rollout),
    )


def shows_reference(assignment: Assignment) -> bool:
    """As the version says by which its wave was drawn; for a pick, the newest one."""
    version = assignment.wave.version if assignment.wave else assignment.queue.rule.current
    return version.shows_reference


def final_answer_of(rollout: Rollout) -> str | None:
    """Every boxed answer, set apart. Read from the text alone: a verdict would show through."""
    return ", ".join(dict.fromkeys(boxed_answers(last_words(rollout)))) or None


def progress_by_queue(project: Project) -> dict[UUID, QueueProgress]:
    """Progress of each of the project's queues."""
    return _progress(Queue.objects.filter(project=project))


def progress_of(queue: Queue) -> QueueProgress:
    return _progress(Queue.objects.filter(pk=queue.pk))[queue.pk]


def _progress(queues: QuerySet[Queue]) -> dict[UUID, QueueProgress]:
    is_held = Q(
        assignments__state=AssignmentState.LEASED,
        assignments__lease_expires_at__gt=timezone.now(),
    )
    told = _just_called_for(queues)
    is_shown = ~Q(assignments__in=told) if told else Q()
    rows = queues.values_list("pk").annotate(
        total=Count(
            "assignments", filter=~Q(assignments__state=AssignmentState.WITHDRAWN) & is_shown
        ),
        done=Count("assignments", filter=Q(assignments__state__in=ANSWERED) & is_shown),
        skipped=Count(
            "assignments", filter=Q(assignments__state=AssignmentState.SKIPPED) & is_shown
        ),
        leased=Count("assignments", filter=is_held & is_shown),
    )
    return {pk: QueueProgress(*counts) for pk, *counts in rows}


# More labels are not given while one of them can be taken back.
NEWEST_FOR_UNDO = 1000


def _just_called_for(queues: QuerySet[Queue]) -> list[UUID]:
    """Reviews called for by labels that can still be taken back.

    Were they counted, a queue that grows would tell a label's writer that it contradicts the
    verdict, while they can still change it.
    """
    newest = Label.objects.order_by("-pk").values("pk")[:NEWEST_FOR_UNDO]
    since = timezone.now() - timedelta(seconds=UNDO_SECONDS)
    labelled = Label.objects.filter(pk__in=newest, created_at__gt=since)
    rows = Assignment.objects.filter(
        queue__in=queues,
        rollout__in=labelled.values("assignment__rollout"),
        cause__in=(Cause.CONTRADICTION, Cause.TIE_BREAK),
    )
    return list(rows.values_list("pk", flat=True))


def is_labelled(queue: Queue) -> bool:
    """Whether an item of the queue is answered: what it asks is fixed then.

    Also by an answer class, which is an answer to what the queue asked.
    """
    settled = Assignment.objects.filter(queue=queue, state=AssignmentState.SETTLED)
    return Label.objects.filter(assignment__queue=queue).exists() or settled.exists()


def labels_by(user: User, queue: Queue) -> int:
    """How many of the queue's items the user has answered."""
    return Label.objects.filter(reviewer=user, assignment__queue=queue, **FINAL).count()


def label_counts(project: Project) -> dict[UUID, int]:
    """Final labels of each of the project's runs that has any."""
    rows = (
        Label.objects.filter(assignment__queue__project=project, **FINAL)
        .values_list("assignment__queue__rule__run_id")
        .annotate(Count("pk"))
    )
    return dict(rows)


def next_rank(queue_id: UUID) -> int:
    """Behind every item of the queue; whoever gives it away holds the queue's row."""
    last = Assignment.objects.filter(queue=queue_id).aggregate(last=Max("rank"))["last"]
    return 0 if last is None else last + 1


# Ordered, and not by a constant: or the planner trusts to meet one soon in a scan of all items.
PENDING_SQL = """
SELECT 1 FROM labeling_assignment
WHERE wave_id BETWEEN %(wave)s::bigint AND %(wave)s::bigint
  AND state IN ('open', 'leased') AND cause <> 'gold'
ORDER BY wave_id LIMIT 1
"""


def has_pending(wave: Wave) -> bool:
    """Whether a review of the wave's draws is still to come; its gold does not hold it up."""
    return bool(prepared_rows(PENDING_SQL, {"wave": wave.pk}))


@dataclass(frozen=True, slots=True)
class SlotLabel:
    """The label that counts of one review of a rollout."""

    id: int
    slot: int
    cause: str
    reviewer_id: int
    answer: str
    earliest_wrong_step: int | None
    has_no_wrong_step: bool
    is_hack: bool | None
    criteria: Sequence[str] = ()


SLOT_LABEL = (
    *("pk", "assignment__slot", "assignment__cause", "reviewer_id", "answer"),
    *("earliest_wrong_step", "has_no_wrong_step", "is_hack", "criteria"),
)


def slot_labels(queue_id: UUID, rollout_id: int) -> list[SlotLabel]:
    """The labels that count of a rollout in a queue, by slot."""
    rows = Label.objects.filter(
        assignment__queue=queue_id, assignment__rollout=rollout_id, **FINAL
    ).exclude(assignment__cause=Cause.GOLD)
    return [SlotLabel(*row) for row in rows.order_by(*SLOT_ORDER).values_list(*SLOT_LABEL)]


SLOT_ORDER = ("assignment__slot", "pk")


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """What counts of a rollout: its adjudication, else what most of its labels say.

    Labels that are at odds and unsettled are as good as "cannot tell". step: 0 = no wrong step,
    None = not said. ids: of what is behind it, labels ("7"), an adjudication ("a7") or the
    settled answer class ("c7"). criteria: in the order of the queue's rubric, or none.
    """

    answer: str
    step: int | None
    is_hack: bool
    ids: tuple[str, ...]
    criteria: tuple[str, ...] = ()

    @property
    def is_decided(self) -> bool:
        return self.answer != Answer.CANNOT_TELL


def resolve(labels: Sequence[SlotLabel]) -> FinalAnswer:
    """The answer of most decided labels; of those, most decide whether it is a hack."""
    ids = tuple(str(label.id) for label in labels)
    decided = [label for label in labels if label.answer != Answer.CANNOT_TELL]
    if not decided or are_at_odds(decided):
        return FinalAnswer(Answer.CANNOT_TELL, None, False, ids)
    (answer, _), *_ = Counter(label.answer for label in decided).most_common(1)
    agreeing = [label for label in decided if label.answer == answer]
    hacks = sum(bool(label.is_hack) for label in agreeing)
    is_tie = 2 * hacks == len(agreeing)
    is_hack = bool(agreeing[0].is_hack) if is_tie else 2 * hacks > len(agreeing)
    return FinalAnswer(answer, _step(agreeing[0]), is_hack, ids, _criteria(labels))


def are_at_odds(labels: Sequence[SlotLabel | Label]) -> bool:
    """Two decided labels that differ, or as many for one answer as for the other."""
    decided = [label for label in labels if label.answer != Answer.CANNOT_TELL]
    if len(decided) == 2:
        first, second = decided
        return (first.answer, first.is_hack) != (second.answer, second.is_hack)
    correct = sum(label.answer == Answer.CORRECT for label in decided)
    return len(decided) > 0 and 2 * correct == len(decided)


def _step(label: SlotLabel | Adjudication) -> int | None:
    return 0 if label.has_no_wrong_step else label.earliest_wrong_step


def _criteria(labels: Sequence[SlotLabel]) -> tuple[str, ...]:
    """Of each criterion what most labels that could tell say of it; a tie cannot tell."""
    said = [label.criteria for label in labels if label.criteria]
    return tuple(_most_said(of_one) for of_one in zip(*said, strict=True))


def _most_said(of_one: Sequence[str]) -> str:
    met, unmet = (of_one.count(value) for value in (Criterion.MET, Criterion.NOT_MET))
    if met == unmet:
        return Criterion.CANNOT_TELL
    return Criterion.MET if met > unmet else Criterion.NOT_MET


def labels_by_rollout(windows: Sequence[Window]) -> dict[tuple[UUID, int], list[SlotLabel]]:
    """The labels that count of the windows' draws and picks, by (rule, rollout). O(labels)."""
    of_picks = Q(
        assignment__wave=None,
        assignment__queue__rule__windows__in=windows,
        assignment__rollout__picks__window__in=windows,
    )
    rows = (
        Label.objects.filter(Q(assignment__wave__window__in=windows) | of_picks, **FINAL)
        .exclude(assignment__cause=Cause.GOLD)
        .order_by(*SLOT_ORDER)
        .distinct()
        .values_list("assignment__queue__rule_id", "assignment__rollout_id", *SLOT_LABEL)
    )
    grouped: dict[tuple[UUID, int], list[SlotLabel]] = defaultdict(list)
    for rule_id, rollout_id, *label in rows:
        grouped[rule_id, rollout_id].append(SlotLabel(*label))
    return dict(grouped)


def final_answers(windows: Sequence[Window]) -> dict[tuple[UUID, int], FinalAnswer]:
    """What counts of every answered rollout of the windows, by (rule, rollout)."""
    answers = _settled_by_class(windows)
    answers |= {key: resolve(labels) for key, labels in labels_by_rollout(windows).items()}
    decisions = Adjudication.objects.filter(queue__rule__windows__in=windows).order_by("pk")
    for decision in decisions.distinct().select_related("queue"):
        key = decision.queue.rule_id, decision.rollout_id
        if key in answers:
            ids = (*answers[key].ids, f"a{decision.pk}")
            answers[key] = FinalAnswer(
                decision.answer,
                _step(decision),
                bool(decision.is_hack),
                ids,
                tuple(decision.criteria) or answers[key].criteria,
            )
    return answers


def _settled_by_class(windows: Sequence[Window]) -> dict[tuple[UUID, int], FinalAnswer]:
    """Draws of queues that ask for correctness alone, answered by their answer class."""
    rows = Assignment.objects.filter(wave__window__in=windows, state=AssignmentState.SETTLED)
    return {
        (rule_id, rollout_id): FinalAnswer(answer, None, False, (f"c{class_id} {rollout_id}",))
        for rule_id, rollout_id, class_id, answer in rows.values_list(
            "queue__rule_id", "rollout_id", "settled_by_id", "settled_by__answer"
        )
    }


@dataclass(frozen=True, slots=True)
class Asked:
    """What a queue asks beside the answer."""

    questions: frozenset[str]
    rubric: tuple[str, ...]


def asked_by(windows: Sequence[Window]) -> dict[UUID, Asked]:
    """By rule, what the windows' queues ask."""
    rows = Queue.objects.filter(rule__in={window.rule_id for window in windows})
    return {
        rule: Asked(frozenset(questions), tuple(rubric))
        for rule, questions, rubric in rows.values_list("rule_id", "questions", "rubric")
    }


def answered_rollouts(wave: Wave) -> list[int]:
    """The wave's rollouts that have an answer that counts."""
    answered = Assignment.objects.filter(wave=wave, state__in=ANSWERED).exclude(cause=Cause.GOLD)
    return sorted(set(answered.values_list("rollout_id", flat=True)))


# Fewer labels do not make a pace; older ones than the newest so many do not count.
LABELS_FOR_PACE, NEWEST_FOR_PACE = 20, 500


def seconds_per_label(project: Project) -> float | None:
    """Median time from taking an item to its label, over the project's newest labels."""
    taken = Lease.objects.filter(
        assignment=OuterRef("assignment"), reviewer=OuterRef("reviewer")
    ).order_by("-taken_at")
    rows = (
        Label.objects.filter(assignment__queue__project=project)
        .order_by("-pk")
        .annotate(taken_at=Subquery(taken.values("taken_at")[:1]))
        .values_list("created_at", "taken_at")[:NEWEST_FOR_PACE]
    )
    seconds = [(done - start).total_seconds() for done, start in rows if start is not None]
    return median(seconds) if len(seconds) >= LABELS_FOR_PACE else None


def classes_in_queue(rule: AuditRule) -> set[tuple[int, str]]:
    """Prompt and answer class of every rollout that is or was in the rule's queue."""
    rows = Assignment.objects.filter(queue__rule=rule, rollout__answer_class__isnull=False)
    rows = rows.exclude(state=AssignmentState.WITHDRAWN)
    keys = rows.values_list("rollout__group__prompt_id", "rollout__answer_class").distinct()
    return {(prompt_id, name) for prompt_id, name in keys if name is not None}


def eligible_reviewers(assignment: Assignment) -> int:
    """How many could review it: the version's reviewers who have not answered its rollout."""
    members = reviewers_of(assignment.queue.project_id, assignment.queue.domains)
    version = assignment.wave.version if assignment.wave else assignment.queue.rule.current
    if chosen := list(version.reviewers.values_list("pk", flat=True)):
        members = members.filter(user__in=chosen)
    others = Label.objects.filter(
        assignment__queue=assignment.queue_id,
        assignment__rollout=assignment.rollout_id,
        retraction=None,
    ).exclude(assignment=assignment.pk)
    return members.exclude(user__in=others.values("reviewer")).count()


def was_held(assignment: Assignment, reviewer: User, token: UUID) -> bool:
    """Whether the item was ever served to the reviewer under this token."""
    return Lease.objects.filter(assignment=assignment, reviewer=reviewer, token=token).exists()


def newest_label(user: User, queue: Queue) -> Label | None:
    """The reviewer's newest label of all, if it is the queue's and stands."""
    newest = (
        Label.objects.filter(reviewer=user)
        .select_related("assignment", "retraction", "reveal")
        .order_by("-pk")
        .first()
    )
    if newest is None or newest.assignment.queue_id != queue.pk or hasattr(newest, "retraction"):
        return None
    return newest


def can_be_undone(label: Label) -> bool:
    """Until its reviewer has seen what the verifiers said, and for a short while only."""
    is_recent = label.created_at > timezone.now() - timedelta(seconds=UNDO_SECONDS)
    return is_recent and not label.is_late and not hasattr(label, "reveal")


def label_to_undo(user: User, queue: Queue) -> Label | None:
    """The reviewer's newest label, while it can be taken back."""
    newest = newest_label(user, queue)
    return newest if newest and can_be_undone(newest) else None


def labels_by_wave(waves: Sequence[Wave]) -> dict[int, dict[str, int]]:
    """Per wave: how many of its draws' first reviews are in each state; settled ones are done."""
    rows = (
        Assignment.objects.filter(wave__in=waves, cause=Cause.DRAW)
        .values_list("wave_id", "state")
        .annotate(count=Count("pk"))
    )
    counts: dict[int, dict[str, int]] = {wave.pk: {} for wave in waves}
    for wave_id, state, count in rows:
        state = AssignmentState.DONE if state in ANSWERED else state
        counts[wave_id][state] = counts[wave_id].get(state, 0) + count
    return counts
