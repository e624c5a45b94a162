"""How reviewers do on known answers: mixed in among real ones, and in practice."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Count, F, Q, QuerySet

from review.accounts.models import Membership, Project, Role, User
from review.labeling.models import (
    Answer,
    Cause,
    GoldItem,
    Label,
    Pause,
    PracticeAnswer,
    Qualification,
    Queue,
)
from review.labeling.queries import FINAL

# Who has failed so often needs a word with a lead, not another try.
MOST_ATTEMPTS = 3


def gold_score(queue: Queue, reviewer: User) -> tuple[int, int]:
    """Right ones and all of the known answers that they decided since a pause was last lifted.

    "Cannot tell" is no wrong answer.
    """
    labels = Label.objects.filter(
        assignment__queue=queue, assignment__cause=Cause.GOLD, reviewer=reviewer, **FINAL
    ).exclude(answer=Answer.CANNOT_TELL)
    lifted = Pause.objects.filter(queue=queue, reviewer=reviewer, lifted_at__isnull=False)
    if since := lifted.order_by("-lifted_at").values_list("lifted_at", flat=True).first():
        labels = labels.filter(created_at__gt=since)
    is_right = Q(answer=F("assignment__rollout__gold_item__answer"))
    score = labels.aggregate(right=Count("pk", filter=is_right), answered=Count("pk"))
    return score["right"], score["answered"]


def pauses_in(queues: QuerySet[Queue]) -> QuerySet[Pause]:
    """Who is paused now, the longest first; where nobody is to be paused any more, nobody is."""
    rows = Pause.objects.filter(queue__in=queues, queue__gold_mark__isnull=False, lifted_at=None)
    return rows.select_related("reviewer", "queue__rule").order_by("pk")


# Practice


def practice_items(project: Project) -> QuerySet[GoldItem]:
    """Known answers for practice, whatever run they are of."""
    return GoldItem.objects.filter(project=project, is_practice=True, rollout__purged_at=None)


@dataclass(frozen=True, slots=True)
class Attempt:
    number: int
    answers: Sequence[PracticeAnswer]
    is_over: bool

    @property
    def right(self) -> int:
        return sum(answer.is_right for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Practice:
    """How far a reviewer is. next: what they are asked now; None: nothing, or nothing is left."""

    is_qualified: bool
    attempts: Sequence[Attempt]
    current: Attempt
    next: GoldItem | None

    @property
    def is_used_up(self) -> bool:
        return not self.is_qualified and self.current.number > MOST_ATTEMPTS


def practice_of(queue: Queue, reviewer: User) -> Practice:
    rows = PracticeAnswer.objects.filter(queue=queue, reviewer=reviewer).order_by("pk")
    answers = list(rows.select_related("gold"))
    attempts = _attempts(queue, answers)
    current = attempts[-1] if attempts and not attempts[-1].is_over else None
    if current is None:
        current = Attempt(len(attempts) + 1, [], is_over=False)
    is_qualified = Qualification.objects.filter(queue=queue, reviewer=reviewer).exists()
    may_go_on = not is_qualified and current.number <= MOST_ATTEMPTS
    return Practice(
        is_qualified=is_qualified,
        attempts=attempts,
        current=current,
        next=_next_item(queue, reviewer, current.number, answers) if may_go_on else None,
    )


def _attempts(queue: Queue, answers: Sequence[PracticeAnswer]) -> list[Attempt]:
    by_number: dict[int, list[PracticeAnswer]] = {}
    for answer in answers:
        by_number.setdefault(answer.attempt, []).append(answer)
    newest = max(by_number, default=0)
    return [
        Attempt(number, rows, is_over=number < newest or len(rows) >= queue.practice_size)
        for number, rows in sorted(by_number.items())
    ]


def _next_item(
    queue: Queue, reviewer: User, attempt: int, answers: Sequence[PracticeAnswer]
) -> GoldItem | None:
    """By chance, the same at every reload; what earlier attempts have not shown comes first."""
    asked = {answer.gold_id for answer in answers if answer.attempt == attempt}
    shown = [answer.gold_id for answer in answers if answer.attempt < attempt]
    left = set(practice_items(queue.project).values_list("pk", flat=True)) - asked

    def place(gold_id: int) -> tuple[int, bytes]:
        said = f"practice {queue.pk} {reviewer.pk} {attempt} {gold_id}"
        chance = hmac.digest(settings.SECRET_KEY.encode(), said.encode(), "sha256")
        return shown.count(gold_id), chance

    if not left:
        return None
    chosen = GoldItem.objects.select_related("rollout__group__prompt")
    return chosen.get(pk=min(left, key=place))


@dataclass(frozen=True, slots=True)
class Trainee:
    """A reviewer of a queue that asks for practice. scores: right and asked, by attempt."""

    reviewer: User
    scores: Sequence[tuple[int, int]]
    qualification: Qualification | None


def trainees_of(queue: Queue) -> list[Trainee]:
    """The project's reviewers, and whoever else has practised or been let in."""
    qualified = {row.reviewer_id: row for row in Qualification.objects.filter(queue=queue)}
    scores: dict[int, list[tuple[int, int]]] = {}
    rows = (
        PracticeAnswer.objects.filter(queue=queue)
        .values_list("reviewer", "attempt")
        .annotate(right=Count("pk", filter=Q(is_right=True)), asked=Count("pk"))
        .order_by("reviewer", "attempt")
    )
    for reviewer_id, _, right, asked in rows:
        scores.setdefault(reviewer_id, []).append((right, asked))
    members = Membership.objects.filter(project=queue.project_id, role=Role.REVIEWER)
    people = User.objects.filter(
        Q(pk__in=members.values("user")) | Q(pk__in=[*scores, *qualified])
    ).order_by("username")
    return [Trainee(user, scores.get(user.pk, []), qualified.get(user.pk)) for user in people]
