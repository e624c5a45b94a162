import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Prefetch, QuerySet, Sum

from review.accounts.models import Project
from review.rollouts.models import Rollout
from review.rollouts.queries import blocks_between, cells_inside, rollouts_per_cell
from review.rollouts.slices import Conditions, rows_of_counts, rows_of_rollouts
from review.runs.models import Run
from review.verifiers.models import (
    Channel,
    Outcome,
    ProbeRun,
    ProbeState,
    Replay,
    RunVerifier,
    Verdict,
    VerdictCount,
    VerifierVersion,
)
from trainer.rewards.cells import Cell as CellFeatures

STEP = re.compile("[0-9]{1,6}")


def verifiers_of(run: Run) -> list[VerifierVersion]:
    """The run's verifiers in their order; the first correctness verifier is the primary one."""
    return [link.verifier for link in run.run_verifiers.select_related("verifier")]


def correctness_verifiers_of(run: Run) -> list[VerifierVersion]:
    return [verifier for verifier in verifiers_of(run) if verifier.channel == Channel.CORRECTNESS]


def process_verifiers_of(run: Run) -> list[VerifierVersion]:
    return [verifier for verifier in verifiers_of(run) if verifier.channel == Channel.PROCESS]


def claimed_steps(verifier: VerifierVersion, rollout_ids: Collection[int]) -> dict[int, int]:
    """The earliest wrong step that a process verifier names, 0 for none.

    It says so in `extracted`; what is no number says nothing.
    """
    rows = Verdict.objects.filter(verifier=verifier, rollout__in=rollout_ids)
    said = rows.values_list("rollout", "extracted")
    return {pk: int(step) for pk, step in said if step is not None and STEP.fullmatch(step)}


def has_claimed_steps(run: Run) -> bool:
    """Whether any process verifier has named a wrong step of the run."""
    verifiers = VerifierVersion.objects.filter(project=run.project_id, channel=Channel.PROCESS)
    said = Verdict.objects.filter(verifier__in=list(verifiers), rollout__run=run)
    return said.filter(extracted__regex=r"^0*[1-9][0-9]{0,5}$").exists()


def late_verifiers(run: Run) -> list[VerifierVersion]:
    """The correctness verifiers that judged the run's stored rollouts and are not its own."""
    judged = VerdictCount.objects.filter(cell_count__run=run).values("verifier")
    return list(VerifierVersion.objects.filter(pk__in=judged).order_by("name", "version"))


def late_verdict_counts(
    run: Run,
    verifier: VerifierVersion,
    first_step: int,
    last_step: int,
    conditions: Conditions = (),
) -> dict[int, dict[Outcome, int]]:
    """By cell and outcome, the late verifier's verdicts on rollouts that meet the conditions.

    Of the steps, both included. They add up to a cell's rollouts once the verifier has judged all
    of them. Reads the kept counts; steps that cut a block are counted verdict by verdict.
    """
    per_outcome: dict[int, dict[Outcome, int]] = defaultdict(dict)
    for cell, outcome, total in _verdict_totals(run, verifier, first_step, last_step, conditions):
        per_outcome[cell][Outcome(outcome)] = int(total)
    return dict(per_outcome)


def _verdict_totals(
    run: Run, verifier: VerifierVersion, first_step: int, last_step: int, conditions: Conditions
) -> Iterable[tuple[Any, ...]]:
    if blocks := blocks_between(run, first_step, last_step, at="cell_count__"):
        inside = blocks & rows_of_counts(conditions, step_block=run.step_block, at="cell_count__")
        inside &= cells_inside(run, conditions, at="cell_count__")
        counts = VerdictCount.objects.filter(inside, cell_count__run=run, verifier=verifier)
        return counts.values_list("cell_count__cell", "outcome").annotate(total=Sum("rollouts"))
    inside = rows_of_rollouts(conditions, step_block=run.step_block, at="rollout__")
    inside &= cells_inside(run, conditions, at="rollout__")
    verdicts = Verdict.objects.filter(
        inside, rollout__run=run, rollout__step__range=(first_step, last_step), verifier=verifier
    )
    return verdicts.values_list("rollout__cell", "outcome").annotate(total=Count("pk"))


def lost_to(verifier: VerifierVersion, rollouts: QuerySet[Rollout]) -> QuerySet[Rollout]:
    """Of the rollouts those that it will never judge: their texts were gone before it came."""
    judged = Verdict.objects.filter(rollout=OuterRef("pk"), verifier=verifier)
    return rollouts.filter(~Exists(judged), purged_at__isnull=False)


@dataclass(frozen=True, slots=True)
class PairCounts:
    """By cell the rollouts that two verifiers have judged, by which of them passes."""

    both: dict[int, int]
    first: dict[int, int]
    second: dict[int, int]
    neither: dict[int, int]


def pair_counts(
    run: Run, first: VerifierVersion, second: VerifierVersion, first_step: int, last_step: int
) -> PairCounts:
    """Of the steps, both included. Counted verdict by verdict: of two late verifiers together no
    counts are kept."""
    rows = verdict_pairs(run, first, second).filter(rollout__step__range=(first_step, last_step))
    counts: dict[tuple[bool, bool], Counter[int]] = defaultdict(Counter)
    grouped = rows.values_list("rollout__cell", "outcome", "other").annotate(total=Count("pk"))
    for cell, outcome, other, total in grouped:
        counts[outcome == Outcome.PASS, other == Outcome.PASS][cell] += total
    return PairCounts(
        both=counts[True, True],
        first=counts[True, False],
        second=counts[False, True],
        neither=counts[False, False],
    )


def verdict_pairs(run: Run, first: VerifierVersion, second: VerifierVersion) -> QuerySet[Any, Any]:
    """The first verifier's verdicts on rollouts of the run that both have judged; `other` is what
    the second says."""
    rows = Verdict.objects.filter(
        rollout__run=run, verifier=first, rollout__verdicts__verifier=second
    )
    return rows.annotate(other=F("rollout__verdicts__outcome"))


def disagreements(run: Run, first: VerifierVersion, second: VerifierVersion) -> QuerySet[Any, Any]:
    return verdict_pairs(run, first, second).exclude(outcome=F("other"))


Pairs = Counter[tuple[Outcome, Outcome]]


def outcome_pairs(run: Run, first: VerifierVersion, second: VerifierVersion) -> Pairs:
    """How many rollouts of the run the two verifiers say what of.

    From the kept counts, where one of them is the run's own and both judge correctness.
    """
    own = correctness_verifiers_of(run)
    are_counted = {first.channel, second.channel} == {Channel.CORRECTNESS}
    if are_counted and first in own and second in own:
        return _pairs_of_cells(rollouts_per_cell(run), own.index(first), own.index(second))
    if are_counted and first in own:
        return _pairs_with_late(run, own.index(first), second)
    if are_counted and second in own:
        swapped = _pairs_with_late(run, own.index(second), first)
        return Counter({(a, b): n for (b, a), n in swapped.items()})
    rows = verdict_pairs(run, first, second).values_list("outcome", "other")
    totals = rows.order_by().annotate(total=Count("pk"))
    return Counter({(Outcome(a), Outcome(b)): total for a, b, total in totals})


def _pairs_of_cells(per_cell: Mapping[str, int], first: int, second: int) -> Pairs:
    pairs: Pairs = Counter()
    for key, rollouts in per_cell.items():
        pairs[said_in_cell(key, first), said_in_cell(key, second)] += rollouts
    return pairs


def _pairs_with_late(run: Run, own: int, late: VerifierVersion) -> Pairs:
    rows = VerdictCount.objects.filter(cell_count__run=run, verifier=late)
    pairs: Pairs = Counter()
    for key, outcome, total in rows.values_list("cell_count__cell__key", "outcome").annotate(
        total=Sum("rollouts")
    ):
        pairs[said_in_cell(key, own), Outcome(outcome)] += int(total)
    return pairs


def said_in_cell(key: str, position: int) -> Outcome:
    """What the run's correctness verifier of this position says of the cell's rollouts."""
    verdict = CellFeatures.parse(key).signature.split("&")[position]
    return Outcome(verdict.partition("/")[0])


def judges_of(run: Run) -> list[VerifierVersion]:
    """Every verifier with verdicts on the run: its own in their order, then the later ones."""
    own = verifiers_of(run)
    late = [verifier for verifier in late_verifiers(run) if verifier not in own]
    # Correctness verifiers that have judged are among those with counts.
    rest = _others_that_judged(run).exclude(channel=Channel.CORRECTNESS)
    return [*own, *late, *rest]


def late_process_verifiers(run: Run) -> list[VerifierVersion]:
    """The process verifiers that judged the run's stored rollouts and are not its own."""
    return list(_others_that_judged(run).filter(channel=Channel.PROCESS))


def _others_that_judged(run: Run) -> QuerySet[VerifierVersion]:
    """The project's verifiers, without the run's own, that have judged a rollout of the run."""
    has_judged = Verdict.objects.filter(verifier=OuterRef("pk"), rollout__run=run)
    others = VerifierVersion.objects.filter(Exists(has_judged), project=run.project_id)
    return others.exclude(in_runs__run=run).order_by("name", "version")


def versions_of(project: Project) -> QuerySet[VerifierVersion]:
    """The project's verifiers, the newest version of a name first, with runs and replays."""
    replays = Replay.objects.select_related("run").order_by("created_at")
    links = RunVerifier.objects.select_related("run").order_by("run__created_at")
    rows = VerifierVersion.objects.filter(project=project).order_by("name", "-created_at")
    return rows.prefetch_related(Prefetch("in_runs", links), Prefetch("replays", replays))


def newest_probe_rates(versions: Collection[VerifierVersion]) -> dict[int, dict[str, float]]:
    """By verifier the overall success rate of attacks, of its newest probe run that is done."""
    rows = (
        ProbeRun.objects.filter(verifier__in=versions, state=ProbeState.DONE)
        .order_by("verifier", "-created_at")
        .distinct("verifier")
        .values_list("verifier", "result__overall__rate")
    )
    return {pk: rate for pk, rate in rows if rate}


def outcomes_of(verifier: VerifierVersion, rollout_ids: Collection[int]) -> dict[int, Outcome]:
    """What the verifier says of those of the rollouts that it has judged."""
    rows = Verdict.objects.filter(verifier=verifier, rollout__in=rollout_ids)
    return {pk: Outcome(outcome) for pk, outcome in rows.values_list("rollout", "outcome")}


def judged_pairs(verdicts: Iterable[Verdict]) -> set[tuple[int, int]]:
    """Rollout and verifier of the verdicts that are stored already."""
    rows = Verdict.objects.filter(
        rollout__in={verdict.rollout_id for verdict in verdicts},
        verifier__in={verdict.verifier_id for verdict in verdicts},
    )
    return set(rows.values_list("rollout", "verifier"))


def verdicts_of(rollout: Rollout) -> list[Verdict]:
    """Every verdict on the rollout, the run's own verifiers first."""
    own = [verifier.pk for verifier in verifiers_of(rollout.run)]
    verdicts = list(Verdict.objects.filter(rollout=rollout).select_related("verifier"))
    order = {pk: position for position, pk in enumerate(own)}
    return sorted(verdicts, key=lambda v: (order.get(v.verifier_id, len(own)), str(v.verifier)))
