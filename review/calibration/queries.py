"""Labels as the statistics want them, and what is stored of estimates and tables."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import Max, QuerySet
from django.utils import timezone

from review.accounts.models import Project
from review.calibration.errors import NoRewardTableError
from review.calibration.models import AnswersUsed, Estimate, RefreshRequest, RewardTable, Signal
from review.core.errors import MissingError
from review.labeling.models import Answer, Criterion, Question, SettledClass
from review.labeling.queries import FinalAnswer, asked_by, final_answers
from review.runs.models import Run
from review.sampling.models import Draw, Pick, Wave, WaveCell, Window
from review.sampling.queries import RunCells, cells_of, closed_waves, frame_counts
from review.stats import windows as stats
from review.stats.cells import IntArray
from review.verifiers.models import VerifierVersion

CORRECT: Mapping[str, float] = {
    Answer.CORRECT: 1.0,
    Answer.INCORRECT: 0.0,
    Answer.CANNOT_TELL: np.nan,
}
MET: Mapping[str, float] = {
    Criterion.MET: 1.0,
    Criterion.NOT_MET: 0.0,
    Criterion.CANNOT_TELL: np.nan,
}
# A request older than this has lost its message.
OVERDUE_S = 30


@dataclass(frozen=True, slots=True)
class AuditedWindow:
    """A window as the statistics read it, with the rollouts behind its items, in their order."""

    source: Window
    # What the window's arrays over cells are about; the run may have got more since.
    cells: RunCells
    window: stats.Window
    wave_rollouts: tuple[IntArray, ...]
    purposive_rollouts: IntArray
    # Of its closed waves: one adds what it left unanswered, also where it adds no answer.
    wave_ids: tuple[int, ...]
    # Of the labels, adjudications and settled classes behind its answers.
    label_ids: tuple[str, ...]
    # What its queue asks beside the answer.
    questions: frozenset[str]
    rubric: tuple[str, ...]
    # By rollout, what was said of each criterion of that rubric: 1, 0, nan for cannot tell.
    met: Mapping[int, tuple[float, ...]]

    @property
    def rollouts(self) -> list[int]:
        parts = (*self.wave_rollouts, self.purposive_rollouts)
        return [int(rollout) for part in parts for rollout in part]


def audited_windows(
    run: Run, windows: Sequence[Window], cells: RunCells | None = None
) -> list[AuditedWindow]:
    """The windows with their closed waves, picks and final answers. Reads O(cells + draws) rows."""
    cells = cells or cells_of(run)
    waves = list(closed_waves(windows))
    answers = final_answers(windows)
    asked = asked_by(windows)
    draws = _grouped(
        Draw.objects.filter(wave__in=waves)
        .order_by("prn")
        .values_list("wave_id", "rollout_id", "cell_id")
    )
    seen = _grouped(
        WaveCell.objects.filter(wave__in=waves).values_list(
            *("wave_id", "cell_id", "remaining", "stratum", "weight", "p_correct", "p_hack")
        )
    )
    picks = _grouped(
        Pick.objects.filter(window__in=windows)
        .order_by("pk")
        .values_list("window_id", "rollout_id", "cell_id", "known_from")
    )
    audited: list[AuditedWindow] = []
    for window in windows:
        mine = [wave for wave in waves if wave.window_id == window.pk]
        picked = picks[window.pk]
        taken = [*(draws[wave.pk] for wave in mine), picked]
        audited.append(
            AuditedWindow(
                source=window,
                cells=cells,
                window=stats.Window(
                    frame=cells.frame,
                    count_M=cells.array(frame_counts(window)),
                    waves=tuple(
                        _wave(
                            cells,
                            wave,
                            seen[wave.pk],
                            _items(cells, window.rule_id, draws[wave.pk], answers),
                        )
                        for wave in mine
                    ),
                    purposive=_items(cells, window.rule_id, picked, answers),
                    known_from_I=np.array([row[2] for row in picked], dtype=np.int64),
                ),
                wave_rollouts=tuple(_first_column(draws[wave.pk]) for wave in mine),
                purposive_rollouts=_first_column(picked),
                wave_ids=tuple(wave.pk for wave in mine),
                label_ids=tuple(
                    id_
                    for rows in taken
                    for row in rows
                    if (answer := answers.get((window.rule_id, row[0])))
                    for id_ in answer.ids
                ),
                questions=asked[window.rule_id].questions,
                rubric=asked[window.rule_id].rubric,
                met={
                    row[0]: tuple(MET[said] for said in answer.criteria)
                    for rows in taken
                    for row in rows
                    if (answer := answers.get((window.rule_id, row[0]))) and answer.criteria
                },
            )
        )
    return audited


def not_asked(audited: Sequence[AuditedWindow], question: Question) -> str:
    """Why nothing that rests on the question can be estimated of all these windows; or nothing."""
    silent = [part for part in audited if question not in part.questions]
    if not silent:
        return ""
    whose = "the queue does" if len(silent) == len(audited) else "some windows' queues do"
    return f"{whose} not ask for it"


Row = tuple[Any, ...]


def _grouped(rows: Iterable[Row]) -> dict[Any, list[Row]]:
    """The rows' other columns by their first."""
    grouped: dict[Any, list[Row]] = defaultdict(list)
    for key, *rest in rows:
        grouped[key].append(tuple(rest))
    return grouped


def _first_column(rows: Sequence[Row]) -> IntArray:
    return np.array([row[0] for row in rows], dtype=np.int64)


def _wave(cells: RunCells, wave: Wave, seen: Sequence[Row], items: stats.Items) -> stats.Wave:
    stratum_M = np.full(len(cells.ids), -1, np.int64)
    remaining_M = np.zeros(len(cells.ids), np.int64)
    f_M, q_M = np.full(len(cells.ids), 0.5), np.zeros(len(cells.ids))
    weights: dict[int, float] = {}
    for cell_id, remaining, stratum, weight, p_correct, p_hack in seen:
        m = cells.index[cell_id]
        remaining_M[m], f_M[m], q_M[m] = remaining, p_correct, p_hack
        if stratum is not None:
            stratum_M[m] = stratum
            weights[stratum] = weight
    return stats.Wave(
        number=wave.number,
        planned=wave.planned,
        remaining_M=remaining_M,
        stratum_M=stratum_M,
        weight_H=np.array([weights[stratum] for stratum in sorted(weights)]),
        f_M=f_M,
        q_M=q_M,
        items=items,
    )


def _items(
    cells: RunCells,
    rule_id: UUID,
    rows: Sequence[Row],
    answers: Mapping[tuple[UUID, int], FinalAnswer],
) -> stats.Items:
    given = [answers.get((rule_id, row[0])) for row in rows]
    return stats.Items(
        cell_I=np.array([cells.index[row[1]] for row in rows], dtype=np.int64),
        correct_I=np.array([np.nan if a is None else CORRECT[a.answer] for a in given], float),
        hack_I=np.array([a is not None and a.is_hack for a in given], dtype=np.bool_),
        step_I=np.array([np.nan if a is None or a.step is None else a.step for a in given], float),
    )


def settled_answers(run: Run, windows: Sequence[Window]) -> dict[str, dict[str, float]]:
    """By prompt uid and answer class, 1 or 0: what labels say of the class's members, if one thing.

    Derived labels: they pay rollouts, and are in no estimate. A class once found mixed pays nobody,
    whatever is said of members that came later.
    """
    decided = {pk: said for (_, pk), said in final_answers(windows).items() if said.is_decided}
    members = run.rollouts.filter(pk__in=decided, answer_class__isnull=False)
    answers: dict[tuple[str, str], set[float]] = defaultdict(set)
    for pk, prompt, name in members.values_list("pk", "group__prompt__uid", "answer_class"):
        answers[prompt, name or ""].add(CORRECT[decided[pk].answer])
    settled: dict[str, dict[str, float]] = defaultdict(dict)
    mixed = SettledClass.objects.filter(run=run, mixed_at__isnull=False)
    unpaid = set(mixed.values_list("prompt__uid", "answer_class"))
    for (prompt, name), said in sorted(answers.items()):
        if len(said) == 1 and (prompt, name) not in unpaid:
            settled[prompt][name] = said.pop()
    return dict(settled)


def label_set(audited: Sequence[AuditedWindow]) -> str:
    """SHA-256 over what was answered, and asked: the same of both give the same estimates."""
    ids = sorted({id_ for part in audited for id_ in part.label_ids})
    waves = sorted({f"wave {pk}" for part in audited for pk in part.wave_ids})
    return hashlib.sha256(",".join(ids + waves).encode()).hexdigest()


def estimated_runs(project: Project) -> list[UUID]:
    """The project's runs that have estimates."""
    rows = Estimate.objects.filter(run__project=project).values_list("run_id", flat=True)
    return list(rows.distinct())


def overdue_refreshes() -> list[UUID]:
    """Runs whose requested refresh has not come: its message was lost."""
    due = timezone.now() - timedelta(seconds=OVERDUE_S)
    rows = RefreshRequest.objects.filter(requested_at__lt=due)
    return list(rows.values_list("run_id", flat=True))


def is_newest(
    run: Run,
    estimand: str,
    digest: str,
    *,
    answers: AnswersUsed = AnswersUsed.FINAL,
    **scope: object,
) -> bool:
    """Whether the latest estimate of the scope is of these answers.

    Not whether there is any: a label that is taken back leads back to an earlier set.
    """
    whole: dict[str, object] = {
        **dict.fromkeys(("window", "verifier", "slice", "policy")),
        "criterion": "",
    }
    rows = Estimate.objects.filter(run=run, answers=answers, estimand=estimand, **(whole | scope))
    return rows.order_by("-pk").values_list("label_set", flat=True).first() == digest


def newest_estimates(run: Run, window: Window | None = None) -> dict[str, Estimate]:
    """The latest estimate of each estimand: of one window, or of the whole run."""
    rows = Estimate.objects.filter(
        run=run,
        window=window,
        verifier=None,
        slice=None,
        policy=None,
        answers=AnswersUsed.FINAL,
    ).order_by("estimand", "-pk")
    return {row.estimand: row for row in rows.distinct("estimand")}


def newest_window_estimates(run: Run) -> list[Estimate]:
    """The latest estimates of every window, in the order of their steps."""
    rows = (
        Estimate.objects.filter(
            run=run,
            window__isnull=False,
            verifier=None,
            slice=None,
            policy=None,
            answers=AnswersUsed.FINAL,
        )
        .select_related("window")
        .order_by("window_id", "estimand", "-pk")
        .distinct("window_id", "estimand")
    )
    return sorted(rows, key=lambda row: (row.window.first_step if row.window else -1, row.estimand))


def scorecard(run: Run) -> list[Estimate]:
    """The run's latest estimates of every verifier, slice and policy, whole first."""
    rows = (
        Estimate.objects.filter(run=run, window=None, criterion="", answers=AnswersUsed.FINAL)
        .select_related("verifier", "slice", "policy")
        .order_by("verifier", "slice", "policy", "estimand", "-pk")
        .distinct("verifier", "slice", "policy", "estimand")
    )
    return sorted(
        rows,
        key=lambda row: (
            row.verifier_id or 0,
            row.slice.name if row.slice else "",
            row.policy_id or 0,
            row.estimand,
        ),
    )


def criteria_scorecard(run: Run) -> list[Estimate]:
    """The latest estimates of every verifier's criteria, and of criteria that only a queue has."""
    rows = Estimate.objects.filter(run=run, answers=AnswersUsed.FINAL).exclude(criterion="")
    latest: dict[int | None, str] = dict(
        rows.order_by("verifier", "-pk").distinct("verifier").values_list("verifier", "label_set")
    )
    newest = (
        rows.select_related("verifier", "slice", "policy")
        .order_by("verifier", "criterion", "estimand", "-pk")
        .distinct("verifier", "criterion", "estimand")
    )
    # A criterion that nobody asks for and no verdict names any more has no newer row.
    return [row for row in newest if row.label_set == latest[row.verifier_id]]


def basis_of_criteria(run: Run, verifier: VerifierVersion) -> str | None:
    """What the latest estimates of the verifier's criteria rest on; None: there are none."""
    rows = Estimate.objects.filter(run=run, verifier=verifier).exclude(criterion="")
    return rows.order_by("-pk").values_list("label_set", flat=True).first()


def sensitivity(run: Run) -> dict[str, Estimate]:
    """The latest estimates that carry the reviewers' own errors, where there are any."""
    rows = Estimate.objects.filter(run=run, window=None, answers=AnswersUsed.DAWID_SKENE)
    return {row.estimand: row for row in rows.order_by("estimand", "-pk").distinct("estimand")}


def newest_signal(run: Run) -> Signal | None:
    return run.signals.order_by("-pk").first()


def tables_of(run: Run) -> QuerySet[RewardTable]:
    return run.reward_tables.order_by("-version")


def newest_versions(project: Project) -> dict[UUID, int]:
    """The newest published table version of each of the project's runs that has one."""
    rows = (
        RewardTable.objects.filter(run__project=project, published_at__isnull=False)
        .values_list("run_id")
        .annotate(Max("version"))
    )
    return dict(rows)


def table_in_project(project: Project, table_id: UUID) -> RewardTable:
    table = (
        RewardTable.objects.filter(run__project=project, pk=table_id)
        .select_related("run__project")
        .first()
    )
    if table is None:
        raise MissingError("There is no such reward table in this project.")
    return table


def published_table(run: Run, version: int | None = None) -> RewardTable:
    """The newest published table of the run, or the published one of that version."""
    tables = tables_of(run).filter(published_at__isnull=False)
    if version is not None:
        tables = tables.filter(version=version)
    table = tables.first()
    if table is None:
        raise NoRewardTableError
    return table
