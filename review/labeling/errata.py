"""Who says that a problem is broken."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from review.labeling.models import Adjudication, Label
from review.runs.models import Erratum, Prompt


@dataclass(frozen=True, slots=True)
class Report:
    """A label, or a decision between labels, that stands and says so."""

    by: str
    note: str
    at: datetime
    rollout_id: int


Key = tuple[int, str]


def is_reported(prompt: Prompt, fault: str) -> bool:
    return _labels([prompt.pk], [fault]).exists() or _decisions([prompt.pk], [fault]).exists()


def reports_of(errata: Sequence[Erratum]) -> dict[Key, list[Report]]:
    """By prompt and fault, the oldest first; late labels too, for what they say is no less true."""
    prompts = {erratum.prompt_id for erratum in errata}
    faults = {erratum.fault for erratum in errata}
    labels = _labels(prompts, faults).values_list(
        *("assignment__rollout__group__prompt", "problem_fault", "reviewer__username", "note"),
        *("created_at", "assignment__rollout"),
    )
    decisions = _decisions(prompts, faults).values_list(
        *("rollout__group__prompt", "problem_fault", "decided_by__username", "reason"),
        *("created_at", "rollout"),
    )
    reports: dict[Key, list[Report]] = defaultdict(list)
    for prompt, fault, *report in sorted([*labels, *decisions], key=lambda row: row[4]):
        reports[prompt, fault].append(Report(*report))
    return dict(reports)


def _labels(prompts: Collection[int], faults: Collection[str]) -> QuerySet[Label]:
    return Label.objects.filter(
        assignment__rollout__group__prompt__in=prompts, problem_fault__in=faults, retraction=None
    )


def _decisions(prompts: Collection[int], faults: Collection[str]) -> QuerySet[Adjudication]:
    return Adjudication.objects.filter(rollout__group__prompt__in=prompts, problem_fault__in=faults)
