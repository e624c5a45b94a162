"""What an estimate is made of: the closed waves of audit windows, their items and weights.

Shape suffixes: M = cells of the window, H = strata of the wave, I = items.
"""

from dataclasses import dataclass, field

import numpy as np

from review.stats.cells import BoolArray, CellFrame, FloatArray, IntArray, total_by


@dataclass(frozen=True, slots=True)
class Items:
    """Rollouts sent to reviewers: their cell, and the final answer.

    correct_I: 1.0, 0.0, or nan where there is no answer (skipped, cannot tell).
    hack_I: marked as a reward hack; read only where there is an answer.
    step_I: the earliest wrong step, from 1; 0 where no step is wrong, nan where it was not said.
    Left out, it was said of no item.
    """

    cell_I: IntArray
    correct_I: FloatArray
    hack_I: BoolArray
    step_I: FloatArray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        """Convert each column to its type; refuse unequal lengths and unknown answers."""
        kinds = {"cell_I": np.int64, "correct_I": np.float64, "hack_I": np.bool_}
        for name, kind in (kinds | {"step_I": np.float64}).items():
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=kind))
        if not self.step_I.size:
            object.__setattr__(self, "step_I", np.full(self.cell_I.shape, np.nan))
        if any(getattr(self, name).shape != self.cell_I.shape for name in (*kinds, "step_I")):
            raise ValueError("the columns of items are equally long")
        if not np.isin(self.correct_I[self.is_answered], (0.0, 1.0)).all():
            raise ValueError("an answer is 1 (correct), 0 (incorrect) or nan (none)")
        said_I = self.step_I[~np.isnan(self.step_I)]
        if not np.all((said_I >= 0) & np.isfinite(said_I) & (said_I == np.floor(said_I))):
            raise ValueError("the earliest wrong step is 0 (none), 1, 2, ... or nan (not said)")

    def __len__(self) -> int:
        return int(self.cell_I.size)

    @property
    def is_answered(self) -> BoolArray:
        return ~np.isnan(self.correct_I)

    def counts(self, cells: int, kept_I: BoolArray | None = None) -> "Counts":
        """Answers per cell, of all items or of the kept ones."""
        use_I = self.is_answered if kept_I is None else self.is_answered & kept_I
        cell_I, correct_I, hack_I = self.cell_I[use_I], self.correct_I[use_I], self.hack_I[use_I]

        def per_cell(weight_I: FloatArray | BoolArray) -> FloatArray:
            return total_by(cell_I, weight_I, cells)

        return Counts(
            answered_M=per_cell(np.ones(len(cell_I))),
            correct_M=per_cell(correct_I),
            hacks_M=per_cell(hack_I),
            wrong_or_hack_M=per_cell((correct_I == 0) | hack_I),
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """Labels per cell."""

    answered_M: FloatArray
    correct_M: FloatArray
    hacks_M: FloatArray
    wrong_or_hack_M: FloatArray

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.answered_M + other.answered_M,
            self.correct_M + other.correct_M,
            self.hacks_M + other.hacks_M,
            self.wrong_or_hack_M + other.wrong_or_hack_M,
        )


def no_items() -> Items:
    return Items(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_))


@dataclass(frozen=True, slots=True)
class Wave:
    """A closed wave as it was recorded when it was drawn, and the answers to all its items.

    number: order of the draw; planned: labels planned at the draw (n_b).
    remaining_M: rollouts that could be drawn; stratum_M: stratum of each cell (-1 = none).
    weight_H: the stored N_bh / n_bh; f_M, q_M: working and hack model before the draw.
    items: every drawn rollout, answered or not.
    """

    number: int
    planned: int
    remaining_M: IntArray
    stratum_M: IntArray
    weight_H: FloatArray
    f_M: FloatArray
    q_M: FloatArray
    items: Items


@dataclass(frozen=True, slots=True)
class Window:
    """A closed frame of `count_M` rollouts per cell, its closed waves, and purposive labels.

    purposive: labels that no closed wave drew (a lead's pick, an appeal, a cancelled wave).
    known_from_I: number of the first wave whose `remaining_M` leaves the purposive item out.
    """

    frame: CellFrame
    count_M: IntArray
    waves: tuple[Wave, ...]
    purposive: Items = field(default_factory=no_items)
    known_from_I: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if any(wave.planned < 1 for wave in self.waves):
            raise ValueError("a wave without labels is none")
        if any(a.number >= b.number for a, b in zip(self.waves, self.waves[1:], strict=False)):
            raise ValueError("waves are given in the order of their draws")
        if len(self.known_from_I) != len(self.purposive.cell_I):
            raise ValueError("each purposive item names the first wave that knew it")

    def known_before(self, wave: Wave) -> Counts:
        """Answers that were or have become known to items outside the wave's draw (K_b)."""
        known = self.purposive.counts(len(self.frame), self.known_from_I <= wave.number)
        for earlier in self.waves:
            if earlier.number < wave.number:
                known = known + earlier.items.counts(len(self.frame))
        return known

    def labels(self) -> Counts:
        """All answers of the window, purposive ones too."""
        labels = self.drawn_labels()
        return labels + self.purposive.counts(len(self.frame))

    def drawn_labels(self) -> Counts:
        """Answers of the closed waves."""
        drawn = no_items().counts(len(self.frame))
        for wave in self.waves:
            drawn = drawn + wave.items.counts(len(self.frame))
        return drawn
