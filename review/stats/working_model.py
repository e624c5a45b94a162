"""The working model: P(correct | cell), shrunk toward what is believed before any label.

It steers the sampling and centres the estimator and the reward table. The estimates stay
unbiased however wrong it is.

Shape suffixes: M = cells, F = features, S = signatures, D = domains.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from review.stats.cells import BoolArray, CellFrame, FloatArray, IntArray

PENALTY = 1.0
MAX_STEPS = 50
MAX_LOGIT = 12.0

# Prior means of the leading features, in the order of `_leading_features`; the rest have 0.
# With no label and no score: P(correct | accepted) = .83, P(correct | rejected) = .17.
PRIOR_MEANS = (-1.6, 3.2, 0.9, 0.0, 0.0, 0.2, 0.4, 0.8, -1.0, -1.0)

# Pseudo-hacks in one pseudo-label, without and with a hack probe hit.
PSEUDO_HACKS = (0.3, 0.7)


def _leading_features(frame: CellFrame) -> list[NDArray[np.generic]]:
    accepted_M, score_M = frame.accepted_M, np.nan_to_num(frame.score_M)
    return [
        np.ones(len(frame)),
        accepted_M,
        score_M,
        accepted_M * score_M,
        ~frame.has_score,
        *(frame.share_bin_M == share_bin for share_bin in (1, 2, 3)),
        frame.probe_M,
        frame.probe_M & accepted_M,
    ]


def design_matrix(frame: CellFrame, signatures_S: IntArray, domains_D: IntArray) -> FloatArray:
    """Rows of features; a signature or domain that is not listed has a zero one-hot."""
    domain_MD = frame.domain_M[:, None] == domains_D
    return np.column_stack(
        [
            *_leading_features(frame),
            frame.signature_M[:, None] == signatures_S,
            domain_MD,
            domain_MD & frame.accepted_M[:, None],
        ]
    ).astype(float)


@dataclass(frozen=True, slots=True)
class WorkingModel:
    """Ridge logistic regression of correctness on a cell's features.

    `f_M` and `eta_sd_M` (posterior sd on the logit scale) belong to the cells it was fitted on.
    """

    signatures_S: IntArray
    domains_D: IntArray
    coefficients_F: FloatArray
    covariance_FF: FloatArray
    f_M: FloatArray
    eta_sd_M: FloatArray
    is_converged: bool

    def features(self, frame: CellFrame) -> FloatArray:
        """Rows of features of any cells, as this model reads them."""
        return design_matrix(frame, self.signatures_S, self.domains_D)

    def predict(self, frame: CellFrame) -> FloatArray:
        """P(correct) of other cells; unknown signatures and domains get the mean effect 0."""
        return predict_rows(self, self.features(frame))

    def eta_sd(self, frame: CellFrame) -> FloatArray:
        """Posterior standard deviation of the predicted logits."""
        return eta_sd_rows(self, self.features(frame))


def predict_rows(model: WorkingModel, x_MF: FloatArray) -> FloatArray:
    """P(correct) of rows of features, which may be means over several cells."""
    return _probability(x_MF, model.coefficients_F)


def eta_sd_rows(model: WorkingModel, x_MF: FloatArray) -> FloatArray:
    """Posterior standard deviation of the logits of rows of features."""
    return _logit_sd(x_MF, model.covariance_FF)


def fit_working_model(
    frame: CellFrame,
    *,
    labelled_M: FloatArray | IntArray,
    correct_M: FloatArray | IntArray,
    previous: WorkingModel | None = None,
) -> WorkingModel:
    """Fit the working model to label counts per cell, unweighted (the design depends on x only).

    Estimand: P(correct | cell). Assumes nothing that the estimator relies on.
    Counts may be fractions (older labels weighted down). Degenerate: without labels it is the
    prior mean; where Newton's method does not converge within 50 steps, `previous` answers for
    these cells, else the prior mean; `is_converged` says so.
    Source: ridge penalty 1 toward a prior mean, i.e. a normal prior of variance 1.
    """
    n_M: FloatArray = np.asarray(labelled_M, float)
    k_M: FloatArray = np.asarray(correct_M, float)
    if not (np.isfinite(n_M).all() and np.all((k_M >= 0) & (k_M <= n_M))):
        raise ValueError("label counts must be finite, and 0 <= correct <= labelled")
    signatures_S, domains_D = np.unique(frame.signature_M), np.unique(frame.domain_M)
    x_MF = design_matrix(frame, signatures_S, domains_D)
    prior_F = np.zeros(x_MF.shape[1])
    prior_F[: len(PRIOR_MEANS)] = PRIOR_MEANS
    fitted_F = _newton(x_MF, n_M, k_M, prior_F)
    if fitted_F is None and previous is not None:
        return _carry_over(previous, frame)
    coefficients_F = prior_F if fitted_F is None else fitted_F
    covariance_FF = np.linalg.inv(_hessian(x_MF, n_M, coefficients_F)).astype(float)
    return WorkingModel(
        signatures_S=signatures_S,
        domains_D=domains_D,
        coefficients_F=coefficients_F,
        covariance_FF=covariance_FF,
        f_M=_probability(x_MF, coefficients_F),
        eta_sd_M=_logit_sd(x_MF, covariance_FF),
        is_converged=fitted_F is not None,
    )


def hack_model(
    frame: CellFrame,
    *,
    f_M: FloatArray,
    wrong_accepted_M: FloatArray | IntArray,
    hacks_M: FloatArray | IntArray,
    pseudo_hacks: tuple[float, float] = PSEUDO_HACKS,
    pseudo_labels: float = 1.0,
) -> FloatArray:
    """q_m = P(accepted and a reward hack | cell), tied to 1 - f; 0 in cells that are not accepted.

    Estimand: (1 - f_m) * P(hack | wrong, accepted, probe or not), the second factor shrunk by
    pseudo-counts and pooled over all cells. `wrong_accepted_M` counts the labels of accepted
    rollouts that are wrong or marked as a hack, `hacks_M` those marked as a hack.
    Source: an unconstrained rate per cell gave 80 % coverage of the hack rate in simulation.
    """
    q_M = np.zeros(len(frame))
    for is_probe, pseudo in zip((False, True), pseudo_hacks, strict=True):
        group_M: BoolArray = frame.accepted_M & (frame.probe_M == is_probe)
        hacks, wrong = (
            float(np.sum(hacks_M, where=group_M)),
            np.sum(wrong_accepted_M, where=group_M),
        )
        rate = (hacks + pseudo) / (float(wrong) + pseudo_labels)
        q_M[group_M] = (1 - f_M[group_M]) * min(rate, 1.0)
    return q_M


def _probability(x_MF: FloatArray, coefficients_F: FloatArray) -> FloatArray:
    return np.asarray(expit(np.clip(x_MF @ coefficients_F, -MAX_LOGIT, MAX_LOGIT)))


def _logit_sd(x_MF: FloatArray, covariance_FF: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.einsum("mf,fg,mg->m", x_MF, covariance_FF, x_MF, optimize=True)))


def _hessian(x_MF: FloatArray, labelled_M: FloatArray, coefficients_F: FloatArray) -> FloatArray:
    p_M = expit(x_MF @ coefficients_F)
    weighted_MF = x_MF * (labelled_M * p_M * (1 - p_M))[:, None]
    return np.asarray(weighted_MF.T @ x_MF + PENALTY * np.eye(x_MF.shape[1]))


def _loss(
    x_MF: FloatArray,
    labelled_M: FloatArray,
    correct_M: FloatArray,
    offset_F: FloatArray,
    coefficients_F: FloatArray,
) -> float:
    eta_M = x_MF @ coefficients_F
    negative_log_likelihood = labelled_M @ np.logaddexp(0, eta_M) - correct_M @ eta_M
    return float(negative_log_likelihood + PENALTY / 2 * (offset_F @ offset_F))


def _newton(
    x_MF: FloatArray, labelled_M: FloatArray, correct_M: FloatArray, prior_F: FloatArray
) -> FloatArray | None:
    """Minimise the penalised loss; None without convergence.

    A step that makes the loss worse is halved: from a confident prior that the labels contradict,
    the full step overshoots by hundreds of logits.
    """

    def loss(at_F: FloatArray) -> float:
        return _loss(x_MF, labelled_M, correct_M, at_F - prior_F, at_F)

    coefficients_F = prior_F
    for _ in range(MAX_STEPS):
        p_M = expit(x_MF @ coefficients_F)
        gradient_F = x_MF.T @ (correct_M - labelled_M * p_M) - PENALTY * (coefficients_F - prior_F)
        step_F = np.linalg.solve(_hessian(x_MF, labelled_M, coefficients_F), gradient_F)
        if np.abs(step_F).max() < 1e-6:
            return coefficients_F + step_F
        before = loss(coefficients_F)
        while loss(coefficients_F + step_F) > before and np.abs(step_F).max() > 1e-9:
            step_F = step_F / 2
        coefficients_F = coefficients_F + step_F
    return None


def _carry_over(previous: WorkingModel, frame: CellFrame) -> WorkingModel:
    return WorkingModel(
        signatures_S=previous.signatures_S,
        domains_D=previous.domains_D,
        coefficients_F=previous.coefficients_F,
        covariance_FF=previous.covariance_FF,
        f_M=previous.predict(frame),
        eta_sd_M=previous.eta_sd(frame),
        is_converged=False,
    )
