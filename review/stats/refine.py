"""Cells cut in two by something that is known of every rollout but is no part of a cell.

A policy, a length, the verdict of a verifier that came later. Afterwards a slice or a verdict is
one value per cell again, and the one estimator serves both.

Shape suffixes: M = cells of the window, I = items; doubled arrays hold the parts inside first.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from review.stats.cells import BoolArray, FloatArray, IntArray, concatenate, total_by
from review.stats.windows import Items, Wave, Window


def refine(
    window: Window,
    *,
    inside_count_M: IntArray,
    inside: Sequence[BoolArray],
    purposive_inside_I: BoolArray | None = None,
) -> tuple[Window, BoolArray]:
    """The window with every cell split by a slice, and which of its cells lie inside.

    `inside_count_M` of each cell's rollouts are inside; `inside` says it of the items of each
    wave, `purposive_inside_I` of the purposive ones. The cells inside come first, in the order of
    the frame, then those outside. Splitting again by a second slice works the same.
    Assumes that the slice is known of every rollout of the frame and does not depend on answers;
    strata, weights and predictions stay what they were at the draw, so that the estimates inside
    are unbiased. A wave's remaining rollouts are divided by what was drawn or known before it;
    where unanswered draws of cancelled waves leave that open, in proportion.
    Degenerate: a slice of nothing (of everything) has cells without rollouts, which count nothing.
    Source: domain estimation, Sarndal, Swensson and Wretman 1992, chapter 10.
    """
    if purposive_inside_I is None:
        purposive_inside_I = np.zeros(len(window.purposive), np.bool_)
    inside_count_M = np.asarray(inside_count_M, np.int64)
    _check(window, inside_count_M, inside, purposive_inside_I)
    cells = len(window.frame)
    left_M = np.concatenate([inside_count_M, window.count_M - inside_count_M])
    count_M = left_M.copy()
    purposive = _in_parts(window.purposive, purposive_inside_I, cells)
    waves = []
    for wave, inside_I in zip(window.waves, inside, strict=True):
        items = _in_parts(wave.items, inside_I, cells)
        known_I = window.known_from_I <= wave.number
        undrawn_M = left_M - _occurrences(purposive.cell_I[known_I], 2 * cells)
        waves.append(_divided(wave, items, np.maximum(undrawn_M, 0)))
        left_M = left_M - _occurrences(items.cell_I, 2 * cells)
    is_inside_M = np.arange(2 * cells) < cells
    frame = concatenate([window.frame, window.frame])
    return Window(frame, count_M, tuple(waves), purposive, window.known_from_I), is_inside_M


def _check(
    window: Window,
    inside_count_M: IntArray,
    inside: Sequence[BoolArray],
    purposive_inside_I: BoolArray,
) -> None:
    if inside_count_M.shape != (len(window.frame),) or len(inside) != len(window.waves):
        raise ValueError("a slice counts each cell's rollouts and tells those of each wave apart")
    if np.any((inside_count_M < 0) | (inside_count_M > window.count_M)):
        raise ValueError("a slice holds between none and all of a cell's rollouts")
    items = [*(wave.items for wave in window.waves), window.purposive]
    for known, inside_I in zip(items, [*inside, purposive_inside_I], strict=True):
        if np.shape(inside_I) != (len(known),):
            raise ValueError("each item is inside the slice or outside it")


def _in_parts(items: Items, inside_I: BoolArray, cells: int) -> Items:
    return replace(items, cell_I=np.where(inside_I, items.cell_I, items.cell_I + cells))


def _occurrences(cell_I: IntArray, cells: int) -> FloatArray:
    return total_by(cell_I, np.ones(len(cell_I)), cells)


def _divided(wave: Wave, items: Items, undrawn_M: FloatArray) -> Wave:
    """The wave with its recorded remaining rollouts divided like those not drawn before."""
    inside_M, outside_M = np.split(undrawn_M, 2)
    share_M = inside_M / np.maximum(inside_M + outside_M, 1)
    remaining_M = np.floor(wave.remaining_M * share_M + 1e-9).astype(np.int64)
    return replace(
        wave,
        remaining_M=np.concatenate([remaining_M, wave.remaining_M - remaining_M]),
        stratum_M=np.tile(wave.stratum_M, 2),
        f_M=np.tile(wave.f_M, 2),
        q_M=np.tile(wave.q_M, 2),
        items=items,
    )
