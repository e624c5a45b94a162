"""Do the estimates hold when reviewers' own errors are taken into account?"""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import numpy as np
from django.db import transaction
from scipy.special import stdtrit

from review.calibration.models import AnswersUsed, Estimate
from review.calibration.queries import AuditedWindow, audited_windows, is_newest, label_set
from review.calibration.services.estimates import lock_estimates
from review.labeling.models import Answer, GoldItem
from review.labeling.queries import labels_by_rollout
from review.runs.models import Run
from review.sampling.queries import windows_for_run
from review.stats.cells import FloatArray
from review.stats.dawid_skene import IMPUTATIONS, Answers, combine, fit_dawid_skene, impute
from review.stats.estimands import Estimand
from review.stats.estimators import Estimate as Result
from review.stats.estimators import estimate_all
from review.stats.windows import Items, Window

METHOD = f"Dawid-Skene, {IMPUTATIONS} imputations"
LEVEL = 0.95
# Reviewers say of a hack what they see: its estimate takes no imputed answers.
ESTIMANDS = (Estimand.RECALL, Estimand.FPR, Estimand.PRECISION, Estimand.ACCURACY)
SEED = 0


@transaction.atomic
def refresh_sensitivity(*, run: Run) -> list[Estimate]:
    """Store the estimates by Dawid and Skene's model, where labels overlap or gold is known."""
    lock_estimates(run)
    audited = audited_windows(run, windows_for_run(run))
    digest = label_set(audited)
    is_known = is_newest(run, Estimand.ACCURACY, digest, answers=AnswersUsed.DAWID_SKENE)
    answers = None if is_known else _answers(audited)
    if answers is None:
        return []
    fit = fit_dawid_skene(answers)
    if fit.reason:
        return []
    imputed_NI = impute(fit, seed=SEED)
    # An item without a label of its own is answered by its class, or was settled by one person.
    is_labelled_I = np.isin(np.arange(imputed_NI.shape[1]), answers.item_L)
    results = [
        estimate_all(_with_answers(audited, np.where(is_labelled_I, row_I, np.nan)))
        for row_I in imputed_NI
    ]
    rows = [
        _combined(run, estimand, [r[estimand] for r in results], digest) for estimand in ESTIMANDS
    ]
    return Estimate.objects.bulk_create(row for row in rows if row is not None)


def _answers(audited: Sequence[AuditedWindow]) -> Answers | None:
    """Every decided label of the answered items of closed waves, item after item."""
    labels = labels_by_rollout([part.source for part in audited])
    keys = _keys(audited)
    gold = dict(
        GoldItem.objects.filter(rollout__in=[rollout for _, rollout in keys]).values_list(
            "rollout_id", "answer"
        )
    )
    given = [
        (position, label.reviewer_id, label.answer == Answer.CORRECT)
        for position, key in enumerate(keys)
        for label in labels.get(key, [])
        if label.answer != Answer.CANNOT_TELL
    ]
    if not given:
        return None
    reviewers = {pk: code for code, pk in enumerate(dict.fromkeys(pk for _, pk, _ in given))}
    return Answers(
        item_L=np.array([position for position, _, _ in given]),
        reviewer_L=np.array([reviewers[pk] for _, pk, _ in given]),
        correct_L=np.array([is_correct for _, _, is_correct in given]),
        stratum_I=np.array(_strata(audited), dtype=np.int64),
        gold_I=np.array([_code(gold.get(rollout)) for _, rollout in keys]),
    )


def _code(answer: str | None) -> float:
    return np.nan if answer is None else float(answer == Answer.CORRECT)


def _keys(audited: Sequence[AuditedWindow]) -> list[tuple[UUID, int]]:
    """Rule and rollout of each item of the closed waves."""
    return [
        (part.source.rule_id, int(rollout))
        for part in audited
        for rollouts in part.wave_rollouts
        for rollout in rollouts
    ]


def _strata(audited: Sequence[AuditedWindow]) -> list[int]:
    return [
        int(accepted)
        for part in audited
        for wave in part.window.waves
        for accepted in part.window.frame.accepted_M[wave.items.cell_I]
    ]


def _with_answers(audited: Sequence[AuditedWindow], imputed_I: FloatArray) -> list[Window]:
    """The windows with imputed answers in place of the decided ones; NaN = as it is."""
    windows: list[Window] = []
    start = 0
    for part in audited:
        waves = []
        for wave in part.window.waves:
            end = start + len(wave.items)
            waves.append(replace(wave, items=_imputed(wave.items, imputed_I[start:end])))
            start = end
        windows.append(replace(part.window, waves=tuple(waves)))
    return windows


def _imputed(items: Items, imputed_I: FloatArray) -> Items:
    is_imputed_I = items.is_answered & ~np.isnan(imputed_I)
    return replace(items, correct_I=np.where(is_imputed_I, imputed_I, items.correct_I))


def _combined(
    run: Run, estimand: Estimand, results: Sequence[Result], digest: str
) -> Estimate | None:
    if any(result.point is None or result.se is None for result in results):
        return None
    combined = combine(
        np.array([result.point for result in results], float),
        np.array([result.se for result in results], float) ** 2,
    )
    if combined.point is None or combined.variance is None:
        return None
    df = min(combined.df or np.inf, min(result.df or np.inf for result in results))
    half = float(stdtrit(df, (1 + LEVEL) / 2)) * combined.variance**0.5
    return Estimate(
        run=run,
        answers=AnswersUsed.DAWID_SKENE,
        estimand=estimand.value,
        point=combined.point,
        low=max(0.0, combined.point - half),
        high=min(1.0, combined.point + half),
        se=combined.variance**0.5,
        level=LEVEL,
        method=METHOD,
        labels=results[0].n,
        label_set=digest,
    )
