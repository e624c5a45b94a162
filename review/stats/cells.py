"""The frame of an audit: rollouts that look the same to the machine, counted by cell.

Shape suffixes: M = cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

NO_BIN = -1


@dataclass(frozen=True, slots=True)
class CellFrame:
    """What the machine knows of each cell.

    accepted_M: the primary verifier passes it; an undecided verdict counts as not accepted.
    score_M: logit of the score bin's midpoint; nan where the verifier gave no score.
    share_bin_M: bin 0..3 of the answer class's share of its group; -1 where there is none.
    probe_M: a hack probe hit.
    signature_M, domain_M: integer codes, the same code for the same thing in every frame that
    is compared, pooled or predicted.
    """

    accepted_M: BoolArray
    score_M: FloatArray
    share_bin_M: IntArray
    probe_M: BoolArray
    signature_M: IntArray
    domain_M: IntArray

    def __post_init__(self) -> None:
        """Refuse columns of unequal length, and convert each to its type."""
        types = (np.bool_, np.float64, np.int64, np.bool_, np.int64, np.int64)
        for field, kind in zip(fields(self), types, strict=True):
            object.__setattr__(self, field.name, np.asarray(getattr(self, field.name), dtype=kind))
        if any(column.shape != (len(self),) for column in self.columns()):
            raise ValueError("the columns of a frame are one-dimensional and equally long")

    def __len__(self) -> int:
        return int(self.accepted_M.size)

    def columns(self) -> tuple[BoolArray | FloatArray | IntArray, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def take(self, index: IntArray | BoolArray) -> "CellFrame":
        """The chosen cells, in the order of `index` (positions or a mask)."""
        return CellFrame(
            accepted_M=self.accepted_M[index],
            score_M=self.score_M[index],
            share_bin_M=self.share_bin_M[index],
            probe_M=self.probe_M[index],
            signature_M=self.signature_M[index],
            domain_M=self.domain_M[index],
        )

    def distinct(self) -> tuple["CellFrame", IntArray]:
        """Each cell once, and for every row of this frame the position of its cell there."""
        table = np.column_stack([np.nan_to_num(c.astype(float), nan=-1e9) for c in self.columns()])
        _, first, inverse = np.unique(table, axis=0, return_index=True, return_inverse=True)
        return self.take(first), inverse.reshape(-1).astype(np.int64)

    @property
    def has_score(self) -> BoolArray:
        return ~np.isnan(self.score_M)


def concatenate(frames: Sequence[CellFrame]) -> CellFrame:
    """One frame with the cells of several, in order; their codes must mean the same."""
    return CellFrame(*(np.concatenate(c) for c in zip(*(f.columns() for f in frames), strict=True)))


def total_by(label_M: IntArray, value_M: NDArray[np.generic], size: int) -> FloatArray:
    """Sum of `value_M` over the cells of each label 0..size-1; labels below 0 are left out."""
    kept = label_M >= 0
    weight_M = value_M[kept].astype(float)
    return np.bincount(label_M[kept], weights=weight_M, minlength=size).astype(float)
