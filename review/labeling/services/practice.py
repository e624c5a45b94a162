"""Practice before the first real item. Its answers never are labels."""

from django.db import transaction

from review.accounts.models import User
from review.core.models import record_event
from review.labeling.errors import PracticeRefusedError
from review.labeling.known_answers import Attempt, practice_of
from review.labeling.models import Answer, GoldItem, PracticeAnswer, Qualification, Queue
from review.labeling.services.leases import take_turns


@transaction.atomic
def answer_practice(
    *,
    queue: Queue,
    reviewer: User,
    gold: GoldItem,
    attempt: int,
    answer: Answer,
    is_hack: bool | None = None,
) -> PracticeAnswer:
    """Store an answer to what the reviewer is asked now; sent twice it stays the first.

    With the attempt's last one they pass or fail. Holds the reviewer's row.
    """
    take_turns(reviewer)
    known = {"queue": queue, "reviewer": reviewer, "gold": gold, "attempt": attempt}
    if earlier := PracticeAnswer.objects.filter(**known).first():
        return earlier
    practice = practice_of(queue, reviewer)
    if practice.next != gold or practice.current.number != attempt:
        raise PracticeRefusedError
    given = PracticeAnswer.objects.create(
        **known, answer=answer, is_hack=is_hack, is_right=answer == gold.answer
    )
    answers = [*practice.current.answers, given]
    if _is_passed(queue, Attempt(attempt, answers, is_over=len(answers) >= queue.practice_size)):
        _qualify(queue, reviewer, "practice")
    return given


def _is_passed(queue: Queue, attempt: Attempt) -> bool:
    # Rounding must not fail 4 of 5 under a mark of 0.8.
    needed = queue.pass_mark * len(attempt.answers) - 1e-9
    return attempt.is_over and attempt.right >= needed


@transaction.atomic
def let_in(*, queue: Queue, reviewer: User, actor: object) -> Qualification:
    """A lead lets somebody in, whatever their practice says."""
    return _qualify(queue, reviewer, str(actor))


def _qualify(queue: Queue, reviewer: User, granted_by: str) -> Qualification:
    qualification, is_new = Qualification.objects.get_or_create(
        queue=queue, reviewer=reviewer, defaults={"granted_by": granted_by}
    )
    if is_new:
        record_event(actor=granted_by, action="reviewer qualified", subject=qualification)
    return qualification
