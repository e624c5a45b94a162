from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

import numpy as np
from django.db.models import Count, Max, QuerySet
from scipy.special import logit

from review.accounts.models import Project
from review.core.errors import MissingError
from review.rollouts.models import Cell
from review.runs.models import Run
from review.sampling.models import AuditRule, Draw, Wave, WaveState, Window
from review.stats.cells import NO_BIN, CellFrame, IntArray
from trainer.rewards.cells import Cell as CellFeatures


@dataclass(frozen=True)
class RunCells:
    """All cells of a run in one fixed order, so that arrays over cells (suffix M) line up."""

    ids: tuple[int, ...]
    features: tuple[CellFeatures, ...]

    @cached_property
    def index(self) -> dict[int, int]:
        return {cell_id: position for position, cell_id in enumerate(self.ids)}

    @cached_property
    def frame(self) -> CellFrame:
        return frame_of(self.features)

    def array(self, by_cell_id: Mapping[int, float]) -> IntArray:
        """Whole numbers per cell as an array over the run's cells; a cell without one has 0."""
        return np.array([by_cell_id.get(cell_id, 0) for cell_id in self.ids], dtype=np.int64)


def frame_of(features: Sequence[CellFeatures]) -> CellFrame:
    signatures = _codes([cell.signature for cell in features])
    domains = _codes([cell.domain for cell in features])
    scores = [np.nan if cell.score_bin is None else cell.score_bin for cell in features]
    return CellFrame(
        accepted_M=np.array([cell.is_accepted for cell in features], dtype=np.bool_),
        score_M=logit((np.array(scores, dtype=float) + 0.5) / 10),
        share_bin_M=np.array(
            [NO_BIN if cell.share_bin is None else cell.share_bin for cell in features], np.int64
        ),
        probe_M=np.array([cell.probe for cell in features], dtype=np.bool_),
        signature_M=signatures,
        domain_M=domains,
    )


def _codes(values: Sequence[str]) -> IntArray:
    order = {value: code for code, value in enumerate(dict.fromkeys(values))}
    return np.array([order[value] for value in values], dtype=np.int64)


def cells_of(run: Run) -> RunCells:
    rows = list(Cell.objects.filter(run=run).order_by("pk").values_list("pk", "key"))
    return RunCells(
        ids=tuple(pk for pk, _ in rows),
        features=tuple(CellFeatures.parse(key) for _, key in rows),
    )


def frame_counts(window: Window) -> dict[int, int]:
    """N_m: rollouts of the window's frame per cell."""
    return dict(window.frame_cells.values_list("cell_id", "rollouts"))


def last_drawn_prns(window: Window) -> dict[int, int]:
    """Per cell the PRN up to which the window's waves have drawn."""
    rows = Draw.objects.filter(window=window).values_list("cell_id").annotate(Max("prn"))
    return dict(rows)


def drawn_counts(window: Window) -> dict[int, int]:
    rows = Draw.objects.filter(window=window).values_list("cell_id").annotate(Count("pk"))
    return dict(rows)


def rules_of(run: Run) -> QuerySet[AuditRule]:
    rules = run.audit_rules.select_related("run", "queue").order_by("created_at")
    return rules.prefetch_related("windows__waves")


def rule_in_project(project: Project, rule_id: UUID) -> AuditRule:
    rule = (
        AuditRule.objects.filter(run__project=project, pk=rule_id)
        .select_related("run__project", "queue")
        .first()
    )
    if rule is None:
        raise MissingError("There is no such audit in this project.")
    return rule


def closed_waves(windows: Sequence[Window]) -> QuerySet[Wave]:
    return Wave.objects.filter(window__in=windows, state=WaveState.CLOSED).order_by(
        "window__first_step", "window_id", "number"
    )


def windows_for_run(run: Run) -> list[Window]:
    """Windows with closed waves that may be added up: no two of them share a step.

    Of windows that overlap the one whose rule was started first counts.
    """
    candidates = (
        Window.objects.filter(rule__run=run, waves__state=WaveState.CLOSED)
        .select_related("rule")
        .distinct()
        .order_by("rule__started_at", "number")
    )
    chosen: list[Window] = []
    for window in candidates:
        if all(
            window.last_step < other.first_step or other.last_step < window.first_step
            for other in chosen
        ):
            chosen.append(window)
    return sorted(chosen, key=lambda window: window.first_step)


def draws_of(wave: Wave) -> list[Draw]:
    """The wave's draws in the order in which they are served: by PRN, so also inside strata."""
    return list(wave.draws.order_by("prn", "pk"))
