import hmac
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from uuid import UUID

import numpy as np
from django.db.models import Count, Max, QuerySet, Sum
from scipy.special import logit

from review.accounts.models import Project
from review.core.errors import MissingError
from review.rollouts.models import Cell, Rollout, Slice
from review.rollouts.queries import cells_inside, counts_per_cell
from review.rollouts.slices import Conditions, rows_of_rollouts
from review.runs.models import Run
from review.sampling.models import (
    AuditRule,
    Draw,
    Pick,
    RuleVersion,
    Wave,
    WaveState,
    Window,
    WindowState,
)
from review.stats.cells import NO_BIN, BoolArray, CellFrame, FloatArray, IntArray
from review.verifiers.models import RunVerifier
from review.verifiers.queries import correctness_verifiers_of
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

    def accepted_by(self, position: int) -> BoolArray:
        """Which cells the run's correctness verifier of this position (0: the primary) accepts."""
        return np.array(
            [cell.signature.split("&")[position].startswith("pass/") for cell in self.features],
            dtype=np.bool_,
        )

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


def taken_counts(window: Window) -> dict[int, int]:
    """Rollouts per cell that a next wave cannot draw: drawn, or labelled on purpose."""
    drawn = Draw.objects.filter(window=window).exclude(wave__state=WaveState.CANCELLED)
    taken: dict[int, int] = defaultdict(int)
    for rows in (drawn, Pick.objects.filter(window=window)):
        for cell_id, count in rows.values_list("cell_id").annotate(Count("pk")):
            taken[cell_id] += count
    return dict(taken)


def leftovers(window: Window) -> dict[int, list[Draw]]:
    """Per cell what cancelled waves drew and nobody answered: it can be drawn again."""
    taken = Draw.objects.filter(window=window).exclude(wave__state=WaveState.CANCELLED)
    left = (
        Draw.objects.filter(window=window, wave__state=WaveState.CANCELLED)
        .exclude(rollout__in=taken.values("rollout"))
        .exclude(rollout__in=Pick.objects.filter(window=window).values("rollout"))
        .order_by("cell_id", "prn", "-pk")
        .distinct("cell_id", "prn")
    )
    by_cell: dict[int, list[Draw]] = defaultdict(list)
    for draw in left:
        by_cell[draw.cell_id].append(draw)
    return dict(by_cell)


@dataclass(frozen=True, slots=True)
class Target:
    """What a version of a rule aims at, as the design reads it.

    accepted: per audited verifier the cells that it accepts; slices: per slice of interest the
    share of each cell's rollouts inside it.
    """

    accepted: list[BoolArray]
    slices: list[FloatArray]


def target_of(
    run: Run,
    cells: RunCells,
    *,
    verifiers: Iterable[RunVerifier],
    slices: Iterable[Slice],
    first_step: int,
    last_step: int,
) -> Target:
    known = [row.pk for row in correctness_verifiers_of(run)]
    inside: list[FloatArray] = []
    for part in slices:
        count_M = cells.array(counts_per_cell(run, first_step, last_step))
        inside_M = cells.array(counts_per_cell(run, first_step, last_step, part.conditions))
        inside.append(inside_M / np.maximum(count_M, 1))
    accepted = [cells.accepted_by(known.index(row.verifier_id)) for row in verifiers]
    return Target(accepted, inside)


def spent_labels(window: Window) -> int:
    """Labels of the window's budget that its waves have used, cancelled ones as far as answered."""
    planned = window.waves.exclude(state=WaveState.CANCELLED).aggregate(n=Sum("planned"))["n"] or 0
    answered = Draw.objects.filter(
        window=window,
        wave__state=WaveState.CANCELLED,
        rollout__in=Pick.objects.filter(window=window).values("rollout"),
    )
    return planned + answered.count()


def labels_drawn_on(rule: AuditRule, day: datetime) -> int:
    """Labels that the rule's waves have asked for since midnight (UTC) of the day."""
    midnight = day.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    waves = Wave.objects.filter(window__rule=rule, drawn_at__gte=midnight)
    return waves.aggregate(n=Sum("planned"))["n"] or 0


def rules_of(run: Run) -> QuerySet[AuditRule]:
    rules = run.audit_rules.select_related("run", "queue").order_by("created_at")
    return rules.prefetch_related("windows__waves", "versions")


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


def audited_windows_of(run: Run) -> list[Window]:
    """Every window with a closed wave, of whichever rule."""
    windows = Window.objects.filter(rule__run=run, waves__state=WaveState.CLOSED)
    return list(windows.select_related("rule").distinct())


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


def versions_of(rule: AuditRule) -> QuerySet[RuleVersion]:
    versions = rule.versions.order_by("-number")
    return versions.prefetch_related("verifiers__verifier", "slices", "reviewers")


@dataclass(frozen=True, slots=True)
class Grid:
    """Where a rule's windows lie that have no frame yet: one behind the other from a step on.

    number: of the window that begins there. last_step: the rule's.
    """

    first_step: int
    number: int
    window_steps: int
    last_step: int | None

    def number_at(self, step: int) -> int:
        return self.number + (step - self.first_step) // self.window_steps

    def steps_of(self, number: int) -> tuple[int, int]:
        """The window's first step and its last one, which comes before it past the rule's end."""
        first = self.first_step + (number - self.number) * self.window_steps
        last = first + self.window_steps - 1
        return first, last if self.last_step is None else min(last, self.last_step)


def grid_of(rule: AuditRule) -> Grid:
    """The newest frame may be a short one, where the rule once ended: the next begins behind it."""
    framed = rule.windows.exclude(state=WindowState.COLLECTING).order_by("-number").first()
    first, number = (
        (rule.first_step, 0) if framed is None else (framed.last_step + 1, framed.number + 1)
    )
    return Grid(first, number, rule.window_steps, rule.current.last_step)


def missing_windows(rule: AuditRule) -> set[int]:
    """Numbers of windows that have rollouts and are not made yet.

    A run may skip steps, and a window without rollouts is none. What a run that is over sent of a
    step that it never completed is in no window.
    """
    grid = grid_of(rule)
    steps = rule.run.step_summaries.filter(step__gte=grid.first_step)
    if grid.last_step is not None:
        steps = steps.filter(step__lte=grid.last_step)
    if not rule.run.is_running:
        steps = steps.filter(step__lte=rule.run.completed_step)
    numbers = {grid.number_at(step) for step in steps.values_list("step", flat=True)}
    return numbers - set(rule.windows.values_list("number", flat=True))


def open_wave(window: Window) -> Wave | None:
    return window.waves.filter(state=WaveState.OPEN).select_related("version").first()


def window_in_project(project: Project, window_id: UUID) -> Window:
    window = (
        Window.objects.filter(rule__run__project=project, pk=window_id)
        .select_related("rule__run__project")
        .first()
    )
    if window is None:
        raise MissingError("There is no such window in this project.")
    return window


def wave_that_drew(rule: AuditRule, rollout: Rollout) -> Wave | None:
    """The wave in whose sample the rollout is; None for a pick."""
    draws = Draw.objects.filter(window__rule=rule, rollout=rollout)
    draw = draws.exclude(wave__state=WaveState.CANCELLED).select_related("wave").first()
    return draw.wave if draw else None


def pickable(window: Window) -> QuerySet[Rollout]:
    """The window's rollouts that can be picked: not drawn, not picked, their texts still there."""
    drawn = Draw.objects.filter(window=window).exclude(wave__state=WaveState.CANCELLED)
    rollouts = window.rule.run.rollouts.filter(
        step__range=(window.first_step, window.last_step), purged_at__isnull=True
    )
    picked = Pick.objects.filter(window=window)
    return rollouts.exclude(pk__in=drawn.values("rollout")).exclude(pk__in=picked.values("rollout"))


def newest_pickable(rule: AuditRule, conditions: Conditions, n: int) -> list[int]:
    """Ids of the newest rollouts of the rule's open windows that can be picked and meet all
    conditions."""
    inside = rows_of_rollouts(conditions, step_block=rule.run.step_block)
    inside &= cells_inside(rule.run, conditions)
    found: list[int] = []
    for window in rule.windows.filter(state=WindowState.OPEN).order_by("-first_step"):
        rows = pickable(window).filter(inside).order_by("-step", "-pk")
        found += rows.values_list("pk", flat=True)[: n - len(found)]
    return found


def is_chosen(draw: Draw, purpose: str, share: float) -> bool:
    """Chance under the window's secret: the same each time, independent of what drew the draw."""
    secret = bytes(draw.wave.window.secret)
    digest = hmac.digest(secret, f"{purpose} {draw.prn}".encode(), "sha256")
    return int.from_bytes(digest[:8], "big") < share * 2**64
