"""What a fitted verifier is worth on its held-out prompts, and beside the others that judged them.

Undecided (too long for the model) is not accepted, and names no step; its share stands beside.

Shape suffixes: I = items, L = judged steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.fitting.calibration import named_step
from trainer.fitting.figures import Array, Bin, Figure, Flags, HeldOut, ratio_difference, skill
from trainer.fitting.labels import Example

_RATES = ("accuracy", "recall", "fpr")


@dataclass(frozen=True, slots=True)
class Judged:
    """A held-out rollout and P(right) of its answer or of its steps; None = undecided."""

    example: Example
    scores: Array | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Another verifier on the n rollouts that it judged, and ours less theirs on these."""

    n: int
    theirs: Mapping[str, Figure]
    difference: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """figures: by name. reliability: of answers, or of judged steps. others: by verifier."""

    figures: Mapping[str, Figure]
    reliability: Sequence[Bin]
    others: Mapping[str, Comparison]


def evaluate_outcomes(
    judged: Sequence[Judged], *, threshold: float, base_rate: float, seed: int
) -> Evaluation:
    """base_rate: the share of right answers among those it was fitted to."""
    items = _held_out(judged, seed)
    right_I = np.array([one.example.is_correct for one in judged])
    decided_I = np.array([one.scores is not None for one in judged])
    score_I = np.array([0.0 if one.scores is None else one.scores[0] for one in judged])
    accepted_I = decided_I & (score_I >= threshold)
    figures = _rates(items, accepted_I, right_I, np.ones_like(right_I)) | _calibration(
        items, score_I, right_I, decided_I, base_rate
    )
    figures["undecided"] = items.share(~decided_I, among_I=np.ones_like(decided_I))
    names = sorted({name for one in judged for name in one.example.outcomes})
    return Evaluation(
        figures=figures,
        reliability=items.reliability(score_I, right_I, among_I=decided_I),
        others={name: _compare(items, judged, accepted_I, right_I, name) for name in names},
    )


def evaluate_steps(
    judged: Sequence[Judged], *, threshold: float, base_rate: float, seed: int
) -> Evaluation:
    """ProcessBench's F1 (arXiv:2412.06559) of the earliest wrong step, and how well the
    probabilities of the judged steps are calibrated."""
    items = _held_out(judged, seed)
    earliest_I = np.array([one.example.earliest_wrong or 0 for one in judged])
    decided_I = np.array([one.scores is not None for one in judged])
    named_I = np.array(
        [-1 if one.scores is None else named_step(one.scores, threshold) for one in judged]
    )
    hit_I, wrong_I = named_I == earliest_I, earliest_I > 0
    steps = [
        (one.example, float(score), right)
        for one in judged
        if one.scores is not None
        for score, right in zip(one.scores, one.example.step_labels(), strict=False)
    ]
    of_steps = HeldOut(
        [example.prompt for example, _, _ in steps],
        [example.weight for example, _, _ in steps],
        seed=seed,
    )
    score_L = np.array([score for _, score, _ in steps])
    right_L = np.array([right for _, _, right in steps], dtype=bool)
    all_L = np.ones_like(right_L)
    figures = {
        "processbench_f1": items.harmonic_mean([hit_I, hit_I], [wrong_I, ~wrong_I]),
        "accuracy_erroneous": items.share(hit_I, among_I=wrong_I),
        "accuracy_correct": items.share(hit_I, among_I=~wrong_I),
        "undecided": items.share(~decided_I, among_I=np.ones_like(decided_I)),
        **_calibration(of_steps, score_L, right_L, all_L, base_rate),
    }
    return Evaluation(figures, of_steps.reliability(score_L, right_L, among_I=all_L), {})


def _held_out(judged: Sequence[Judged], seed: int) -> HeldOut:
    return HeldOut(
        [one.example.prompt for one in judged], [one.example.weight for one in judged], seed=seed
    )


def _rates(items: HeldOut, accepted_I: Flags, right_I: Flags, among_I: Flags) -> dict[str, Figure]:
    return {
        "accuracy": items.share(accepted_I == right_I, among_I=among_I),
        "recall": items.share(accepted_I, among_I=among_I & right_I),
        "fpr": items.share(accepted_I, among_I=among_I & ~right_I),
    }


def _calibration(
    items: HeldOut, score_I: Array, right_I: Flags, decided_I: Flags, base_rate: float
) -> dict[str, Figure]:
    """Brier score (the mean squared error of P), beside that of saying the base rate always."""
    error_I, base_I = (score_I - right_I) ** 2, (base_rate - right_I) ** 2
    return {
        "auc": items.auc(score_I, right_I, among_I=decided_I),
        "brier": items.mean(error_I, among_I=decided_I),
        "brier_of_base_rate": items.mean(base_I, among_I=decided_I),
        "brier_skill": items.figure(
            skill, error_I * decided_I, base_I * decided_I, among_I=decided_I
        ),
        "mean_predicted_less_share": items.mean(score_I - right_I, among_I=decided_I),
    }


def _compare(
    items: HeldOut, judged: Sequence[Judged], accepted_I: Flags, right_I: Flags, name: str
) -> Comparison:
    both_I = np.array([name in one.example.outcomes for one in judged])
    theirs_I = np.array([one.example.outcomes.get(name) == "pass" for one in judged])
    among = {"accuracy": both_I, "recall": both_I & right_I, "fpr": both_I & ~right_I}
    ours_hit = {"accuracy": accepted_I == right_I, "recall": accepted_I, "fpr": accepted_I}
    their_hit = {"accuracy": theirs_I == right_I, "recall": theirs_I, "fpr": theirs_I}
    difference = {
        rate: items.figure(
            ratio_difference,
            ours_hit[rate] & among[rate],
            their_hit[rate] & among[rate],
            among[rate],
            among_I=among[rate],
        )
        for rate in _RATES
    }
    return Comparison(int(both_I.sum()), _rates(items, theirs_I, right_I, both_I), difference)


def disagreements(judged: Sequence[Judged], *, threshold: float) -> list[dict[str, object]]:
    """Held-out answers on which another verifier decides otherwise, and what people said."""
    rows: list[dict[str, object]] = []
    for one in judged:
        if one.scores is None:
            continue
        score = float(one.scores[0])
        outcome = "pass" if score >= threshold else "fail"
        others = {n: o for n, o in one.example.outcomes.items() if o != outcome}
        if others:
            label = "correct" if one.example.is_correct else "incorrect"
            rows.append(
                {"id": one.example.id, "label": label, "outcome": outcome, "score": score}
                | {"others": others}
            )
    return rows
