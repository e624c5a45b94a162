"""Reward tables, fitted on final labels and stored as they were published."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from review.calibration.changes import TableChanges, measured_changes, stored
from review.calibration.errors import InvalidTableError, NoLabelsError, OutdatedTableError
from review.calibration.models import RewardRule, RewardTable
from review.calibration.queries import (
    AuditedWindow,
    audited_windows,
    label_set,
    settled_answers,
)
from review.core.models import record_event
from review.rollouts.queries import rollouts_per_cell
from review.runs.models import Run
from review.runs.services import lock_run
from review.sampling.queries import RunCells, cells_of, windows_for_run
from review.stats.cells import FloatArray
from review.stats.reward_table import (
    FALLBACK_KEYS,
    MAX_SHARE_OF_REJECTIONS,
    RewardNumbers,
    RewardRows,
    Rule,
    reward_numbers,
)
from review.verifiers.queries import correctness_verifiers_of
from trainer.rewards import CELL_VERSION
from trainer.rewards import RewardTable as TrainerTable
from trainer.verifiers import Outcome

# Each window back weighs half: the policy has moved on.
DECAY = 0.5


@transaction.atomic
def build_table(
    *,
    run: Run,
    rule: RewardRule,
    valid_from_step: int,
    valid_to_step: int,
    abstain_over_half: bool = False,
    actor: object,
) -> RewardTable:
    """Fit a table on the labels of the run's audited windows, and store it as a draft.

    A rejecting signature that holds more than half of all rejections is left out of its groups
    only with abstain_over_half: a verifier that rejects right answers everywhere wants mending.
    """
    if valid_to_step < valid_from_step:
        raise InvalidTableError(fields={"valid_to_step": "not before valid_from_step"})
    run = lock_run(run)
    windows = windows_for_run(run)
    audited = audited_windows(run, windows)
    cells = cells_of(run)
    labelled_M, correct_M = _decayed_labels(audited, len(cells.ids))
    if not labelled_M.any():
        raise NoLabelsError
    numbers = _numbers(
        run, cells, labelled_M, correct_M, 1.0 if abstain_over_half else MAX_SHARE_OF_REJECTIONS
    )
    version = 1 + (run.reward_tables.aggregate(newest=Max("version"))["newest"] or 0)
    labels = sum(int(part.window.labels().answered_M.sum()) for part in audited)
    document = {
        "format": 1,
        "run": str(run.pk),
        "version": version,
        "rule": rule.value,
        "cell_version": CELL_VERSION,
        "normaliser": run.normaliser,
        "verifiers": [str(verifier) for verifier in correctness_verifiers_of(run)],
        "valid_from_step": valid_from_step,
        "valid_to_step": valid_to_step,
        "label_set": label_set(audited),
        "n_labels": labels,
        "windows": [str(window.pk) for window in windows],
        "value_if_no_abstain": 0.0,
        "cells": cell_entries(cells, numbers, Rule(rule)),
        "fallback": fallback_entries(numbers, Rule(rule)),
        # What a person has said of an answer counts for all who gave it.
        "classes": settled_answers(run, windows),
    }
    changes = measured_changes(run, windows, cells, TrainerTable.from_json(document))
    body = json.dumps(document, separators=(",", ":"), allow_nan=False)
    table = RewardTable.objects.create(
        run=run,
        version=version,
        rule=rule,
        valid_from_step=valid_from_step,
        valid_to_step=valid_to_step,
        labels=labels,
        body=body,
        digest=hashlib.sha256(body.encode()).hexdigest(),
        preview=_preview(changes, numbers, rule),
        created_by=str(actor),
    )
    record_event(actor=actor, action="reward table built", subject=table, version=version)
    return table


@transaction.atomic
def publish_table(*, table: RewardTable, actor: object) -> RewardTable:
    """From now on trainers get this table. Publishing twice changes nothing.

    Raises OutdatedTableError where a later version is published: trainers would go on with that.
    """
    run = lock_run(table.run)
    table = RewardTable.objects.get(pk=table.pk)
    if not table.is_published:
        later = RewardTable.objects.filter(run=run, version__gt=table.version)
        if later.filter(published_at__isnull=False).exists():
            raise OutdatedTableError
        table.published_at = timezone.now()
        table.published_by = str(actor)
        table.save(update_fields=["published_at", "published_by"])
        record_event(actor=actor, action="reward table published", subject=table)
    return table


def _decayed_labels(audited: Sequence[AuditedWindow], cells: int) -> tuple[FloatArray, FloatArray]:
    labelled_M, correct_M = np.zeros(cells), np.zeros(cells)
    for part in audited:
        counts = part.window.labels()
        labelled_M = DECAY * labelled_M + counts.answered_M
        correct_M = DECAY * correct_M + counts.correct_M
    return labelled_M, correct_M


def _numbers(
    run: Run,
    cells: RunCells,
    labelled_M: FloatArray,
    correct_M: FloatArray,
    max_share_of_rejections: float,
) -> RewardNumbers:
    per_cell = rollouts_per_cell(run)
    families = [cell.signature.partition("/")[2] for cell in cells.features]
    order = {family: code for code, family in enumerate(dict.fromkeys(families))}
    return reward_numbers(
        cells.frame,
        undecided_M=np.array([cell.outcome is Outcome.UNDECIDED for cell in cells.features]),
        family_M=np.array([order[family] for family in families], dtype=np.int64),
        count_M=np.array([per_cell.get(cell.key, 0) for cell in cells.features]),
        labelled_M=labelled_M,
        correct_M=correct_M,
        max_share_of_rejections=max_share_of_rejections,
    )


Entry = dict[str, float | int | bool | str | None]


def cell_entries(cells: RunCells, numbers: RewardNumbers, rule: Rule) -> dict[str, Entry]:
    """The table's "cells": by key, each cell and each cell without its answer share."""
    entries: dict[str, Entry] = {}
    own, pooled = _entries(numbers.cells, rule, "cell"), _entries(numbers.pooled, rule, "model")
    for m, cell in enumerate(cells.features):
        entries.setdefault(cell.without_share().key, pooled[numbers.pooled_M[m]])
        entries[cell.key] = own[m]
    return entries


def fallback_entries(numbers: RewardNumbers, rule: Rule) -> dict[str, Entry]:
    """The table's "fallback": by outcome and probe hit, and by outcome alone."""
    rows = _entries(numbers.fallback, rule, "verdict")
    entries = dict(zip(FALLBACK_KEYS, rows, strict=True))
    for key, entry in entries.items():
        entry["level"] = "verdict-probe" if "/" in key else "verdict"
    return entries


def _entries(rows: RewardRows, rule: Rule, level: str) -> list[Entry]:
    value_R, abstain_R = rows.value(rule), rows.abstain(rule)
    youden_R, unbiased_R = rows.youden(), rows.unbiased()
    return [
        {
            "value": float(value_R[r]),
            "abstain": bool(abstain_R[r]),
            "p_correct": _rounded(rows.p_correct_R[r]),
            "low": _rounded(rows.low_R[r]),
            "high": _rounded(rows.high_R[r]),
            "unbiased": _rounded(unbiased_R[r]),
            "tpr": _rounded(rows.tpr_R[r]),
            "fpr": _rounded(rows.fpr_R[r]),
            "youden_j": _rounded(youden_R[r]),
            "n": int(np.ceil(rows.n_R[r])),
            "level": level,
        }
        for r in range(len(value_R))
    ]


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _preview(
    changes: TableChanges, numbers: RewardNumbers, rule: RewardRule
) -> Mapping[str, object]:
    """What the table would do to stored groups, in shares. Other rules leave no rejection out."""
    leaves_out = rule == RewardRule.DEMOTE_OR_ABSTAIN
    return {
        "groups": changes.groups,
        "groups_flat": round(1 - changes.spread.varied, 4) if changes.groups else 0.0,
        "groups_flat_raw": round(1 - changes.spread.varied_raw, 4) if changes.groups else 0.0,
        "rollouts_left_out": changes.spread.left_out,
        "rollouts_settled": changes.settled,
        "left_out_of_rejections": round(numbers.left_out_of_rejections, 4) if leaves_out else 0.0,
        "changes": stored(changes),
    }
