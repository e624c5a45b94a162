"""Labels as the statistics want them, and what is stored of estimates and tables."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeVar
from uuid import UUID

import numpy as np
from django.db.models import Max, QuerySet

from review.accounts.models import Project
from review.calibration.errors import NoRewardTableError
from review.calibration.models import Estimate, RewardTable
from review.core.errors import MissingError
from review.labeling.models import Answer, Label
from review.labeling.queries import final_labels
from review.runs.models import Run
from review.sampling.models import Draw, Wave, WaveCell, Window
from review.sampling.queries import RunCells, cells_of, closed_waves, frame_counts
from review.stats import windows as stats

Row = TypeVar("Row", Draw, WaveCell)

CORRECT = {Answer.CORRECT: 1.0, Answer.INCORRECT: 0.0, Answer.CANNOT_TELL: np.nan}


def audited_windows(run: Run, windows: Sequence[Window]) -> list[stats.Window]:
    """The windows with their closed waves and final labels. Reads O(cells + draws) rows."""
    cells = cells_of(run)
    waves = list(closed_waves(windows))
    labels = {label.assignment.draw_id: label for label in final_labels(waves)}
    draws = _by_wave(Draw.objects.filter(wave__in=waves).order_by("prn"))
    seen = _by_wave(WaveCell.objects.filter(wave__in=waves))
    return [
        stats.Window(
            frame=cells.frame,
            count_M=cells.array(frame_counts(window)),
            waves=tuple(
                _wave(cells, wave, seen[wave.pk], draws[wave.pk], labels)
                for wave in waves
                if wave.window_id == window.pk
            ),
        )
        for window in windows
    ]


def _by_wave(rows: Iterable[Row]) -> dict[int, list[Row]]:
    grouped: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row.wave_id].append(row)
    return grouped


def _wave(
    cells: RunCells,
    wave: Wave,
    seen: Sequence[WaveCell],
    draws: Sequence[Draw],
    labels: dict[int, Label],
) -> stats.Wave:
    stratum_M = np.full(len(cells.ids), -1, np.int64)
    remaining_M = np.zeros(len(cells.ids), np.int64)
    f_M, q_M = np.full(len(cells.ids), 0.5), np.zeros(len(cells.ids))
    weights: dict[int, float] = {}
    for row in seen:
        m = cells.index[row.cell_id]
        remaining_M[m], f_M[m], q_M[m] = row.remaining, row.p_correct, row.p_hack
        if row.stratum is not None and row.weight is not None:
            stratum_M[m] = row.stratum
            weights[row.stratum] = row.weight
    return stats.Wave(
        number=wave.number,
        planned=wave.planned,
        remaining_M=remaining_M,
        stratum_M=stratum_M,
        weight_H=np.array([weights[stratum] for stratum in sorted(weights)]),
        f_M=f_M,
        q_M=q_M,
        items=_items(cells, draws, labels),
    )


def _items(cells: RunCells, draws: Sequence[Draw], labels: dict[int, Label]) -> stats.Items:
    answers = [labels.get(draw.pk) for draw in draws]
    return stats.Items(
        cell_I=np.array([cells.index[draw.cell_id] for draw in draws], dtype=np.int64),
        correct_I=np.array(
            [np.nan if label is None else CORRECT[Answer(label.answer)] for label in answers]
        ),
        hack_I=np.array([label is not None and label.is_hack for label in answers], dtype=np.bool_),
    )


def label_set(windows: Sequence[Window]) -> str:
    """SHA-256 over the final labels' ids: the same set of labels gives the same estimates."""
    ids = final_labels(list(closed_waves(windows))).values_list("pk", flat=True)
    return hashlib.sha256(",".join(map(str, sorted(ids))).encode()).hexdigest()


def newest_estimates(run: Run, window: Window | None = None) -> dict[str, Estimate]:
    """The latest estimate of each estimand: of one window, or of the whole run."""
    rows = Estimate.objects.filter(run=run, window=window).order_by("estimand", "-pk")
    return {row.estimand: row for row in rows.distinct("estimand")}


def newest_window_estimates(run: Run) -> list[Estimate]:
    """The latest estimates of every window, in the order of their steps."""
    rows = (
        Estimate.objects.filter(run=run, window__isnull=False)
        .select_related("window")
        .order_by("window_id", "estimand", "-pk")
        .distinct("window_id", "estimand")
    )
    return sorted(rows, key=lambda row: (row.window.first_step if row.window else -1, row.estimand))


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
