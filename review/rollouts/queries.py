from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Max, Sum

from review.accounts.models import Project
from review.rollouts.models import Group, Rollout, StepSummary
from review.runs.models import Run


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered step of a completion, as a reviewer reads it."""

    number: int
    text: str


def stored_uids(run: Run, uids: Iterable[str]) -> set[str]:
    rows = Rollout.objects.filter(run=run, uid__in=set(uids))
    return set(rows.values_list("uid", flat=True))


def stored_groups(run: Run, uids: Iterable[str]) -> set[str]:
    rows = Group.objects.filter(run=run, uid__in=set(uids))
    return set(rows.values_list("uid", flat=True))


def steps_of(rollout: Rollout) -> list[Step]:
    text = rollout.messages[-1]["content"]
    return [
        Step(number=number, text=text[start:end])
        for number, (start, end) in enumerate(rollout.steps, start=1)
    ]


def rollouts_per_cell(run: Run) -> dict[str, int]:
    """Rollouts of the run per cell key."""
    rows = run.cell_counts.values_list("cell__key").annotate(total=Sum("rollouts"))
    return dict(rows)


@dataclass(frozen=True, slots=True)
class RunTotals:
    rollouts: int = 0
    latest_step: int | None = None


def run_totals(project: Project) -> dict[UUID, RunTotals]:
    """Rollouts and newest step of each of the project's runs that has any."""
    rows = (
        StepSummary.objects.filter(run__project=project)
        .values_list("run_id")
        .annotate(total=Sum("rollouts"), newest=Max("step"))
    )
    return {run_id: RunTotals(total, newest) for run_id, total, newest in rows}


def step_summaries(run: Run) -> list[StepSummary]:
    return list(run.step_summaries.order_by("step"))
