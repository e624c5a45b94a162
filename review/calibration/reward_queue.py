"""Which answers are worth settling for the reward's sake: section 8 of the audit's design."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from django.db.models import Count, Min, Sum

from review.calibration.errors import TooFewLabelsError
from review.calibration.services.estimates import current_beliefs
from review.labeling.queries import classes_in_queue
from review.sampling.models import AuditRule, PickCause, Wave, WaveState, Window, WindowState

# With fewer labels drawn by chance it did harm in simulation.
FEWEST_DRAWN_LABELS = 300
# At most as many as the window's budget times this.
MOST_OF_BUDGET = 0.5


def propose(rule: AuditRule, n: int) -> list[int]:
    """Rollouts of open windows whose answer class counts most, the most worthwhile first.

    A class counts its size times p (1 - p), p = P(correct) of its members' cells. One rollout
    stands for each class; classes of which a rollout is in the queue already are left out.
    """
    waves = Wave.objects.filter(window__rule=rule, state=WaveState.CLOSED)
    drawn = waves.aggregate(labels=Sum("planned"))["labels"] or 0
    if drawn < FEWEST_DRAWN_LABELS:
        raise TooFewLabelsError(
            f"{drawn} labels are drawn by chance so far; rewards may steer from "
            f"{FEWEST_DRAWN_LABELS} on."
        )
    worth: list[tuple[float, int]] = []
    for window in rule.windows.filter(state=WindowState.OPEN):
        picked = window.picks.filter(cause=PickCause.REWARD).count()
        allowed = int(MOST_OF_BUDGET * rule.current.budget) - picked
        worth += _worth(window)[: max(allowed, 0)]
    return [rollout for _, rollout in sorted(worth, reverse=True)[:n]]


def _worth(window: Window) -> list[tuple[float, int]]:
    """The worth of each class of the window, with a rollout of it, the most first."""
    beliefs = current_beliefs(window.rule.run)
    cells, f_M = beliefs.cells, beliefs.f_M
    queued = classes_in_queue(window.rule)
    members: dict[tuple[int, str], list[tuple[float, int, int]]] = defaultdict(list)
    for prompt_id, answer_class, cell_id, count, first in _classes(window):
        if (prompt_id, answer_class) not in queued:
            p = float(f_M[cells.index[cell_id]])
            members[prompt_id, answer_class].append((p, count, first))
    return sorted((_score(parts) for parts in members.values()), reverse=True)


def _classes(window: Window) -> Iterable[tuple[int, str, int, int, int]]:
    """Prompt, answer class, cell, number of rollouts, and one of them."""
    rows = window.rule.run.rollouts.filter(
        step__range=(window.first_step, window.last_step),
        answer_class__isnull=False,
        purged_at__isnull=True,
    )
    by_class = rows.values_list("group__prompt_id", "answer_class", "cell_id")
    return by_class.annotate(Count("pk"), Min("pk"))


def _score(parts: Sequence[tuple[float, int, int]]) -> tuple[float, int]:
    size = sum(count for _, count, _ in parts)
    p = sum(p * count for p, count, _ in parts) / size
    return size * p * (1 - p), min(first for _, _, first in parts)
